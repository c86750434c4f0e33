"""Why TLS failed, in words: one table for the errors of calls and for the doctor.

Strategy: `cause_of` compares the text of an exception with signs, and returns a name. `words_of`
returns two sentences for a name: what happened, and what to do. The texts of OpenSSL differ between
its versions, and Python has no names for some alerts. So a sign is a part of the text.

Invariants: nothing here does I/O. What a server may mean is no fact: it is told with "if".
"""

from __future__ import annotations

import re
import ssl

from urllib3.util.ssl_match_hostname import CertificateError

# Names that begin so are about the certificate of the client.
CLIENT = "client certificate"
ENDED = "ended early"
"""The server ended the handshake, or the first connection, without an alert or a byte of HTTP.

It may want a client certificate, or refuse the one that it got. But it may as well have carried out
a request that was sent.
"""

_HOST = "host, or set tls_server_name"
_IF_WANTED = "if it wants a client certificate, {do} cert_file and key_file"
# By the name: what happened, and what to do. {place} is where the server's name stands, and {do} is
# "set", or "check" if the client has a certificate.
_WORDS = {
    # The certificate of the server
    "expired": "its certificate is not valid today; renew it, or correct the clock of this machine",
    "unknown CA": "its CA, or one in between, is not known; no trusted CA issued it: set "
    "ssl_ca_cert (ACP_CA_CERT) to the whole chain",
    "another name": "its certificate is for another name; write its name in {place}",
    "strict": "its certificate lacks fields; set ssl_context to one without VERIFY_X509_STRICT",
    "bad certificate": "its certificate cannot be used; the server needs another one",
    # The handshake
    "no TLS": "it does not speak TLS on this port; check the port, or try http:// if it has none",
    "old TLS": "it accepts neither TLS 1.2 nor 1.3 of this client; update it, or set ssl_context",
    "HTTP/2 alone": "it does not speak HTTP/1.1, and perhaps only HTTP/2; have it speak both",
    "unknown name": "it has no site of this name (SNI); correct the name in {place}",
    ENDED: f"it ended the connection without a response; {_IF_WANTED}",
    # The certificate of the client
    f"{CLIENT}, perhaps": f"it refuses the handshake, and does not say why; {_IF_WANTED}",
    f"{CLIENT} missing": "it accepts no client without a certificate; {do} cert_file and key_file",
    f"{CLIENT} expired": "it says that the client certificate has expired; renew it (cert_file)",
    f"{CLIENT} untrusted": "it does not trust the CA of the client certificate; set cert_file to "
    "one of a CA that the server trusts, with the intermediate certificates",
    f"{CLIENT} refused": "it refuses the client certificate; check that cert_file is for it",
}
# The first sign that the text contains decides. "verify 0" means that no certificate was verified,
# and "own" that the client has one. The numbers are OpenSSL's X509_V_ERR_….
_SIGNS = (
    ("verify (9|10) ", "expired"),
    ("verify (2|18|19|20|21) ", "unknown CA"),
    ("verify 6[24] | doesn t match ", "another name"),
    # From Python 3.13 on, the rules of RFC 5280 are checked strictly (VERIFY_X509_STRICT).
    ("verify (8[0-9]|9[0-4]) ", "strict"),
    ("verify [1-9]", "bad certificate"),
    ("wrong version number|record layer failure|packet length too long", "no TLS"),
    ("protocol version|unsupported protocol|wrong ssl version|no protocols available", "old TLS"),
    ("no application protocol", "HTTP/2 alone"),
    ("unrecognized name", "unknown name"),
    ("alert certificate required", f"{CLIENT} missing"),
    ("own .*alert certificate expired", f"{CLIENT} expired"),
    ("own .*alert unknown ca", f"{CLIENT} untrusted"),
    ("own .*alert .*certificate", f"{CLIENT} refused"),
    ("alert (.*certificate|unknown ca)", f"{CLIENT} missing"),
    ("alert handshake failure", f"{CLIENT}, perhaps"),
    (" eof |reset by|closed without|broken pipe|forcibly closed|sys unknown error", ENDED),
)


def cause_of(error: BaseException, own: bool) -> str:
    """Return the name of the cause that an exception is a sign of, or "".

    ``own`` is true if the client has a certificate.
    """
    if not isinstance(error, (ssl.SSLError, CertificateError, ConnectionError)):
        return ""
    words = re.sub(r"[\W_]+", " ", str(error).lower())
    text = f"{'own' if own else 'none'} verify {getattr(error, 'verify_code', 0)} {words} "
    return next((name for sign, name in _SIGNS if re.search(sign, text)), "")


def words_of(cause: str, own: bool, place: str = _HOST) -> tuple[str, str]:
    """Return what happened, and what to do. ``place`` is where the name of the server stands."""
    says, _, advice = _WORDS[cause].partition("; ")
    return says, advice.format(place=place, do="check" if own else "set")
