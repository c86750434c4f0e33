"""The TLS context for a configuration, and TLS in TLS.

Through an https proxy, TLS to the origin runs within TLS to the proxy. urllib3 reads from the outer
connection until the inner connection has data. Each of these reads would have the whole timeout
again, so `OuterSocket` shortens the timeout before each read.

Invariant: certificates are checked unless ``verify_ssl`` is false. An ``ssl_context`` decides
instead for the configured origin, and a ``proxy_ssl_context`` for an https proxy.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Any

from urllib3.util.ssl_ import create_urllib3_context

from acp_client_v0_1._http.urls import ascii_host
from acp_client_v0_1.exceptions import ApiValueError

# A context of the user's decides about these. Beside it, only ``tls_server_name`` has an effect.
_REPLACED = ("verify_ssl", "assert_hostname", "ssl_ca_cert", "ca_cert_data", "cert_file")


def check_settings(configuration: Any) -> None:
    """Raise `ApiValueError` if settings of TLS in a `Configuration` do not go together."""
    replaced = [name for name in _REPLACED if getattr(configuration, name) not in (None, True)]
    if configuration.ssl_context is not None and replaced:
        raise ApiValueError(f"{replaced[0]} cannot be used with ssl_context: set up the context")
    if configuration.key_file is not None and configuration.cert_file is None:
        raise ApiValueError("key_file cannot be used without cert_file")


def tls_context(configuration: Any, *, with_identity: bool) -> ssl.SSLContext:
    """Make a TLS context. It sends the client's certificate if ``with_identity`` is true.

    A context of the user's may hold a certificate, too, so it is used only with an identity.
    """
    check_settings(configuration)
    own: ssl.SSLContext | None = configuration.ssl_context
    if with_identity and own is not None:
        return own
    mode = ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE
    context = create_urllib3_context(cert_reqs=mode)
    # Early versions of Python 3.10 and 3.11 set this option. With it, they take a truncated body
    # for a complete one.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    if configuration.verify_ssl:
        _load_trust(context, configuration)
    if with_identity and configuration.cert_file is not None:
        files = {"cert_file": configuration.cert_file, "key_file": configuration.key_file}
        with _named("a certificate and its key (PEM)", files):
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context


def tls_options(settings: Any, make_context: Any, *, cross_origin: bool) -> dict[str, Any]:
    """Return the arguments of urllib3's connections to an https origin.

    ``make_context`` is `tls_context` of the configuration ``settings``. A cross-origin redirect
    gets neither the client's certificate nor ``tls_server_name`` and ``assert_hostname``.
    """
    options: dict[str, Any] = {"ssl_context": make_context(with_identity=not cross_origin)}
    if cross_origin:
        return options
    if settings.tls_server_name is not None:
        options["server_hostname"] = ascii_host(settings.tls_server_name, "tls_server_name")
    if settings.verify_ssl and settings.assert_hostname is not True:
        options["assert_hostname"] = asserted(settings.ssl_context, settings.assert_hostname)
    return options


def asserted(own: ssl.SSLContext | None, name: str | bool | None = None) -> Any:
    """Return the name that the certificate must have, or False if any name will do.

    urllib3 compares a name even if ``own``, the context of the user, does not check names.
    """
    return False if own is not None and not own.check_hostname else name


def _load_trust(context: ssl.SSLContext, configuration: Any) -> None:
    if configuration.ssl_ca_cert is not None:
        with _named("a file of certificates (PEM)", {"ssl_ca_cert": configuration.ssl_ca_cert}):
            context.load_verify_locations(cafile=configuration.ssl_ca_cert)
    data = configuration.ca_cert_data
    # OpenSSL takes bytes for DER, and a file of PEM may have been read as bytes.
    if isinstance(data, (bytes, bytearray)) and b"-----BEGIN" in data:
        data = data.decode(errors="replace")
    if data is not None:
        try:
            context.load_verify_locations(cadata=data)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            words = "ca_cert_data is not a certificate (PEM or DER); for a file, set ssl_ca_cert"
            raise ApiValueError(f"{words}: {error}") from error
    if configuration.ssl_ca_cert is None and data is None:
        context.load_default_certs()


@contextlib.contextmanager
def _named(expected: str, files: Mapping[str, str | None]) -> Generator[None, None, None]:
    """Turn an error about files into an `ApiValueError` that names the files and their settings."""
    try:
        yield
    except (OSError, ValueError) as error:
        shown = {setting: os.fsdecode(path) for setting, path in files.items() if path is not None}
        absent = {setting: path for setting, path in shown.items() if not os.path.exists(path)}
        names = " and ".join(f"{setting}={path!r}" for setting, path in (absent or shown).items())
        if absent:
            hint = "; ~ is not expanded" if "~" in names else ""
            raise ApiValueError(f"{names}: there is no such file{hint}") from error
        raise ApiValueError(f"{names}: cannot be used as {expected}: {error}") from error


class OuterSocket:
    """Wraps the TLS connection to a proxy, and calls ``limit`` before each read and each write."""

    def __init__(self, sock: ssl.SSLSocket, limit: Callable[[socket.socket], None]) -> None:
        self.socket = sock
        self._limit = limit

    def recv(self, size: int) -> bytes:
        self._limit(self.socket)
        return self.socket.recv(size)

    def sendall(self, data: bytes) -> None:
        if data:
            self._limit(self.socket)
            self.socket.sendall(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.socket, name)


def shut_down(sock: Any) -> None:
    """Shut down a connection, so that a thread that reads from it wakes up.

    If the connection is closed, this does nothing.
    """
    # Even reading an attribute of a closed socket may fail: gevent's sockets raise OSError.
    with contextlib.suppress(OSError, TypeError):
        while hasattr(sock, "socket"):
            # The operating system's socket is below all layers of TLS.
            sock = sock.socket
        # A response of a transport of the user's can only be woken. SSLSocket.shutdown() would drop
        # the TLS state that a reader is using.
        getattr(sock, "wake", partial(socket.socket.shutdown, sock, socket.SHUT_RDWR))()


def lacks_close_notify(error: BaseException) -> bool:
    """Return whether an error means that TLS ended without a close_notify.

    Python raises `ssl.SSLEOFError` then. With OpenSSL 3, early versions of Python 3.10 and 3.11
    raise a plain `ssl.SSLError` with this ``reason``.
    """
    reason = getattr(error, "reason", None)
    return isinstance(error, ssl.SSLEOFError) or reason == "UNEXPECTED_EOF_WHILE_READING"


def connection_broke(error: BaseException) -> bool:
    """Return whether an error means that a connection broke, with TLS or without."""
    if not isinstance(error, ssl.SSLError):
        # The operating system gives up a connection whose peer acknowledges nothing, as after the
        # probes of `keepalive`. To Python, this ETIMEDOUT is a TimeoutError, like the timeout of a
        # socket, which has no number.
        timed_out = getattr(error, "errno", None) == errno.ETIMEDOUT
        return timed_out or isinstance(error, ConnectionError)
    # If a write meets a closed connection, Python may raise a plain SSLError with
    # SSL_ERROR_SYSCALL. After a close_notify, it raises an error with SSL_ERROR_ZERO_RETURN. With
    # OpenSSL 3, an error of the operating system may have the library "SYS" instead.
    ended = (ssl.SSL_ERROR_SYSCALL, ssl.SSL_ERROR_ZERO_RETURN)
    system = getattr(error, "library", "") == "SYS"
    return error.errno in ended or system or lacks_close_notify(error)


def decrypted(sock: Any) -> bool:
    """Tell whether TLS, or TLS in TLS, holds bytes that it has decrypted and not yet returned."""
    incoming = getattr(sock, "incoming", None)
    if incoming is None:
        return bool(getattr(sock, "pending", int)())
    return bool(incoming.pending or sock.sslobj.pending())
