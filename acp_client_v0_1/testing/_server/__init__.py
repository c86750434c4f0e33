"""What the local server is made of; nothing here is for import by users."""
