"""Drop-in compatibility: what scripts for openapi-generator's Python clients call."""
