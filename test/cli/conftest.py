"""What the tests of the command share."""

from support.commands import inside

__all__ = ["inside"]
