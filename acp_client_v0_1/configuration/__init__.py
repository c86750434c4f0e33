"""The settings of a client: `Configuration`."""

from acp_client_v0_1.configuration._settings import Configuration

__all__ = ["Configuration"]
