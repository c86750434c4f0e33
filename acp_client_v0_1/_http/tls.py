"""The trust and the identity that a configuration asks for, as ssl has them.

Invariants: certificates are checked unless ``verify_ssl`` is false; a file that cannot be used is
reported as a fault of the setting that names it.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Generator
from typing import TYPE_CHECKING

from urllib3.util.ssl_ import create_urllib3_context

from acp_client_v0_1.exceptions import ApiValueError

if TYPE_CHECKING:
    from acp_client_v0_1.configuration import Configuration

__all__ = ["check_identity", "tls_context"]


def check_identity(configuration: Configuration) -> None:
    """Refuse half of a client's identity.

    Raises:
        ApiValueError: There is a key without its certificate.
    """
    if configuration.key_file is not None and configuration.cert_file is None:
        raise ApiValueError("key_file cannot be used without cert_file")


def tls_context(configuration: Configuration, *, with_identity: bool) -> ssl.SSLContext:
    """Make the settings of TLS.

    Args:
        configuration: ``verify_ssl``, the certificate authorities and the client's certificate.
        with_identity: Show the client's certificate.

    Raises:
        ApiValueError: A certificate or key cannot be used.
    """
    mode = ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE
    context = create_urllib3_context(cert_reqs=mode)
    # Early versions of 3.10 and 3.11 set it, and so take any cut for an announced end.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    if configuration.verify_ssl:
        _load_trust(context, configuration)
    check_identity(configuration)
    if with_identity and configuration.cert_file is not None:
        with _named("cert_file or key_file"):
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context


def _load_trust(context: ssl.SSLContext, configuration: Configuration) -> None:
    if configuration.ssl_ca_cert is not None:
        with _named("ssl_ca_cert"):
            context.load_verify_locations(cafile=configuration.ssl_ca_cert)
    if configuration.ca_cert_data is not None:
        with _named("ca_cert_data"):
            context.load_verify_locations(cadata=configuration.ca_cert_data)
    if configuration.ssl_ca_cert is None and configuration.ca_cert_data is None:
        context.load_default_certs()


@contextlib.contextmanager
def _named(setting: str) -> Generator[None, None, None]:
    """Turn an error of a file into one that names the setting."""
    try:
        yield
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ApiValueError(f"{setting} cannot be used: {error}") from error
