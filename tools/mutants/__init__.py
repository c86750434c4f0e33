"""Draws small mistakes in the package, and finds those that no test notices: `make mutants`."""
