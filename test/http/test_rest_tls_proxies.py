"""TLS with a private CA and client certificates, direct and through every kind of proxy."""

from __future__ import annotations

import copy
import errno
import pickle
import re
import socket
import ssl
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.certificates import Certificates
from support.parts import (
    PIECE,
    Attempt,
    Deadline,
    Interruptible,
    Origin,
    Timeout,
    parse_target,
    proxy_for,
    tls,
)
from support.proxies import HttpProxy, SocksProxy
from support.socket_server import (
    CLOSE,
    RESET,
    STALL,
    Connection,
    SocketServer,
    chunk,
    head,
    redirect,
    response,
)
from support.transport import (
    Stopwatch,
    causes,
    eventually,
    free_port,
    refused,
    rest_client,
    talking,
)
from urllib3.exceptions import InsecureRequestWarning

from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.exceptions import (
    ApiTimeoutError,
    ApiTypeError,
    ApiValueError,
    ConnectionException,
    ProtocolException,
    ProxyException,
    TLSException,
)
from acp_client_v0_1.rest import RESTClientObject
from acp_client_v0_1.testing import LocalServer

FINE = response(b'"fine"')


@pytest.fixture
def mutual_server(certificates: Certificates) -> Iterator[SocketServer]:
    with SocketServer(FINE, ssl_context=certificates.server(mutual=True)) as server:
        yield server


@pytest.fixture
def outer(certificates: Certificates) -> Iterator[HttpProxy]:
    """An https proxy."""
    with HttpProxy(ssl_context=certificates.server()) as proxy:
        yield proxy


def tunnel_of(certificates: Certificates, proxy: SocketServer) -> dict[str, object]:
    """Give the settings for TLS to a server within TLS to a proxy."""
    own = ssl.create_default_context(cafile=certificates.ca_file)
    return {"proxy": proxy.url, "proxy_ssl_context": own, "ssl_ca_cert": certificates.ca_file}


@pytest.fixture
def tunnel(certificates: Certificates, outer: HttpProxy) -> dict[str, object]:
    return tunnel_of(certificates, outer)


@pytest.fixture
def secure(certificates: Certificates) -> Any:
    """A server that speaks TLS, with a certificate for these names, and a client that trusts it."""

    @contextmanager
    def make(*responses: Any, names: Sequence[str] = ("127.0.0.1",), **settings: Any) -> Any:
        with (
            SocketServer(*responses, ssl_context=certificates.server(*names)) as server,
            rest_client(**{"ssl_ca_cert": certificates.ca_file, **settings}) as client,
        ):
            yield client, server

    return make


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_wants_a_client_certificate_has_read_no_request(
    certificates, mutual_server, version
):
    mutual_server.ssl_context.maximum_version = version
    words, trust = "cannot connect to .*; .*set cert_file", {"ssl_ca_cert": certificates.ca_file}
    error = refused(TLSException, mutual_server.url, words, "POST", **trust)
    assert not (error.sent or error.ambiguous or mutual_server.requests)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_mutual_tls_through_a_proxy(certificates, mutual_server, scheme):
    context, settings = None, {"cert_file": certificates.client_file}
    if scheme == "https":
        context = certificates.server()
        settings = {"cert_file": certificates.cert_file, "key_file": certificates.key_file}
    settings["ssl_ca_cert"] = certificates.ca_file
    with HttpProxy(ssl_context=context) as proxy:
        url = proxy.url.replace("://", "://user:pass%20word@")
        own = {"x-team": "acp", "host": "acp"}
        with rest_client(proxy=url, proxy_headers=own, **settings) as client:
            for _ in range(2):
                received = client.request("POST", mutual_server.url, body=b"x" * 200_000)
                assert received.data == b'"fine"'
            assert client.request("GET", mutual_server.url, stream=True).read() == b'"fine"'
    (asked,) = proxy.requests  # one tunnel, for calls and streams
    assert (asked.method, asked.path) == ("CONNECT", f"127.0.0.1:{mutual_server.port}")
    assert asked.headers["proxy-authorization"] == "Basic dXNlcjpwYXNzIHdvcmQ="
    assert (asked.headers["x-team"], asked.headers["host"]) == ("acp", asked.path)
    assert "proxy-authorization" not in mutual_server.requests[0].headers


