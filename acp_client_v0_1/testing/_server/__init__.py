"""The inside of the local server; users import nothing from here."""
