"""The representation of a configuration, the debug report, and the log handlers.

This is the base class of ``Configuration``, with everything that calls do not need.

Invariant: a secret is shown as ``***``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, cast

from acp_client_v0_1._version import __version__

_MASK = "***"
_SHOWN = (
    *("host", "api_key", "username", "password", "access_token"),
    *("timeout", "stream_timeout", "total_timeout", "retries"),
    *("verify_ssl", "ssl_ca_cert", "cert_file", "connection_pool_maxsize"),
)


class _LogFile(logging.FileHandler):
    """A handler that this package added, and may remove."""


class ConfigurationReport:
    """Shows and logs the attributes of ``Configuration``."""

    logger_format: str = "%(asctime)s %(levelname)s %(message)s"

    def __init__(self) -> None:
        self.logger: dict[str, logging.Logger] = {
            "package_logger": logging.getLogger("acp_client_v0_1"),
            "urllib3_logger": logging.getLogger("urllib3"),
        }
        self._logger_file: str | None = None
        # The process may change its folder, so this is the absolute path.
        self._log_path: str | None = None
        self._debug = False

    @property
    def debug(self) -> bool:
        """True if each request is logged in detail."""
        return self._debug

    @debug.setter
    def debug(self, value: bool) -> None:
        self._debug = value
        package_logger = self.logger["package_logger"]
        package_logger.setLevel(logging.DEBUG if value else logging.WARNING)
        if value and not package_logger.hasHandlers():
            self._add_handler(logging.StreamHandler())

    @property
    def logger_file(self) -> str | None:
        """A file that also gets the package's log, with the lines of all configurations."""
        return self._logger_file

    @logger_file.setter
    def logger_file(self, value: str | None) -> None:
        package_logger = self.logger["package_logger"]
        path = os.path.abspath(os.fsdecode(value)) if value else None
        for handler in list(package_logger.handlers):
            # Another configuration may have named the new file.
            if isinstance(handler, _LogFile) and handler.baseFilename in (self._log_path, path):
                package_logger.removeHandler(handler)
                handler.close()
        self._logger_file, self._log_path = value, path
        if path:
            self._add_handler(_LogFile(path, delay=True))

    def _add_handler(self, handler: logging.Handler) -> None:
        handler.setFormatter(logging.Formatter(self.logger_format))
        self.logger["package_logger"].addHandler(handler)

    def __repr__(self) -> str:
        shown = ((name, represented(self, name)) for name in _SHOWN)
        return f"Configuration({', '.join(f'{name}={text}' for name, text in shown if text)})"

    def to_debug_report(self) -> str:
        """Return a description of system and client for a bug report, without secrets."""
        # This module is slow to import, and only a report needs it.
        import platform

        return (
            "Python SDK Debug Report:\n"
            f"OS: {platform.system()} {platform.release()}\n"
            f"Python Version: {platform.python_version()}\n"
            "Version of the API: 0.1\n"
            f"SDK Package Version: {__version__}\n"
            f"Settings: {self!r}"
        )


def represented(settings: object, name: str) -> str:
    """Represent a setting, if it is set, or the error of reading it."""
    try:
        value = getattr(settings, name)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        return f"<{error}>"
    return "" if value in (None, {}) else repr(_masked(name, value))


def _masked(name: str, value: Any) -> Any:
    if name == "api_key" and isinstance(value, Mapping):
        return dict.fromkeys(cast(Mapping[str, str], value), _MASK)
    return _MASK if name in ("api_key", "username", "password", "access_token") else value
