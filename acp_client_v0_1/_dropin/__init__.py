"""Drop-in compatibility: what scripts for openapi-generator's own Python client call."""
