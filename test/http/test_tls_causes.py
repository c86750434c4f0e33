"""What is said of each way in which TLS can fail: by servers that do, and by the table alone."""

from __future__ import annotations

import re
import socket
import ssl
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from support.parts import ENDED, cause_of, failure_of, tls_causes, words_of
from support.proxies import HttpProxy
from support.socket_server import CLOSE, RESET, STALL, Connection, SocketServer, response
from support.transport import refused, rest_client, serving, talking
from urllib3.util.ssl_match_hostname import CertificateError

from acp_client_v0_1 import AgentsApi
from acp_client_v0_1.exceptions import (
    ApiException,
    ConnectionException,
    ProtocolException,
    ProxyException,
    TLSException,
)
from acp_client_v0_1.testing import LocalServer

FINE = response(b'"fine"')
LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)
PAST: dict[str, Any] = {"not_before": LONG_AGO, "not_after": LONG_AGO + timedelta(days=1)}
# What this machine says of a client certificate.
SET, CHECK = "set cert_file and key_file", "check cert_file and key_file"


class Files:
    """Certificates of the server and of clients, and the CAs that issued them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, self.stranger = trustme.CA(), trustme.CA()
        between = self.authority.create_child_ca()
        self.ca = self.write("ca", self.authority.cert_pem)
        self.chain = self.write("chain", self.authority.cert_pem, between.cert_pem)
        self.leaf = between.issue_cert("127.0.0.1")
        for name, issuer, dates in (
            ("good", self.authority, {}),
            ("expired", self.authority, PAST),
            ("foreign", self.stranger, {}),
        ):
            identity = issuer.issue_cert("client@acp.invalid", **dates)
            self.write(name, identity.private_key_and_cert_chain_pem)

    def write(self, name: str, *blobs: trustme.Blob) -> str:
        path = self.folder / f"{name}.pem"
        path.write_bytes(b"".join(blob.bytes() for blob in blobs))
        return str(path)

    def __getitem__(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")

    def context(self, *names: str, **dates: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*(names or ("127.0.0.1", "localhost")), **dates).configure_cert(
            context
        )
        return context


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("certificates"))


# How a server fails


def alert(number: int) -> Callable[[Connection], None]:
    """Read the client's greeting, and refuse it by an alert (RFC 8446, section 6.2)."""

    def handle(connection: Connection) -> None:
        connection.sock.recv(65_536)
        connection.sock.sendall(bytes((0x15, 3, 3, 0, 2, 2, number)))
        connection.sock.shutdown(socket.SHUT_WR)
        connection.stall()

    return handle


def reads_and(*steps: Any) -> Callable[[Connection], None]:
    def handle(connection: Connection) -> None:
        connection.sock.recv(65_536)
        connection.play(steps)

    return handle


def speaks_first(data: bytes) -> Callable[[Connection], None]:
    return lambda connection: connection.play([data, STALL])


def old(files: Files) -> ssl.SSLContext:
    context = files.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def nameless(files: Files) -> ssl.SSLContext:
    context = files.context()
    context.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    return context