def test_a_proxy_gets_an_ipv6_address_in_brackets_and_the_whole_url_in_ascii(certificates):
    with (
        SocketServer(FINE, ssl_context=certificates.server("::1")) as secure,
        SocketServer(FINE) as plain,
        HttpProxy() as proxy,
        rest_client(
            proxy=proxy.url.replace("://", "://u:p@"), ssl_ca_cert=certificates.ca_file
        ) as client,
    ):
        for url in (
            f"https://[::1]:{secure.port}/",
            f"http://[::1]:{plain.port}/a|b[0]?c=[d]",
            *[f"http://bücher.invalid:{plain.port}/runs?limit=1"] * 2,
        ):
            assert client.request("GET", url).data == b'"fine"'
    hosts = [f"[::1]:{secure.port}", f"[::1]:{plain.port}", f"xn--bcher-kva.invalid:{plain.port}"]
    hosts.append(hosts[-1])
    paths = ["/a%7Cb%5B0%5D?c=%5Bd%5D", *["/runs?limit=1"] * 2]
    urls = [f"http://{host}{path}" for host, path in zip(hosts[1:], paths, strict=True)]
    assert [request.path for request in proxy.requests] == [hosts[0], *urls]
    assert [request.headers["host"] for request in proxy.requests] == hosts
    assert {r.headers["proxy-authorization"] for r in proxy.requests} == {"Basic dTpw"}
    assert [request.path for request in plain.requests] == paths


@pytest.mark.parametrize("https", [False, True])
def test_a_connection_that_the_server_has_dropped_is_not_used(secure, https):
    make = secure if https else talking
    with make([FINE, CLOSE]) as (client, server):
        for _ in range(10):
            assert client.request("POST", server.url, body=b"{}").status == 200
            assert eventually(lambda: not server.still_open)


def test_the_certificates_that_are_set_are_trusted_or_else_the_systems(certificates, monkeypatch):
    text, words = certificates.ca_text, r"certificate is refused: .* set ssl_ca_cert"
    with SocketServer(FINE, ssl_context=certificates.server()) as server:
        for data in (text, text.encode(), ssl.PEM_cert_to_DER_cert(text)):
            with rest_client(ca_cert_data=data) as client:
                assert client.request("GET", server.url).status == 200
        monkeypatch.setenv("SSL_CERT_FILE", certificates.ca_file)  # OpenSSL's own setting
        with rest_client() as client:
            assert client.request("GET", server.url).status == 200
        other = Path(certificates.ca_file).with_name("other.pem")
        trustme.CA().cert_pem.write_to_path(str(other))
        monkeypatch.delenv("SSL_CERT_FILE")
        for settings in ({}, {"ssl_ca_cert": str(other)}, {"ca_cert_data": other.read_text()}):
            error = refused(TLSException, server.url, words, **settings)
            assert isinstance(causes(error)[-1], ssl.SSLError)


def test_names_that_are_asserted(certificates, secure):
    seen = []
    with secure(FINE, names=["acp.invalid", "two.invalid"]) as (_, server):
        server.ssl_context.sni_callback = lambda _sock, name, _context: seen.append(name)
        for settings, words in (
            ({}, r"127\.0\.0\.1"),
            ({"tls_server_name": "other.invalid"}, "other.invalid"),
            ({"assert_hostname": "other.invalid"}, r"other\.invalid.* match .*acp\.invalid"),
        ):
            trust = {"ssl_ca_cert": certificates.ca_file, "retries": 3}
            error = refused(TLSException, server.url, words, "POST", **trust, **settings)
            assert "ssl_ca_cert" not in str(error)  # another CA would not help
            assert not error.sent and not error.ambiguous
        assert server.connections == 3
        assert eventually(lambda: not server.still_open)
        own = "acp.invalid"
        allowed = ({"tls_server_name": own}, {"assert_hostname": own}, {"assert_hostname": False})
        for settings in allowed:
            with rest_client(ssl_ca_cert=certificates.ca_file, **settings) as client:
                assert client.request("GET", server.url).status == 200
    assert seen == [None, "other.invalid", None, "acp.invalid", None, None]


def test_an_unverified_origin_is_named_also_if_its_proxy_is_verified(certificates, tunnel):
    words = "Unverified HTTPS request to 'localhost': its certificate"
    for settings in ({}, tunnel):
        with (
            SocketServer(FINE, ssl_context=certificates.server("acp.invalid")) as server,
            rest_client(**settings, verify_ssl=False) as client,
            pytest.warns(InsecureRequestWarning, match=words) as warned,
        ):
            assert client.request("GET", f"https://localhost:{server.port}/").status == 200
        assert warned[0].filename == __file__  # the line that makes the call
    strict = {**tunnel, "proxy_ssl_context": ssl.create_default_context()}
    refused(TLSException, "https://localhost:1/", **strict, verify_ssl=False)


