"""The inside of the local server, from which users import nothing."""
