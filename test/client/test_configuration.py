"""Settings: hosts, credentials, the environment, defaults, and how they are shown."""

import inspect
import logging
import pickle
import re
import threading
from pathlib import Path

import pytest
import urllib3
from support.parts import package_logger as make_logger

from acp_client_v0_1 import AgentHandle, ApiClient, RunHandle, RunsApi
from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError


@pytest.mark.parametrize(
    "host, kept",
    [
        ("http://localhost", "http://localhost"),
        ("https://acp.example/", "https://acp.example"),
        ("https://acp.example:8443/base/path/", "https://acp.example:8443/base/path"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("HTTP://Host", "HTTP://Host"),
        ("http://bücher.example", "http://bücher.example"),
        ("http://[fe80::1%25lo]:8000", "http://[fe80::1%25lo]:8000"),
    ],
)
def test_hosts_are_kept_without_a_trailing_slash(host, kept):
    assert Configuration(host=host).host == kept
    configuration = Configuration()
    assert configuration.host == "http://localhost"
    configuration.host = host
    assert configuration.host == kept


def test_a_configuration_knows_whether_its_host_was_set(monkeypatch):
    monkeypatch.delenv("ACP_HOST", raising=False)
    configuration = Configuration()
    assert configuration.host_is_default and Configuration.from_env().host_is_default
    assert configuration.server_index == 0
    configuration.host = "http://localhost/"
    assert not configuration.host_is_default
    assert (configuration.host, configuration.server_index) == ("http://localhost", None)
    assert not Configuration(host="http://localhost").host_is_default
    monkeypatch.setenv("ACP_HOST", "http://localhost")
    assert not Configuration.from_env().host_is_default


NO_HOSTS = """
localhost localhost:8000 ftp://host file:///etc/passwd http:// http:///path http://host:port
http://host:99999 http://host:0 http://a..b http://user:secret@host http://user@host
http://host\\@other http://host/?query http://host/#fragment http://[::1 http://[::1]8000
http://a[::1]:8000 http://ho%20st
"""
LONG_LABELS = f"http://{'a' * 64}.example", f"http://{'ü' * 70}"


NO_NUMBER = "ssl_ca_cert cert_file key_file ca_cert_data no_proxy proxy proxy_ssl_context username"
NO_NUMBER += " tls_server_name assert_hostname access_token"
WRONG_TYPES = {
    **dict.fromkeys(NO_NUMBER.split(), (5,)),
    **dict.fromkeys(("timeout", "max_event_bytes", "block_margin"), ("1",)),
    "verify_ssl": [None],
    "safe_chars_for_path_param": [None, 5, True],
    "ignore_operation_servers": (None, 1),
    "host": [b"http://host", 7, ["http://host"]],
    "total_timeout": ["1", (1, 2)],
    "max_response_bytes": [1.5],
    "api_key": ["secret", {5: "secret"}, {"key": 5}],
    "password": [b"secret"],
    "server_index": ["0"],
    "socket_options": ["x", 5],
    "connection_pool_maxsize": ["4", True],
    "retries": ["3", 1.5, True, [3]],
}
WRONG_VALUES = {
    "host": ["", *NO_HOSTS.split(), *LONG_LABELS, "http://ho st", "http://host\r\nX-Injected: 1"],
    **dict.fromkeys(("timeout", "total_timeout", "max_event_bytes", "max_response_bytes"), (0,)),
    "stream_timeout": [(1, 2, 3)],
    "block_margin": [-1, float("nan")],
    "connection_pool_maxsize": [0],
    "retries": [-1],
    "proxy": [
        "127.0.0.1:3128",
        "ftp://127.0.0.1",
        "http://",
        "http://user:secret@h:x",
        "http://a..b",
    ],
}
OF_HEADERS = {"api_key": {"x-a": None}, "api_key_prefix": {"x-a": 5}, "proxy_headers": {"x-a": ()}}


@pytest.mark.parametrize(
    "name, value, error, place",
    [
        *((name, one, ApiTypeError, name) for name, all in WRONG_TYPES.items() for one in all),
        *((name, one, ApiValueError, name) for name, all in WRONG_VALUES.items() for one in all),
        *((name, one, ApiTypeError, f"{name}.'x-a'") for name, one in OF_HEADERS.items()),
    ],
)
def test_settings_that_cannot_be_used(name, value, error, place):
    c = Configuration()
    before = getattr(c, name, None)
    for give in (lambda: Configuration(**{name: value}), lambda: setattr(c, name, value)):
        with pytest.raises(error, match=rf"^{place}") as failure:
            give()
        assert "secret" not in str(failure.value)
    assert getattr(c, name, None) == before


def test_a_timeout_is_that_of_the_assignment():
    given = [3, 4]
    settings = Configuration(host="http://h", timeout=given)
    given[0] = {}
    assert settings.timeout == (3, 4)


def test_settings_in_their_other_forms(tmp_path):
    options = [(1, -(2**31), 2**31 - 1), [1, 2, b"3"], (1, 2, None, 3)]
    keys = {"x-a": "1"}
    c = Configuration(socket_options=options, ssl_ca_cert=tmp_path, proxy_headers={"x-n": 5})
    servers, names = {0: 0}, {0: {"a": "b"}}
    own = Configuration(server_operation_index=servers, server_operation_variables=names)
    for given in (servers, names):
        given.clear()
    assert (own.server_operation_index, own.server_operation_variables) == ({0: 0}, {0: {"a": "b"}})
    for c.cert_file in (b"client.pem", None):
        c.key_file = c.cert_file
    assert (c.socket_options, c.ssl_ca_cert, c.proxy_headers) == (options, tmp_path, {"x-n": "5"})
    c.api_key = keys
    keys["x-b"] = "2"
    assert c.auth_headers() == {"x-a": "1", "x-b": "2"}
    keys["x-b"] = None
    with pytest.raises(ApiTypeError, match="x-b"):
        c.auth_headers()
    for c.total_timeout, longest in ((2_000_000, 2_000_000), (2_000_001, None)):
        assert c.total_timeout == longest
    for c.block_margin in (0, 1e10):  # the least, and one that is as good as none
        c.socket_options = c.api_key = None
    assert (c.socket_options, c.api_key) == (None, {})


def test_credentials():
    assert Configuration().auth_headers() == {}
    keys = Configuration(api_key={"x-api-key": "k"}, access_token="t", username="u", password="p")
    assert keys.auth_headers() == {"Authorization": "Bearer t", "x-api-key": "k"}
    basic = Configuration(username="u", password="päss")
    assert basic.auth_headers() == {"Authorization": "Basic dTpww6Rzcw=="}
    assert basic.get_basic_auth_token() == "Basic dTpww6Rzcw=="
    own = Configuration(
        api_key={"Authorization": "k"}, api_key_prefix={"Authorization": "Token"}, access_token="t"
    )
    assert own.auth_headers() == {"Authorization": "Token k"}
    lower = Configuration(api_key={"authorization": "k"}, access_token="t")
    assert lower.auth_headers() == {"authorization": "k"}
    assert own.get_api_key_with_prefix("none") is None
    assert own.get_api_key_with_prefix("none", "Authorization") == "k"
    assert own.auth_settings() == {}


@pytest.mark.parametrize(
    "settings, sent",
    [
        ({"access_token": ""}, {}),
        ({"username": "", "password": ""}, {}),
        ({"username": "u", "password": ""}, {"Authorization": "Basic dTo="}),
        ({"access_token": "", "username": "u"}, {"Authorization": "Basic dTo="}),
        ({"api_key": {"x-api-key": ""}}, {}),
        ({"api_key": {"x-k": ""}, "api_key_prefix": {"x-k": "Token"}}, {}),
        ({"api_key": {"Authorization": ""}, "access_token": "t"}, {"Authorization": "Bearer t"}),
    ],
)
def test_an_empty_credential_is_not_sent(settings, sent):
    assert Configuration(**settings).auth_headers() == sent


def test_a_key_can_be_refreshed():
    configuration = Configuration(api_key={"x-api-key": "old"})
    configuration.refresh_api_key_hook = lambda c: c.api_key.update({"x-api-key": "new"})
    assert configuration.auth_headers() == {"x-api-key": "new"}
    configuration.refresh_api_key_hook = lambda c: c.api_key.update({"x-more": "1"})
    assert configuration.auth_headers() == {"x-api-key": "new", "x-more": "1"}


ENVIRONMENT = {
    "HOST": ("https://acp.example/", "https://acp.example"),
    "API_KEY": ("key", {"x-key": "key"}),
    "API_KEY_HEADER": ("x-key", None),
    "ACCESS_TOKEN": ("token", "token"),
    "USERNAME": ("user", "user"),
    "PASSWORD": ("password", "password"),
    "TIMEOUT": ("30", 30.0),
    "STREAM_TIMEOUT": ("5, none", (5.0, None)),
    "RETRIES": ("2", 2),
    "SSL_CA_CERT": ("/ca.pem", "/ca.pem"),
    "CERT_FILE": ("/cert.pem", "/cert.pem"),
    "KEY_FILE": ("/key.pem", "/key.pem"),
    "VERIFY_SSL": ("yes", True),
    "PROXY": ("http://proxy:3128", "http://proxy:3128"),
    "DEBUG": ("true", True),
    "TOTAL_TIMEOUT": ("90", 90.0),
    "BLOCK_MARGIN": ("2.5", 2.5),
    "CONNECTION_POOL_MAXSIZE": ("7", 7),
    "MAX_EVENT_BYTES": ("1000", 1000),
    "MAX_RESPONSE_BYTES": ("2000", 2000),
    "TLS_SERVER_NAME": ("acp.internal", "acp.internal"),
}


@pytest.mark.parametrize("around", ["", " ", "\n"])
def test_settings_from_the_environment(monkeypatch, around):
    for name, (text, _) in ENVIRONMENT.items():
        monkeypatch.setenv(f"ACP_{name}", f"{around}{text.replace(',', f'{around},')}{around}")
    c = Configuration.from_env()
    found = {name: getattr(c, name.lower(), None) for name in ENVIRONMENT}
    assert found.pop("PASSWORD") == f"{around}password{around}".strip("\n")
    assert found == {name: value for name, (_, value) in ENVIRONMENT.items() if name in found}
    monkeypatch.setenv("ACP_MAX_RESPONSE_BYTES", "none")
    monkeypatch.setenv("ACP_API_KEY", "+not-a-header: but a key")
    c = Configuration.from_env()
    assert (c.max_response_bytes, c.api_key) == (None, {"x-key": "+not-a-header: but a key"})
    # The longer name of a variable overrides the shorter.
    for short, long in (("TOKEN", "ACCESS_TOKEN"), ("CA_CERT", "SSL_CA_CERT")):
        monkeypatch.setenv(f"ACP_{short}", "/short")
        assert getattr(Configuration.from_env(), long.lower()) == ENVIRONMENT[long][1]
        monkeypatch.delenv(f"ACP_{long}")
        assert getattr(Configuration.from_env(), long.lower()) == "/short"


def test_every_variable_is_in_the_guide_and_in_the_docstring():
    page = Path(__file__).parents[2] / "docs" / "guides" / "configuration.md"
    documented = set(re.findall(r"`ACP_(\w+)`", page.read_text("utf-8")))
    assert documented == {*ENVIRONMENT, "CA_CERT", "NO_PROXY", "TOKEN"}
    assert set(re.findall(r"\b[A-Z][A-Z_]+\b", Configuration.from_env.__doc__)) >= documented


def test_arguments_take_precedence_over_the_environment(monkeypatch):
    monkeypatch.setenv("ACP_HOST", "http://environment")
    monkeypatch.setenv("ACP_TIMEOUT", "never mind")
    monkeypatch.setenv("ACP_API_KEY", "old")
    monkeypatch.setenv("ACP_RETRIES", "2")
    c = Configuration.from_env(timeout=5, api_key={"x-other": "new"}, connection_pool_maxsize=3)
    assert (c.host, c.timeout, c.retries) == ("http://environment", 5, 2)
    assert (c.api_key, c.connection_pool_maxsize) == ({"x-other": "new"}, 3)
    monkeypatch.setenv("ACP_KEY_FILE", "/key.pem")
    assert Configuration.from_env(timeout=None, cert_file="/c.pem").key_file == "/key.pem"
    monkeypatch.delenv("ACP_KEY_FILE")
    with pytest.raises(ApiTypeError, match="retries"):
        Configuration.from_env(timeout=5, retries="3")
    with pytest.raises(TypeError, match="retry"):
        Configuration.from_env(timeout=5, retry=3)


def test_an_empty_environment_changes_nothing(monkeypatch):
    monkeypatch.setenv("ACP_HOST", "")
    monkeypatch.setenv("ACP_TIMEOUT", " ")
    c = Configuration.from_env()
    assert (c.host, c.timeout, c.stream_timeout) == ("http://localhost", (10, 60), (10, 300))
    with pytest.warns(UserWarning, match="no variable such as OTHER_HOST is set$") as warned:
        assert Configuration.from_env(prefix="OTHER_").host == "http://localhost"
    assert warned[0].filename == __file__
    with pytest.warns(UserWarning, match="no variable such as MYHOST is set, and a prefix .*: MY_"):
        Configuration.from_env("MY")
    assert Configuration.from_env("MY", host="http://h").host == "http://h"
    monkeypatch.setenv("OTHER_API_KEY", "k")
    assert Configuration.from_env(prefix="OTHER_").auth_headers() == {"x-api-key": "k"}


UNUSABLE = {
    "HOST": ["localhost"],
    "TIMEOUT": ["soon", "0", "1,2,3", "nan"],
    "STREAM_TIMEOUT": ["-1"],
    "RETRIES": ["-1", "many"],
    "BLOCK_MARGIN": ["none", "-1"],
    "CONNECTION_POOL_MAXSIZE": ["0", "1.5"],
    "MAX_EVENT_BYTES": ["64M"],
    "MAX_RESPONSE_BYTES": ["0"],
    "VERIFY_SSL": ["perhaps"],
    "DEBUG": ["2"],
    "API_KEY": ["a\nb"],
    "API_KEY_HEADER": ["x key"],
    "PROXY": ["user:secret@127.0.0.1:3128", "ftp://user:secret@127.0.0.1"],
    "KEY_FILE": ["/key.pem"],  # without ACP_CERT_FILE
}


@pytest.mark.parametrize("name, value", [(n, one) for n, all in UNUSABLE.items() for one in all])
def test_variables_that_cannot_be_used_are_named(monkeypatch, name, value):
    monkeypatch.setenv(f"ACP_{name}", value)
    with pytest.raises(ApiValueError, match=f"ACP_{name}") as failure:
        Configuration.from_env()
    assert "secret" not in str(failure.value)


def test_the_default_configuration():
    try:
        mine = Configuration(host="http://mine", retries=urllib3.Retry(2))
        mine.refresh_api_key_hook = threading.Event().wait  # of an object that cannot be copied
        Configuration.set_default(mine)
        assert Configuration.get_default_copy().refresh_api_key_hook == mine.refresh_api_key_hook
        assert Configuration.get_default().host == "http://mine"
        assert Configuration.get_default() is not mine
        copied = Configuration.get_default_copy()
        copied.host = "http://other"
        copied.api_key["x"] = "y"
        assert Configuration.get_default().host == "http://mine"
        assert Configuration.get_default().api_key == {}
    finally:
        Configuration.set_default(None)
    assert Configuration.get_default().host == "http://localhost"
    Configuration.set_default(None)


def test_without_a_configuration_the_environment_is_read(monkeypatch):
    monkeypatch.setenv("ACP_HOST", "http://of.the.environment/acp")
    monkeypatch.setenv("ACP_API_KEY", "k")
    Configuration.set_default(None)
    ApiClient.set_default(None)
    try:
        for client in (ApiClient(), ApiClient.get_default(), RunsApi().api_client):
            assert client.configuration.host == "http://of.the.environment/acp"
            assert client.configuration.api_key == {"x-api-key": "k"}
        assert RunsApi().api_client is ApiClient.get_default()
        mine = ApiClient(Configuration())
        ApiClient.set_default(mine)
        for runs in (RunsApi(), AgentHandle("a").runs, RunHandle("r")._core.runs):
            assert runs.api_client is mine
        assert Configuration().host == "http://localhost"  # which stays inert
        assert ApiClient(Configuration()).configuration.host == "http://localhost"
        Configuration.set_default(Configuration(host="http://mine"))
        assert ApiClient().configuration.host == "http://mine"
        monkeypatch.setenv("ACP_TIMEOUT", "soon")
        Configuration.set_default(None)
        with pytest.raises(ApiValueError, match="ACP_TIMEOUT cannot be used"):
            ApiClient()
    finally:
        Configuration.set_default(None)
        ApiClient.set_default(None)


def test_every_name_of_the_generators_configuration_can_be_set():
    """Those that are no arguments of its constructor, which sets the others itself."""
    names = "logger logger_file logger_file_handler logger_format logger_formatter"
    names += " logger_stream_handler refresh_api_key_hook temp_folder_path"
    configuration = Configuration()
    for name in names.split():
        setattr(configuration, name, getattr(configuration, name, None))
    configuration._of_a_script = 1

    class Own(Configuration):
        def __init__(self, tenant, **settings):
            super().__init__(**settings)
            self.tenant = tenant

    assert Own("a", host="http://h").tenant == "a"
    with pytest.raises(ApiTypeError, match="did you mean 'host'"):
        Own("a", hots="http://h")


def test_servers_of_the_contract():
    configuration = Configuration()
    assert [s["url"] for s in configuration.get_host_settings()] == ["http://localhost"]
    assert configuration.get_host_from_settings(0) == "http://localhost"
    assert configuration.get_host_from_settings(None) == "http://localhost"
    zone = {"default_value": "eu"}
    servers = [{"url": "https://{zone}.example/v1/", "variables": {"zone": zone}}]
    assert configuration.get_host_from_settings(0, servers=servers) == "https://eu.example/v1"
    host = configuration.get_host_from_settings(0, {"zone": "us"}, servers)
    assert host == "https://us.example/v1"
    port = {"default_value": "80", "enum_values": ["80", "81"]}
    servers = [{"url": "http://localhost:{port}", "variables": {"port": port}}]
    assert configuration.get_host_from_settings(0, {"port": "81"}, servers) == "http://localhost:81"
    with pytest.raises(ApiValueError, match="port"):
        configuration.get_host_from_settings(0, {"port": "82"}, servers)
    for index in (1, -1):
        with pytest.raises(ApiValueError, match=f"server index {index}"):
            configuration.get_host_from_settings(index)
    with pytest.raises(ApiValueError, match="server index 7"):
        _ = Configuration(server_index=7).host
    with pytest.raises(ApiTypeError, match="server_variables"):
        Configuration(server_variables=5)


def test_a_representation_never_fails():
    assert "host=<server index 7 is not in 0 to 0>" in repr(Configuration(server_index=7))
    odd = Configuration("http://h")
    vars(odd)["api_key"] = "letters"
    assert "letters" not in repr(odd)
    assert "'l'" not in repr(odd)
    assert "***" in odd.to_debug_report()
    del odd.timeout
    assert "timeout=<" in repr(odd)
    assert repr(Configuration.__new__(Configuration)).startswith("Configuration(host=<")


def test_clients_and_apis_show_their_host_and_no_secret():
    secrets = {"access_token": "secret", "api_key": {"x-api-key": "secret"}, "password": "secret"}
    client = ApiClient(Configuration("http://acp.example/base", **secrets), "x-team", "secret")
    assert repr(client) == "ApiClient(host='http://acp.example/base')"
    assert repr(RunsApi(client)) == "RunsApi(ApiClient(host='http://acp.example/base'))"
    client = ApiClient(Configuration())
    client.configuration.server_index = 7
    assert repr(client).startswith("ApiClient(host=<server index 7 is not")
    for kind in (ApiClient, RunsApi):
        assert kind.__name__ in repr(kind.__new__(kind))


def test_what_is_not_set_has_the_documented_value(monkeypatch):
    c, MIB = Configuration(host="http://localhost"), 2**20
    assert (c.timeout, c.stream_timeout, c.total_timeout) == ((10, 60), (10, 300), 600)
    assert (c.block_margin, c.max_event_bytes, c.max_response_bytes) == (10, 64 * MIB, 256 * MIB)
    assert (c.verify_ssl, c.client_side_validation, c.debug) == (True, True, False)
    assert (c.ignore_operation_servers, c.safe_chars_for_path_param) == (False, "")
    assert (c.datetime_format, c.date_format) == ("%Y-%m-%dT%H:%M:%S.%f%z", "%Y-%m-%d")
    unset = "api_key username password access_token retries proxy no_proxy tls_server_name"
    unset += " ssl_ca_cert cert_file key_file ca_cert_data assert_hostname socket_options"
    assert [name for name in unset.split() if getattr(c, name)] == []
    for cores, size in ((None, 5), (3, 15)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert Configuration().connection_pool_maxsize == size


def test_debug_shows_the_log_on_stderr_unless_it_goes_elsewhere(package_logger, capsys):
    package_logger.propagate = False  # pytest's own handlers are the root's
    try:
        for _ in range(2):
            Configuration(debug=True)
        package_logger.debug("hello")
        Configuration(debug=False)
        package_logger.debug("hidden")
        (handler,) = package_logger.handlers
        package_logger.removeHandler(handler)
    finally:
        package_logger.propagate = True
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("DEBUG hello")


def test_a_logger_of_a_class_of_its_own_stays_one(monkeypatch, caplog):
    class Chatty(logging.getLoggerClass()):
        def chat(self, words):
            self.warning("%s", words)

    monkeypatch.setattr(logging.getLogger().manager, "loggerClass", Chatty)
    for _ in range(2):
        make_logger("acp_client_v0_1.of_a_test").chat("a\nb")
    assert caplog.messages == ["a b"] * 2


def test_the_file_of_the_log_changes_and_ends(tmp_path, package_logger, monkeypatch):
    own = logging.FileHandler(tmp_path / "log", delay=True)
    package_logger.addHandler(own)
    configuration = Configuration(debug=True)
    assert package_logger.level == logging.DEBUG
    first, second = tmp_path / "first", tmp_path / "second"
    configuration.logger_file = str(first)
    Configuration().logger_file = bytes(first)
    package_logger.debug("one")
    *_, handler = package_logger.handlers
    monkeypatch.chdir(tmp_path)
    configuration.logger_file = "second"
    monkeypatch.chdir("/")
    assert handler.stream is None and not second.exists()  # before there is anything to write
    package_logger.debug("two")
    configuration.debug = False
    assert (package_logger.level, configuration.logger_file) == (logging.WARNING, "second")
    configuration.logger_file = None
    package_logger.warning("three")
    assert [line.split()[-2:] for line in first.read_text().splitlines()] == [["DEBUG", "one"]]
    assert [line.split()[-1] for line in second.read_text().splitlines()] == ["two"]
    assert package_logger.handlers == [own]


def test_a_pickle_of_a_version_without_auth_is_read():
    configuration = Configuration(host="http://acp.example")
    del vars(configuration)["auth"]
    kept = pickle.loads(pickle.dumps(configuration))
    assert kept.auth is None and kept.host == "http://acp.example"


# Settings of openapi-generator's own client, which this client stores.
STORED = {"server_variables", "server_operation_index", "server_operation_variables"}
STORED |= {"datetime_format", "date_format"}
NEVER_NONE = ["host", "verify_ssl", "debug", "client_side_validation", "ignore_operation_servers"]
NEVER_NONE += ["block_margin", "connection_pool_maxsize", "max_event_bytes", "logger_file"]
NEVER_NONE += ["logger_format", "safe_chars_for_path_param"]


def test_every_setting_is_checked_when_it_is_set():
    """Another setting that nobody checks would fail in a request, and not where it is set."""
    settings, accepted = Configuration(), {1j: set[str](), None: set[str]()}
    for name in inspect.signature(Configuration).parameters:
        for value, names in accepted.items():
            try:
                setattr(settings, name, value)
            except (ApiTypeError, ApiValueError):
                continue
            names.add(name)
    assert accepted[1j] == STORED
    assert accepted[None].isdisjoint(NEVER_NONE)
    for name in ("verify_ssl", "debug", "client_side_validation", "ignore_operation_servers"):
        with pytest.raises(ApiTypeError, match=name):
            setattr(settings, name, "off")


def test_a_password_in_the_environment_may_stand_in_quotation_marks(monkeypatch):
    """They may be a part of it. Around any other setting, they come from a file of a shell."""
    monkeypatch.setenv("ACP_USERNAME", "me")
    monkeypatch.setenv("ACP_PASSWORD", '"secret"')
    assert Configuration.from_env().password == '"secret"'
    monkeypatch.setenv("ACP_USERNAME", '"me"')
    with pytest.raises(ApiValueError, match=r"ACP_USERNAME .* in quotation marks"):
        Configuration.from_env()