def test_an_unverified_proxy_of_an_http_origin_is_named(outer):
    own = ssl._create_unverified_context()
    with (
        talking(FINE, proxy=outer.url, proxy_ssl_context=own) as (client, server),
        pytest.warns(InsecureRequestWarning, match="request to '127.0.0.1': its certificate"),
    ):
        assert client.request("GET", f"http://localhost:{server.port}/").status == 200


def test_only_the_configured_origin_gets_the_client_certificate(certificates):
    """Neither the target of a cross-origin redirect gets it, nor an https proxy."""
    shown = []

    def look(connection):
        shown.append(connection.sock.getpeercert())
        connection.read_request()
        connection.play(FINE)

    context = certificates.server(mutual=True)
    context.verify_mode = ssl.CERT_OPTIONAL
    settings = {"ssl_ca_cert": certificates.ca_file, "cert_file": certificates.client_file}
    with SocketServer(handler=look, ssl_context=context) as other:
        moved, mutual = redirect(307, other.url), certificates.server(mutual=True)
        with SocketServer(moved, ssl_context=mutual) as server, rest_client(**settings) as client:
            assert client.request("GET", server.url).status == 200
        refused(ProxyException, "https://acp.invalid/", proxy=other.url, **settings)
    assert shown in ([{}, {}], [None, None])


@pytest.mark.parametrize("setting", ["tls_server_name", "assert_hostname"])
def test_the_name_of_the_configured_origin_is_not_that_of_another(certificates, setting):
    """Neither may the other one show a certificate for it, nor is it asked for it."""
    settings = {"ssl_ca_cert": certificates.ca_file, setting: "acp.invalid"}
    own, foreign = certificates.server(), certificates.server("acp.invalid")
    with (
        SocketServer(FINE, ssl_context=own) as other,
        SocketServer(FINE, ssl_context=foreign) as pretender,
        SocketServer(
            *(redirect(307, each.url) for each in (other, pretender)),
            ssl_context=certificates.server("acp.invalid"),
        ) as server,
        rest_client(**settings) as client,
    ):
        assert client.request("GET", server.url).status == 200
        with pytest.raises(TLSException, match=r"127\.0\.0\.1"):
            client.request("GET", server.url)
        assert not pretender.requests


def test_the_proxy_of_the_environment_unless_an_empty_one_is_set(monkeypatch):
    with SocketServer(FINE) as server, HttpProxy() as proxy:
        monkeypatch.setenv("all_proxy", proxy.url.removeprefix("http://"))
        for settings, times in (({}, 1), ({"proxy": ""}, 1), ({}, 2)):
            with rest_client(**settings) as client:
                assert client.request("GET", server.url).status == 200
            assert len(proxy.requests) == times


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "All_Proxy"])
def test_a_failed_proxy_is_named_as_it_is_written_and_no_proxy_helps_a_loopback_host(
    monkeypatch, name
):
    monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for host, advice in (("127.0.0.1", True), ("localhost", True), ("acp.invalid", False)):
        error = refused(ProxyException, f"http://{host}:{free_port()}/", f" of {name}")
        assert (f"set no_proxy={host}" in str(error)) is advice