def without_chain(files: Files) -> ssl.SSLContext:
    """The server leaves out the certificate between its own and the CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own = files.write("own", files.leaf.private_key_pem, files.leaf.cert_chain_pems[0])
    context.load_cert_chain(own)
    return context


def mutual(files: Files, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = files.context()
    files.authority.configure_trust(context)
    context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, version
    return context


def other_ciphers(files: Files) -> ssl.SSLContext:
    context = files.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA")
    return context


class Case(NamedTuple):
    cause: str
    words: str
    context: Callable[[Files], ssl.SSLContext] | None = None
    handler: Callable[[Connection], object] | None = None
    # The client certificate, by its name, or "".
    own: str = ""
    trust: str = "ca"
    host: str = "127.0.0.1"
    unlike: str = "ssl_ca_cert|cert_file"
    kind: Any = TLSException


def asks(version: str) -> dict[str, Any]:
    return {"context": lambda files: mutual(files, getattr(ssl.TLSVersion, version))}


# The first frames of a server of HTTP/2.
SETTINGS = bytes((0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100))
BANNER = b"SSH-2.0-OpenSSH_9.2\r\n"
CERTIFICATE = "its certificate is refused: "
UNKNOWN_CA = rf"{CERTIFICATE}.* issuer certificate; .* set ssl_ca_cert \(ACP_CA_CERT\) to the whole"
FAILING: dict[str, Case] = {
    "only TLS 1.0 and 1.1": Case("old TLS", "neither TLS 1.2 nor 1.3", context=old),
    "an alert on the version": Case("old TLS", "neither TLS 1.2", handler=alert(70)),
    "only HTTP/2": Case("HTTP/2 alone", "perhaps only HTTP/2; have it", handler=alert(120)),
    "SNI refused": Case(
        "unknown name", r"\(SNI\); correct .* tls_server_name", nameless, host="localhost"
    ),
    "a chain that is cut": Case("unknown CA", UNKNOWN_CA, without_chain, unlike=" cert_file"),
    "a CA of its own": Case(
        "unknown CA", UNKNOWN_CA, Files.context, trust="foreign", unlike=" cert_file"
    ),
    "another name": Case(
        "another name",
        f"{CERTIFICATE}.*'127.0.0.1'; write its name in host, or set tls_server_name",
        lambda files: files.context("acp.invalid"),
    ),
    "expired": Case(
        "expired",
        f"{CERTIFICATE}.* has expired; renew it, or correct the clock",
        lambda files: files.context("127.0.0.1", **PAST),
    ),
    "SSH": Case(
        "no TLS", "speak TLS on this port; check the port, or", handler=speaks_first(BANNER)
    ),
    "HTTP without TLS": Case(
        "no TLS", "check the port, or try http://", handler=reads_and(response(b"", 400), CLOSE)
    ),
    # TLS 1.2 has no alert for a certificate that is missing.
    "a client without a certificate": Case(
        "client certificate missing", f"no client without a certificate; {SET}", **asks("TLSv1_3"),
        unlike="ssl_ca_cert|check",
    ),
    "a client without a certificate in TLS 1.2": Case(
        "client certificate, perhaps", f"does not say why; if it wants .*, {SET}",
        **asks("TLSv1_2"), unlike="ssl_ca_cert|check",
    ),
    **{
        f"a client whose certificate {problem}, in {version}": Case(
            cause, words, **asks(version), own=own, unlike="without a certificate|ssl_ca_cert"
        )
        for version in ("TLSv1_2", "TLSv1_3")
        for problem, cause, words, own in (
            ("expired", "client certificate expired", r"has expired; renew it \(cert", "expired"),
            ("is of another CA", "client certificate untrusted", "not trust the CA", "foreign"),
        )
    },
    "no common cipher": Case(
        "client certificate, perhaps", f"does not say why; if it wants .*, {SET}", other_ciphers,
        unlike="accepts no client|ssl_ca",
    ),
    "a handshake refused, with a certificate": Case(
        "client certificate, perhaps", f"why; if .*, {CHECK}", handler=alert(40), own="good",
        unlike="accepts no client|set cert_file|ssl_ca_cert",
    ),
    "bad_certificate": Case(
        "client certificate refused", "check that cert_file", handler=alert(42), own="good",
        unlike="set cert_file|ssl_ca_cert",
    ),
    "bad_certificate without one": Case(
        "client certificate missing", SET, handler=alert(42), unlike="check|ssl_ca_cert",
    ),
    "certificate_required with one": Case(
        "client certificate missing", CHECK, handler=alert(116), own="good", unlike="set cert_file",
    ),
    "an end without an alert": Case(
        ENDED, f"ended the connection without a response; if .*, {SET}", handler=reads_and(CLOSE),
        unlike="ssl_ca_cert|check", kind=ConnectionException,
    ),
    "a reset without an alert": Case(
        ENDED, f"if it wants a client certificate, {CHECK}", handler=reads_and(RESET), own="good",
        unlike="ssl_ca_cert|set cert_file", kind=ConnectionException,
    ),
    # Nothing is known of these.
    "internal_error": Case("", "alert internal error", handler=alert(80)),
    "access_denied": Case("", "alert access denied", handler=alert(49), own="good"),
    "another alert": Case("", "SSL", handler=alert(255)),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILING.values(), ids=FAILING)
def test_an_error_says_what_failed_of_tls_and_what_to_do(case, files):
    settings = {"ssl_ca_cert": files[case.trust]}
    if case.own:
        settings["cert_file"] = files[case.own]
    context = case.context(files) if case.context else None
    with SocketServer(FINE, handler=case.handler, ssl_context=context) as server:
        url = f"https://{case.host}:{server.port}"
        error = refused(case.kind, url, case.words, "POST", timeout=5, **settings)
    assert (error.tls_cause, error.sent, error.ambiguous) == (case.cause, False, False)
    assert str(error).startswith(f"POST /: cannot connect to {url}: ")
    assert not re.search(case.unlike, str(error)), error
    assert failure_of(error).kind == "unsent"


def test_the_whole_chain_as_ssl_ca_cert_helps_where_a_server_cuts_it(files):
    context = without_chain(files)
    with SocketServer(FINE, ssl_context=context) as server:
        for name, served in (("ca", False), ("chain", True)):
            with rest_client(ssl_ca_cert=files[name]) as client:
                if served:
                    assert client.request("GET", server.url).status == 200
                else:
                    with pytest.raises(TLSException, match="to the whole chain"):
                        client.request("GET", server.url)


@pytest.mark.parametrize("own", ["", "good"])
def test_a_first_connection_over_tls_that_brings_no_http_may_want_a_certificate(files, own):
    """A server in Python drops a client without a certificate without an alert, in TLS 1.3.

    But it looks the same if the server has carried out the request.
    """
    settings = {"ssl_ca_cert": files.ca, **({"cert_file": files[own]} if own else {})}
    context = files.context()
    if not own:
        context = mutual(files, ssl.TLSVersion.TLSv1_3)
    server = SocketServer([CLOSE], ssl_context=context) if own else LocalServer(tls=context)
    with server:
        url = f"https://127.0.0.1:{server.port}"
        words = f"without a response; if it wants a client certificate, {CHECK if own else SET}"
        error = refused(ConnectionException, url, words, "POST", **settings)
    assert (error.tls_cause, error.sent, error.ambiguous) == (ENDED, True, True)
    assert failure_of(error).kind == "lost"


def test_no_certificate_is_thought_of_where_https_was_spoken_before_or_has_begun(files):
    once, begun = [FINE, CLOSE], [b"HTTP/1.1 200 OK\r\ncontent-", CLOSE]
    for scripts, calls in (([once, [CLOSE]], 2), ([begun], 1)):
        with talking(*scripts, ssl_ca_cert=files.ca) as (client, server):
            server.ssl_context = files.context()
            url = f"https://127.0.0.1:{server.port}"
            for _ in range(calls - 1):
                assert client.request("GET", url).status == 200
            with pytest.raises(ConnectionException) as failure:
                client.request("POST", url)
        assert failure.value.tls_cause == "" and "cert" not in str(failure.value)


def test_a_proxy_gets_no_advice_on_the_certificate_for_the_origin(files):
    """Only `proxy_ssl_context` is for it."""
    own = ssl.create_default_context(cafile=files.ca)
    settings = {"proxy_ssl_context": own, "cert_file": files["good"], "ssl_ca_cert": files.ca}
    for proxy in (
        HttpProxy(ssl_context=mutual(files, ssl.TLSVersion.TLSv1_2)),
        SocketServer(handler=alert(116), ssl_context=None),
    ):
        with proxy:
            url = f"https://127.0.0.1:{proxy.port}"
            words = "the proxy does not connect: .*; set proxy_ssl_context; connections use"
            error = refused(TLSException, "https://acp.invalid", words, proxy=url, **settings)
            assert "cert_file" not in str(error)
    with SocketServer(handler=reads_and(CLOSE)) as away:
        url = f"https://127.0.0.1:{away.port}"
        error = refused(ProxyException, "https://acp.invalid", "not connect", proxy=url, **settings)
    assert error.tls_cause == "" and "client certificate" not in str(error)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_a_server_of_http_2_alone_is_called_that(files, secure):
    """It takes no heed of ALPN, and sends its first frame at once."""
    context = files.context() if secure else None
    with SocketServer(handler=speaks_first(SETTINGS), ssl_context=context) as server:
        words = "speaks only HTTP/2: have it speak HTTP/1.1, too; no run was made"
        error = refused(ProtocolException, server.url, words, "POST", ssl_ca_cert=files.ca)
    assert not error.sent and r"\x00" not in str(error)


# What a TLS port of each server responds to a request of HTTP.
TLS_PORTS = {
    "nginx": b"<html><title>400 The plain HTTP request was sent to HTTPS port</title></html>",
    "Apache": b"<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />\n</p>",
    "Go": b"Client sent an HTTP request to an HTTPS server.\n",
    "Tomcat": b"Bad Request\r\nThis combination of host and port requires TLS.\r\n",
}


@pytest.mark.parametrize("page", TLS_PORTS.values(), ids=TLS_PORTS)
def test_a_port_of_https_that_answers_http_is_told_to_be_one(page):
    kind = "text/html" if page[:1] == b"<" else "text/plain"
    with serving(response(page, 400, "Bad Request", content_type=kind)) as (server, client):
        with pytest.raises(ApiException) as failure:
            AgentsApi(client).search_agents({})
        secure = f"https://127.0.0.1:{server.port}"
        assert str(failure.value).endswith(f"; set host to a URL that begins with {secure}")
        assert failure_of(failure.value).kind == "denied"
    for status, url in ((404, "http://h/agents"), (400, "https://h/agents"), (400, None)):
        error = ApiException(status, "no", body=page.decode(), url=url)
        assert "set host" not in str(error) and failure_of(error).kind != "denied"


HTTP_BEGUN = {
    "another version": b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a head that is cut": b"HTTP/1.1 200 OK\r\ncontent-",
    "a status line that is cut": b"HTTP/1.1 20",
    "five bytes": b"HTTP/",
}


@pytest.mark.parametrize("end", [CLOSE, RESET])
@pytest.mark.parametrize("begin", HTTP_BEGUN.values(), ids=HTTP_BEGUN)
def test_tls_is_not_thought_of_after_a_head_that_begins_as_http(begin, end):
    for script in ([begin, 0.05, end], [begin[:2], 0.02, begin[2:], 0.05, end]):
        with (
            talking(script) as (client, server),
            pytest.raises((ConnectionException, ProtocolException)) as failure,
        ):
            client.request("POST", server.url)
        assert "TLS" not in str(failure.value) and "https" not in str(failure.value)


# The table alone


def tls_error(text: str, code: int = 0) -> ssl.SSLError:
    error: Any = ssl.SSLCertVerificationError(1, text) if code else ssl.SSLError(1, text)
    if code:
        error.verify_code, error.verify_message = code, text
    return error


# As other versions of OpenSSL and Python write them, or as no server of a test does.
TEXTS: dict[str, tuple[BaseException, ...]] = {
    "old TLS": (
        tls_error("[SSL: UNSUPPORTED_PROTOCOL] unsupported protocol (_ssl.c:1129)"),
        tls_error("[SSL: WRONG_SSL_VERSION] wrong ssl version (_ssl.c:1129)"),
        tls_error("[SSL: NO_PROTOCOLS_AVAILABLE] no protocols available (_ssl.c:1129)"),
        tls_error("[SSL: TLSV1_ALERT_PROTOCOL_VERSION] tlsv1 alert protocol version"),
    ),
    "no TLS": (
        tls_error("[SSL: RECORD_LAYER_FAILURE] record layer failure (_ssl.c:1000)"),
        tls_error("[SSL: PACKET_LENGTH_TOO_LONG] packet length too long (_ssl.c:1000)"),
    ),
    "HTTP/2 alone": (tls_error("[SSL] tlsv1 alert no application protocol (_ssl.c:1006)"),),
    "unknown name": (tls_error("[SSL: TLSV1_UNRECOGNIZED_NAME] tlsv1 unrecognized name"),),
    "unknown CA": tuple(tls_error("self-signed certificate", n) for n in (2, 18, 19, 20, 21)),
    "expired": tuple(tls_error("certificate is not yet valid", n) for n in (9, 10)),
    "another name": (
        *(tls_error("Hostname mismatch", n) for n in (62, 64)),
        CertificateError("hostname 'a' doesn't match 'protocol version'"),
    ),
    "strict": tuple(tls_error("Missing Authority Key Identifier", n) for n in (80, 85, 94)),
    "bad certificate": tuple(tls_error("certificate revoked", n) for n in (23, 26, 66, 79, 95)),
    ENDED: (
        ssl.SSLEOFError(8, "EOF occurred in violation of protocol (_ssl.c:2427)"),
        ConnectionResetError(104, "Connection reset by peer"),
        ConnectionResetError(
            10054, "An existing connection was forcibly closed by the remote host"
        ),
        tls_error("[SYS] unknown error (_ssl.c:2580)"),
        BrokenPipeError(32, "Broken pipe"),
    ),
    "client certificate, perhaps": (
        tls_error("[SSL: SSLV3_ALERT_HANDSHAKE_FAILURE] sslv3 alert handshake failure"),
        tls_error("[SSL: SSLV3_ALERT_HANDSHAKE_FAILURE] ssl/tls alert handshake failure"),
    ),
    "client certificate missing": (
        tls_error("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required"),
    ),
    "": (
        ConnectionRefusedError(111, "Connection refused"),
        TimeoutError("EOF "),
        OSError(113, "wrong version number"),
        tls_error("[SSL: BAD_SIGNATURE] bad signature (_ssl.c:1000)"),
    ),
}


@pytest.mark.parametrize(("cause", "errors"), TEXTS.items(), ids=TEXTS)
@pytest.mark.parametrize("own", [False, True])
def test_the_text_of_an_error_leads_to_its_cause(cause, errors, own):
    for error in errors:
        assert cause_of(error, own) == cause, error


def test_each_cause_has_a_sentence_an_advice_and_a_case_above():
    seen = {case.cause for case in FAILING.values()} | TEXTS.keys()
    assert len(seen) >= 16
    for cause in seen - {""}:
        for own in (False, True):
            says, advice = words_of(cause, own)
            assert says and advice and "{" not in advice, cause
    assert {*tls_causes._WORDS} == seen - {""}
