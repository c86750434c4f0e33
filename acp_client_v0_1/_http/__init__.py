"""The parts of `rest`: from a prepared request to the bytes of its response."""