def test_no_proxy_of_the_environment_is_for_a_server_of_this_process(monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with LocalServer() as server, rest_client() as client:
        assert client.request("POST", f"{server.url}/agents/search", body={}).status == 200
        assert client.request("POST", f"http://localhost:{server.port}/agents/search", body={})
        server.stop()
        refused(ProxyException, server.url)


@pytest.mark.parametrize(
    "no_proxy, host, direct",
    [
        ("", "acp.invalid", False),
        ("*", "acp.invalid", True),
        ("ACP.invalid:8000", "acp.invalid", True),
        ("acp.invalid:1", "acp.invalid", False),
        ("other, .invalid", "acp.invalid", True),
        ("invalid", "acp.invalid", True),
        ("*.invalid", "acp.invalid", True),
        ("valid", "acp.invalid", False),
        ("10.9.9.9/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "acp.invalid", False),
        ("::1", "::1", True),
        ("[::1]:8000", "::1", True),
        # An address without brackets has no port.
        ("2001:db8::8000", "2001:db8::8000", True),
        ("2001:db8::8000", "2001:db8::", False),
        ("[2001:db8::8000]:8000", "2001:db8::8000", True),
        ("[2001:db8::8000]:1", "2001:db8::8000", False),
        ("2001:db8::/32", "2001:db8::8000", True),
        ("acp.invalid", "acp.invalid.", True),
        ("acp.invalid.:8000", "acp.invalid", True),
        (".invalid.", "acp.invalid", True),
    ],
)
def test_exceptions_from_the_proxy(monkeypatch, no_proxy, host, direct):
    origin = Origin("http", host, 8000)
    assert (proxy_for(origin, "http://proxy:3128", no_proxy, {}) is None) is direct
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert (proxy_for(origin, None, no_proxy, {}) is None) is direct
    monkeypatch.setenv("no_proxy", no_proxy)
    assert (proxy_for(origin, None, None, {}) is None) is direct
    assert proxy_for(origin, "http://proxy:3128", None, {}).host == "proxy"
    assert proxy_for(origin, None, "", {}).host == "proxy"


@pytest.mark.parametrize(
    ("scheme", "port"),
    [("http", 80), ("https", 443), ("socks4", 1080), ("socks4a", 1080), ("socks5h", 1080)],
)
def test_a_proxy_or_a_host_without_a_port_has_that_of_its_scheme(scheme, port):
    origin = Origin("http", "acp.invalid", 80)
    assert proxy_for(origin, f"{scheme}://proxy", None, {}).port == port
    assert proxy_for(origin, f"{scheme}://proxy:8", None, {}).port == 8
    assert not scheme.startswith("http") or parse_target(f"{scheme}://host").origin.port == port


def test_credentials_that_are_set_for_a_proxy_replace_those_of_its_url():
    origin, own = Origin("http", "acp.invalid", 80), {"PROXY-authorization": "Basic own"}
    assert proxy_for(origin, "http://u:p@proxy", None, own).headers == own
    assert proxy_for(origin, "http://u%20v@proxy", None, {}).headers == {
        "Proxy-Authorization": "Basic dSB2Og=="  # "u v:"
    }


def test_a_close_notify_is_needed_whatever_the_versions_of_python_say(secure, monkeypatch):
    """Early 3.10 and 3.11 set an option by which OpenSSL takes any cut for an announced end."""
    make = tls.create_urllib3_context

    def tolerant(**settings):
        context = make(**settings)
        context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
        return context

    monkeypatch.setattr(tls, "create_urllib3_context", tolerant)
    script = [head(connection="close"), b'"fine"', CLOSE]
    with (
        secure(script) as (client, server),
        pytest.raises(ConnectionException, match="close_notify"),
    ):
        client.request("GET", server.url)


@pytest.mark.parametrize("proxied", [False, True], ids=["direct", "of an https proxy"])
def test_a_connection_that_is_cut_within_the_handshake_is_no_fault_of_tls(certificates, proxied):
    """Nor is it refused for good: the same request may well succeed a moment later."""

    def cut(connection):
        connection.sock.recv(65_536)
        connection.sock.shutdown(socket.SHUT_WR)
        connection.stall()

    with SocketServer(handler=cut) as server:
        url = f"https://127.0.0.1:{server.port}"
        kind, proxy = (ProxyException, url) if proxied else (ConnectionException, "")
        settings = {"ssl_ca_cert": certificates.ca_file, "proxy": proxy, "timeout": 5}
        assert not refused(kind, "https://acp.invalid/" if proxied else url, **settings).sent


@pytest.mark.parametrize(
    "script",
    [
        *([head(status, connection="close"), b'"a"', CLOSE] for status in (300, 404)),
        [head(transfer_encoding="chunked"), chunk(b'"a"'), b"0\r\n", CLOSE],
    ],
    ids=["300", "404", "last chunk"],
)
def test_an_error_and_a_last_chunk_need_no_close_notify(secure, script):
    with secure(script) as (client, server):
        received = client.request("DELETE", server.url)
    assert (received.data, received.fault) == (b'"a"', None)


def test_a_context_of_the_users_own_decides_for_the_configured_origin(certificates, outer):
    own = ssl.create_default_context(cafile=certificates.ca_file)
    own.load_cert_chain(certificates.client_file)
    settings = {"ssl_context": own, "tls_server_name": "acp.invalid"}
    mutual = certificates.server("acp.invalid", mutual=True)
    with SocketServer(FINE, ssl_context=mutual) as server, rest_client(**settings) as client:
        assert client.request("GET", server.url).status == 200
        # A https proxy and the target of a cross-origin redirect do not get its certificate.
        with (
            SocketServer(FINE, ssl_context=certificates.server()) as other,
            SocketServer(redirect(307, other.url), ssl_context=mutual) as moved,
            pytest.raises(TLSException, match=r"a redirect of .* led there"),
        ):
            client.request("GET", moved.url)
        words = "the proxy does not connect"
        refused(TLSException, server.url, words, proxy=outer.url, **settings)
    assert own.check_hostname and own.verify_mode == ssl.CERT_REQUIRED


def test_a_context_that_checks_no_name_decides_for_its_server(certificates):
    own = ssl.create_default_context(cafile=certificates.ca_file)
    own.check_hostname = False
    other = certificates.server("acp.invalid")
    with SocketServer(FINE, ssl_context=other) as secure, rest_client(ssl_context=own) as client:
        assert client.request("GET", secure.url).status == 200
        with HttpProxy(ssl_context=other) as proxy, SocketServer(FINE) as plain:
            settings = {"proxy": proxy.url, "proxy_ssl_context": own, "ssl_context": own}
            with rest_client(**settings) as client:
                for server in (plain, secure):
                    assert client.request("GET", server.url).status == 200


OWN = ssl.create_default_context()
UNUSABLE = [
    ({"key_file": "/key.pem"}, "key_file cannot be used without cert_file"),
    *(
        ({"tls_server_name": name}, f"tls_server_name.*{re.escape(repr(name))}")
        for name in ("", ".x", "a" * 70, "a\0b", "a b", "\udce9")
    ),
    *(
        ({"ssl_context": OWN, name: value}, f"{name} cannot be used with ssl_context")
        for name, value in (
            *(("verify_ssl", False), ("assert_hostname", "a"), ("assert_hostname", False)),
            *(("ssl_ca_cert", "ca.pem"), ("ca_cert_data", b"ca"), ("cert_file", "client.pem")),
        )
    ),
]


@pytest.mark.parametrize(("settings", "words"), UNUSABLE)
def test_settings_that_do_not_go_together_or_with_dns_are_refused(settings, words):
    """Whether they are there from the beginning, or assigned later."""
    assigned = Configuration()
    client = RESTClientObject(assigned)
    for name, value in settings.items():
        setattr(assigned, name, value)
    for use in (lambda: client, lambda: RESTClientObject(Configuration(**settings))):
        with pytest.raises(ApiValueError, match=words):
            use().request("GET", "https://127.0.0.1:1/", _request_timeout=5)


def test_a_configuration_with_a_context_shares_it_with_its_copies_and_cannot_be_pickled():
    configuration = Configuration(ssl_context=ssl.create_default_context())
    configuration.proxy_ssl_context = OWN
    for copied in (copy.copy(configuration), copy.deepcopy(configuration)):
        assert copied.ssl_context is configuration.ssl_context
        assert copied.proxy_ssl_context is OWN
    with pytest.raises(TypeError, match="SSLContext"):
        pickle.dumps(configuration)
    with pytest.raises(ApiTypeError, match=r"ssl_context must be an ssl\.SSLContext, not str"):
        Configuration(ssl_context="ca.pem")


def test_a_ca_without_key_identifiers_needs_a_context_without_strict_checks(tmp_path):
    """From Python 3.13 on, the checks are strict by default."""
    file, server_context = certificate_without_key_identifiers(tmp_path)
    own = ssl.create_default_context(cafile=file)
    with SocketServer(FINE, ssl_context=server_context) as server:
        own.verify_flags |= ssl.VERIFY_X509_STRICT
        words = "its certificate is refused: .*; set ssl_context to one without VERIFY_X509_STRICT"
        refused(TLSException, server.url, words, ssl_context=own)
        own.verify_flags &= ~ssl.VERIFY_X509_STRICT
        with rest_client(ssl_context=own) as client:
            assert client.request("GET", server.url).status == 200


def certificate_without_key_identifiers(folder: Path) -> tuple[str, ssl.SSLContext]:
    """Make a CA as some companies have it, and a server's context with a certificate of it."""
    key = ec.generate_private_key(ec.SECP256R1())
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = []
    for name, extension in (("CA", x509.BasicConstraints(True, None)), ("server", address)):
        subject, issuer = (
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in (name, "CA")
        )
        signed.append(
            x509.CertificateBuilder(issuer, subject, key.public_key(), 1 + len(signed))
            .not_valid_before(datetime(2026, 1, 1))
            .not_valid_after(datetime(2099, 1, 1))
            .add_extension(extension, critical=True)
            .sign(key, SHA256())
        )
    ca_file, own_file = folder / "ca.pem", folder / "own.pem"
    authority, own = (each.public_bytes(Encoding.PEM) for each in signed)
    ca_file.write_bytes(authority)
    own_file.write_bytes(own + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own_file)
    return str(ca_file), context


def test_an_origin_that_fails_behind_a_proxy_is_not_the_proxys_fault(certificates):
    other = certificates.server("acp.invalid")
    with (
        SocketServer(handler=lambda connection: connection.play([CLOSE])) as cuts,
        SocketServer(FINE, ssl_context=other) as misnamed,
        SocketServer(b"SSH-2.0\r\n", ssl_context=certificates.server()) as stranger,
        HttpProxy() as proxy,
    ):
        settings = {"proxy": proxy.url, "ssl_ca_cert": certificates.ca_file, "timeout": 5}
        for server, kind, words in (
            (cuts, ConnectionException, "cannot connect to {}"),
            (misnamed, TLSException, "cannot connect to {}"),
            (stranger, ProtocolException, "{} is another kind .*: check host"),
        ):
            url = f"https://127.0.0.1:{server.port}"
            refused(kind, url, words.format(url), **settings)


@pytest.mark.parametrize("trusted", [False, True], ids=["unknown CA", "another name"])
def test_a_proxy_whose_certificate_is_refused_is_a_fault_of_tls(certificates, trusted):
    context = certificates.server("other.invalid")
    with HttpProxy(ssl_context=context) as proxy:
        settings = tunnel_of(certificates, proxy) if trusted else {"proxy": proxy.url}
        words = "proxy does not connect: its certificate is refused"
        for url in ("http://acp.invalid/", "https://acp.invalid/"):
            refused(TLSException, url, words, retries=3, **settings)
        assert proxy.connections == 2


def test_a_proxy_that_is_not_there():
    port = free_port()
    for scheme in ("http", "socks5h"):
        for target in ("http://acp.invalid/", "https://acp.invalid/"):
            proxy = f"{scheme}://127.0.0.1:{port}"
            error = refused(ProxyException, target, method="POST", proxy=proxy)
            assert not error.ambiguous
            assert isinstance(error.__cause__.original_error, OSError)


@pytest.mark.parametrize("login", [None, ("user", "secret")])
def test_socks(certificates, mutual_server, login):
    settings = {"ssl_ca_cert": certificates.ca_file, "cert_file": certificates.client_file}
    user = f"{login[0]}:{login[1]}@" if login else ""
    with SocksProxy(login) as proxy, SocketServer(FINE) as server:
        url = f"socks5h://{user}127.0.0.1:{proxy.port}"
        with rest_client(proxy=url, timeout=None, **settings) as client:
            assert client.request("GET", f"http://acp.invalid:{server.port}/").status == 200
            assert client.request("GET", mutual_server.url).status == 200
    assert proxy.asked == [("acp.invalid", server.port), ("127.0.0.1", mutual_server.port)]


@pytest.mark.parametrize(
    ("scheme", "here"), [("socks4", True), ("socks4a", False), ("socks5", True), ("socks5h", False)]
)
def test_the_scheme_says_who_looks_up_the_name_behind_a_socks_proxy(monkeypatch, scheme, here):
    """What is looked up here is shown to the resolver of this machine."""
    look_up, looked_up = socket.getaddrinfo, []

    def address_of(host, *rest, **options):
        looked_up.append(host)
        return look_up("127.0.0.1" if host == "acp.invalid" else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", address_of)
    monkeypatch.setattr(socket, "gethostbyname", lambda host: address_of(host, 0)[0][4][0])
    with (
        SocksProxy() as proxy,
        talking(FINE, proxy=f"{scheme}://127.0.0.1:{proxy.port}", timeout=None) as (client, server),
    ):
        assert client.request("GET", f"http://acp.invalid:{server.port}/").status == 200
    assert proxy.asked == [("127.0.0.1" if here else "acp.invalid", server.port)]
    assert ("acp.invalid" in looked_up) is here


def test_socks_without_pysocks_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "socks", None)
    refused(ApiValueError, "http://127.0.0.1/", "PySocks", proxy="socks5://127.0.0.1:1")


@pytest.mark.parametrize("proxy", ["ftp://127.0.0.1", "http://:1", "http://user:secret@h:x"])
def test_impossible_proxies_of_the_environment_are_refused(monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    assert "secret" not in str(refused(ApiValueError, "http://acp.invalid/", "http_proxy"))


def close_notify(connection: Connection) -> None:
    """Announce that nothing follows (RFC 8446, section 6.1)."""
    connection.sock.unwrap()


@pytest.mark.parametrize(
    "last", [[CLOSE], [RESET], [close_notify, CLOSE]], ids=["cut", "reset", "announced"]
)
@pytest.mark.parametrize("tls_in_tls", [False, True], ids=["direct", "within TLS to a proxy"])
def test_a_close_delimited_body_over_tls_needs_a_close_notify(secure, tunnel, last, tls_in_tls):
    """Who can cut a connection must not be able to shorten what it carries."""
    script = [head(content_type="text/event-stream", connection="close"), b'"fine"', *last]
    with secure(script, **(tunnel if tls_in_tls else {})) as (client, server):
        response = client.request("GET", server.url, stream=True)
        if last == [close_notify, CLOSE]:
            assert list(iter(response.read_available, b"")) == [b'"fine"']
        else:
            with pytest.raises(ConnectionException):
                list(iter(response.read_available, b""))


@pytest.mark.parametrize(
    ("handshake", "timeout", "stream"),
    [(True, 0.5, False), (True, (0.5, None), False), (False, 0.5, False), (False, 0.5, True)],
)
def test_what_drips_within_tls_ends_in_time(secure, outer, tunnel, handshake, timeout, stream):
    steps = [head(content_length="200"), lambda _: outer.dripping.set(), b"a" * 200]
    with secure(steps, **tunnel) as (client, server), Stopwatch() as call:
        if handshake:
            outer.dripping.set()
        with pytest.raises(ApiTimeoutError, match=r"no connection|the call's"):
            client.request("GET", server.url, _request_timeout=timeout, stream=stream).read()
        assert call.stop() < 1.5


@pytest.mark.parametrize("tls_in_tls", [False, True], ids=["direct", "within TLS to a proxy"])
def test_tls_serves_call_after_call(secure, tunnel, tls_in_tls):
    large = response(b"a" * 300_000)
    scripts = (large + response(b'"surplus"'), response(b'"b"'), FINE, FINE)
    with secure(*scripts, **(tunnel if tls_in_tls else {})) as (client, server):
        assert client.request("GET", server.url).data == b"a" * 300_000
        assert client.request("POST", server.url, body=b"x" * 300_000).data == b'"b"'
        assert client.request("GET", server.url).data == b'"fine"'
        assert client.request("GET", server.url, stream=True).read_available() == b'"fine"'
        assert [len(request.body) for request in server.requests] == [0, 300_000, 0, 0]
        assert server.connections == 2  # not after the response with more behind it


@pytest.mark.parametrize(("outer", "inner"), [(0, 1), (1, 0), (1, 1)])
def test_bytes_that_tls_within_tls_holds_are_not_waited_for(outer, inner):
    """As in a batch, whose waiting calls look up from time to time."""
    sock = SimpleNamespace(
        incoming=SimpleNamespace(pending=outer),
        sslobj=SimpleNamespace(pending=lambda: inner),
        **dict.fromkeys(("gettimeout", "settimeout", "recv"), lambda *size: size),
    )
    attempt = Attempt(Deadline.after(20), Timeout(), False)
    with Interruptible(partial(pytest.fail, "it waits"), 0.1), attempt:
        assert tls.decrypted(sock)
        assert attempt.receive(sock) == (PIECE,)
    sock.incoming.pending, sock.sslobj.pending = 0, int
    assert not tls.decrypted(sock)


class ClosedSocket:
    """What gevent leaves of a socket that is closed: any attribute raises EBADF."""

    def __getattr__(self, name):
        raise OSError(errno.EBADF, "File descriptor was closed in another greenlet")


@pytest.mark.parametrize(
    "closed", [ClosedSocket(), SimpleNamespace(socket=ClosedSocket())], ids=["plain", "TLS"]
)
def test_a_socket_that_is_closed_and_tells_nothing_needs_no_shutting_down(closed):
    tls.shut_down(closed)


def test_whatever_a_socket_raises_that_another_thread_closes_the_response_was_aborted(monkeypatch):
    class Closing:
        settimeout = gettimeout = print

        def recv(self, size):
            received.abort()
            raise AttributeError("'NoneType' object has no attribute 'read'")

    with talking([head(content_length="2"), b"a", STALL]) as (client, server):
        received = client.request("GET", server.url, stream=True)
        monkeypatch.setattr(received._incoming, "sock", Closing())
        with pytest.raises(ConnectionException, match="aborted"):
            received.read()


def test_abort_wakes_a_read_of_tls_within_tls(secure, tunnel):
    with secure([head(content_length="9"), b"a", STALL], **tunnel) as (client, server):
        received = client.request("GET", server.url, stream=True, _request_timeout=5)
        assert received.read_available() == b"a"
        timer = threading.Timer(0.2, received.abort)
        timer.start()
        with Stopwatch() as read, pytest.raises(ConnectionException, match="aborted"):
            received.read_available()
        timer.join()
        assert read.seconds < 4


@pytest.mark.slow
def test_connecting_through_a_slow_proxy_has_one_limit(certificates):
    script = [1.2, b"HTTP/1.1 200 Connected\r\n\r\n", STALL]
    with SocketServer(script) as server, Stopwatch() as call:
        settings = {"proxy": server.url, "timeout": (1.5, 9)}
        refused(ApiTimeoutError, "https://acp.invalid/", "no connection", **settings)
        assert call.stop() < 2.6  # and not 1.2 + 1.5


def test_each_wait_of_the_outer_tls_is_limited():
    """A proxy that stops to read, or to send, costs no more than the time of the call."""
    done = []
    raw = SimpleNamespace(recv=lambda size: done.append(size), sendall=done.append)
    outer = tls.OuterSocket(raw, lambda sock: done.append("limited" if sock is raw else sock))
    outer.sendall(b"x")
    outer.recv(7)
    outer.sendall(b"")
    assert done == ["limited", b"x", "limited", 7]


@pytest.mark.parametrize("tls_in_tls", [False, True], ids=["direct", "within TLS to a proxy"])
def test_watch_runs_while_the_first_response_over_tls_is_awaited(secure, tunnel, tls_in_tls):
    """The session tickets of TLS 1.3 make the socket readable, but they are no response."""
    watched = []

    def watch():
        watched.append(None)
        if len(watched) == 5:
            raise InterruptedError
        return 0.05

    with (
        secure([STALL], **(tunnel if tls_in_tls else {})) as (client, server),
        Interruptible(watch, 0.05),
        Stopwatch() as call,
    ):
        with pytest.raises(ConnectionException) as failure:
            client.request("GET", server.url, _request_timeout=8)
        assert call.stop() < 6
    assert isinstance(causes(failure.value)[0], InterruptedError)


@pytest.mark.parametrize("tls_in_tls", [False, True], ids=["through a proxy", "within TLS to one"])
def test_watch_runs_within_a_tls_record_and_no_byte_is_lost(secure, certificates, tls_in_tls):
    """A record arrives in two halves, and `watch` is due many times between them."""
    content = bytes(range(256)) * 40
    watched = []
    context = certificates.server() if tls_in_tls else None
    with (
        HttpProxy(context) as proxy,
        secure(response(content), **tunnel_of(certificates, proxy)) as (client, server),
        Interruptible(lambda: watched.append(None) or 0.02, 0.02),
    ):
        proxy.pass_on = partial(halve, watched)
        received = client.request("GET", server.url, _request_timeout=20)
    assert received.data == content
    assert len(watched) > 5


def halve(watched: list[None], sink: socket.socket, data: bytes) -> None:
    """Pass bytes on. Pause in the middle of a long piece until `watch` has run some times."""
    middle = len(data) // 2 if len(data) > 5_000 else 0
    sink.sendall(data[:middle])
    if middle:
        before = len(watched)
        assert eventually(lambda: len(watched) > before + 5)
    sink.sendall(data[middle:])


@pytest.mark.parametrize("https", [False, True])
def test_a_response_before_the_end_of_a_large_body_is_read(secure, https):
    def refuse(connection):
        connection.sock.recv(65_536)
        connection.play([response(b'"too large"', 413, connection="close"), CLOSE])

    make = secure if https else talking
    with make() as (client, server):
        server.handler = refuse
        for _ in range(3):
            received = client.request("POST", server.url, body=bytes(20_000_000))
            assert (received.status, received.data) == (413, b'"too large"')


def test_a_connection_that_breaks_while_a_large_body_is_sent_over_tls_is_no_fault_of_tls(secure):
    def cut(connection):
        connection.sock.recv(65_536)
        connection.reset()

    with secure() as (client, server):
        server.handler = cut
        with pytest.raises(ConnectionException) as failure:
            client.request("POST", server.url, body=bytes(20_000_000), _request_timeout=10)
    assert failure.value.sent


def test_an_error_of_the_system_within_tls_is_a_connection_that_broke():
    error = ssl.SSLError(ssl.SSL_ERROR_SSL, "[SYS] unknown error")
    assert not tls.connection_broke(error)
    error.library = "SYS"
    assert tls.connection_broke(error)


@pytest.mark.parametrize("origin", ["http://acp.invalid", "https://acp.invalid"])
@pytest.mark.parametrize(
    ("beginning", "words"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "is another kind of server, .*OpenSSH': check its URL"),
        (b"\x15\x03\x01\0\x02\x02\x46", "expects TLS: write https://"),
    ],
    ids=["SSH", "TLS alert"],
)
def test_a_proxy_that_does_not_speak_http_is_not_taken_for_the_origin(origin, beginning, words):
    words = f"GET /: the proxy {words}"
    with SocketServer([beginning, STALL]) as server:
        error = refused(ProtocolException, origin, words, proxy=server.url)
    assert f"connections use the proxy {server.url}" in str(error)
    assert not error.sent
