"""``Configuration``: the settings of a client.

A plain object with the attributes that users of openapi-generator know, plus timeouts. Setting a
wrong value raises at once, but the characters of keys and of proxy headers are checked when they
are sent. Values that do not go together raise when a client is made with them.

Invariants: no representation, report or log of a configuration shows a secret. Nothing here opens
a connection.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, cast

from typing_extensions import Self

from acp_client_v0_1._arguments import check_arguments, wrong_type
from acp_client_v0_1._deadline import RequestTimeout
from acp_client_v0_1._http.headers import basic_credentials
from acp_client_v0_1._http.urls import checked_host
from acp_client_v0_1._names import did_you_mean, explained
from acp_client_v0_1.configuration import _environment
from acp_client_v0_1.configuration._checks import checked, copied, text_of
from acp_client_v0_1.configuration._report import ConfigurationReport
from acp_client_v0_1.exceptions import ApiAttributeError, ApiTypeError, ApiValueError

if TYPE_CHECKING:
    import ssl

    from urllib3.util import Retry

    from acp_client_v0_1._http.outgoing import OutgoingRequest

__all__ = ["Configuration"]

Credential = str | Callable[[], str]
"""The text of a credential, or a function without arguments that returns the text."""

_DEFAULT_HOST = "http://localhost"
# These settings are neither arguments nor attributes of the class. The last three, which
# openapi-generator's clients have, have no effect.
_OTHERS = ("logger", "logger_file_handler", "logger_formatter", "logger_stream_handler")


class Configuration(ConfigurationReport):
    """Where the server is, how to reach it, and which credentials to send.

    All times are in seconds. Every argument is also an attribute and can be assigned later. The
    constructor does not read the environment; `from_env` does, and so does a client that is made
    without a configuration.

    Args:
        host: The server's URL, with its base path, by default ``http://localhost``.
        api_key: Header name to key, for example ``{"x-api-key": "..."}``, for each request. A key
            may be a function, as ``access_token`` may.
        api_key_prefix: Header name to a word that precedes the key, for example ``"Token"``.
        username: User name for HTTP Basic authentication (RFC 7617).
        password: Password for HTTP Basic authentication.
        access_token: Bearer token (RFC 6750), without the word "Bearer", or a function without
            arguments that returns it. The function is called before each attempt of a request, and
            again after a 401, never in two threads of a client at the same time. If it has a
            ``cache_clear``, as `functools.cache` gives it one, this is called first after a 401.
            Copies share the function. A token overrides username and password.
        server_index: Index into `get_host_settings`, if no host is set.
        server_variables: Values of the variables in that server's URL.
        server_operation_index: No effect: all operations have the same server.
        server_operation_variables: No effect.
        ignore_operation_servers: Send requests to ``host`` even if a script names another.
        ssl_ca_cert: File of certificates (PEM) to trust instead of the system's.
        retries: The maximum number of retries of a request (3), ``False`` for none, or a
            ``urllib3.Retry``, of which ``total``, ``connect``, ``read``, ``status``,
            ``status_forcelist``, ``backoff_factor``, ``backoff_max`` and
            ``respect_retry_after_header`` are used.
        ca_cert_data: Certificates to trust, as PEM (text or bytes) or DER (bytes).
        cert_file: File of the client's certificate (PEM), for mutual TLS.
        key_file: File of the client's key (PEM), if it is not in ``cert_file``.
        verify_ssl: False trusts any certificate, with a warning.
        assert_hostname: Name that the server's certificate must have; False for any name.
        tls_server_name: Name to ask for (SNI) and to verify, instead of the host's.
        connection_pool_maxsize: How many connections to one origin quick calls have open at most,
            by default 5 per CPU. Streams and long polls have connections of their own.
        proxy: Proxy URL (http, https, socks5, socks5h, socks4, socks4a), or "" to use no proxy. By
            default the proxy of the environment.
        no_proxy: Hosts to reach without a proxy, separated by commas. By default ``no_proxy`` of
            the environment, which applies to proxies of the environment only.
        proxy_headers: Headers for the proxy only.
        proxy_ssl_context: TLS context for the connection to an https proxy.
        safe_chars_for_path_param: Characters that are not percent-encoded in a path parameter.
        client_side_validation: No effect: arguments are always checked.
        socket_options: Options ``(level, name, value)`` of each socket, set after TCP_NODELAY and
            TCP keepalive, which is on: after 45 seconds of silence, every 15 seconds, three times.
        datetime_format: No effect: date-times are sent in the format of RFC 3339.
        date_format: No effect: the contract has no dates.
        debug: Log each attempt in detail to the logger ``acp_client_v0_1``, which all clients of
            the process share.
        timeout: Timeout of calls in seconds: a total, or a pair (connect, read). None: no limit.
        stream_timeout: Timeout of streams, in the same forms.
        total_timeout: Seconds that a unary call may take in all, its retries included, if
            ``timeout`` is a pair. None: no limit.
        block_margin: Seconds that a long poll may take beyond its ``block_timeout``.
        max_event_bytes: Largest event of a stream, in bytes.
        max_response_bytes: Largest body of a unary response, in bytes without content coding.
            None: no limit.
        ssl_context: TLS context for the configured origin, instead of ``verify_ssl``,
            ``assert_hostname`` and the files and data of certificates, which raise beside it.
            ``tls_server_name`` applies. Copies share it, and it cannot be pickled.
        auth: Function that signs each attempt of a request to the host: it gets an
            ``OutgoingRequest`` and changes its ``headers``. What it raises ends the call. Copies
            share it.

    Attributes:
        refresh_api_key_hook: Function that may renew ``api_key`` and ``access_token``. It is called
            with the configuration before they are read, and again after a 401.
        temp_folder_path: No effect: the protocol has no files.
        logger: The loggers of this package and of urllib3, by ``package_logger`` and
            ``urllib3_logger``.
        logger_format: Format of log lines, for handlers that are added afterwards.

    Raises:
        ApiTypeError: An argument has the wrong type, or there is no such argument.
        ApiValueError: An argument has a value that cannot be used.
        ApiAttributeError: (assignment) There is no such setting.
    """

    _default: ClassVar[Configuration | None] = None
    # True if `from_env` has read the host from ACP_HOST.
    from_environment: bool = False
    # These settings are not arguments.
    refresh_api_key_hook: Callable[[Configuration], None] | None = None
    temp_folder_path: str | None = None
    # A configuration that an earlier version has pickled does not have it.
    auth: Callable[[OutgoingRequest], object] | None = None

    @explained
    def __init__(
        self,
        host: str | None = None,
        api_key: Mapping[str, Credential] | None = None,
        api_key_prefix: Mapping[str, str] | None = None,
        username: str | None = None,
        password: str | None = None,
        access_token: Credential | None = None,
        server_index: int | None = None,
        server_variables: Mapping[str, str] | None = None,
        server_operation_index: Mapping[int, int] | None = None,
        server_operation_variables: Mapping[int, Mapping[str, str]] | None = None,
        ignore_operation_servers: bool = False,
        ssl_ca_cert: str | None = None,
        retries: int | Retry | None = None,
        ca_cert_data: str | bytes | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        verify_ssl: bool = True,
        assert_hostname: str | bool | None = None,
        tls_server_name: str | None = None,
        connection_pool_maxsize: int | None = None,
        proxy: str | None = None,
        no_proxy: str | None = None,
        proxy_headers: Mapping[str, str] | None = None,
        proxy_ssl_context: ssl.SSLContext | None = None,
        safe_chars_for_path_param: str = "",
        client_side_validation: bool = True,
        socket_options: Sequence[tuple[int, int, int | bytes]] | None = None,
        datetime_format: str = "%Y-%m-%dT%H:%M:%S.%f%z",
        date_format: str = "%Y-%m-%d",
        *,
        debug: bool | None = None,
        timeout: RequestTimeout = (10, 60),
        stream_timeout: RequestTimeout = (10, 300),
        total_timeout: float | None = 600,
        block_margin: float = 10,
        max_event_bytes: int = 64 * 1024 * 1024,
        max_response_bytes: int | None = 256 * 1024 * 1024,
        ssl_context: ssl.SSLContext | None = None,
        auth: Callable[[OutgoingRequest], object] | None = None,
    ) -> None:
        super().__init__()
        self.server_index = 0 if server_index is None and host is None else server_index
        self.server_variables: dict[str, str] = copied(server_variables, "server_variables")
        index = copied(server_operation_index, "server_operation_index")
        self.server_operation_index: dict[int, int] = index
        variables = copied(server_operation_variables, "server_operation_variables")
        self.server_operation_variables: dict[int, Mapping[str, str]] = variables
        self.ignore_operation_servers = ignore_operation_servers
        self._host: str | None = None if host is None else checked_host(host)
        # Credentials
        self.api_key: dict[str, Credential] = copied(api_key, "api_key")
        self.api_key_prefix: dict[str, str] = copied(api_key_prefix, "api_key_prefix")
        self.username = username
        self.password = password
        self.access_token = access_token
        self.auth = auth
        # Time
        self.timeout = timeout
        self.stream_timeout = stream_timeout
        self.total_timeout = total_timeout
        self.block_margin = block_margin
        self.max_event_bytes = max_event_bytes
        self.max_response_bytes = max_response_bytes
        self.retries = retries
        # TLS
        self.verify_ssl = verify_ssl
        self.ssl_ca_cert = ssl_ca_cert
        self.ca_cert_data = ca_cert_data
        self.cert_file = cert_file
        self.key_file = key_file
        self.assert_hostname = assert_hostname
        self.tls_server_name = tls_server_name
        self.ssl_context = ssl_context
        # Connections
        if connection_pool_maxsize is None:
            connection_pool_maxsize = (os.cpu_count() or 1) * 5
        self.connection_pool_maxsize = connection_pool_maxsize
        self.proxy = proxy
        self.no_proxy = no_proxy
        self.proxy_headers: dict[str, str] = copied(proxy_headers, "proxy_headers")
        self.proxy_ssl_context = proxy_ssl_context
        self.socket_options = socket_options
        # Forms
        self.safe_chars_for_path_param = safe_chars_for_path_param
        self.client_side_validation = client_side_validation
        self.datetime_format = datetime_format
        self.date_format = date_format
        if debug is not None:
            self.debug = debug

    if not TYPE_CHECKING:
        # A type checker that sees `__setattr__` would take any name for a setting.

        def __setattr__(self, name: str, value: Any) -> None:
            # A subclass may have settings of its own.
            if type(self) is Configuration and name not in _KNOWN and name[:1] != "_":
                hint = did_you_mean(name, _KNOWN)
                raise ApiAttributeError(f"Configuration has no setting {name!r}{hint}")
            super().__setattr__(name, checked(name, value))

    @classmethod
    def from_env(cls, prefix: str = "ACP_", **overrides: Any) -> Self:
        """Return a configuration with the settings that environment variables have.

        The names are the prefix and HOST, API_KEY, API_KEY_HEADER (default ``x-api-key``),
        ACCESS_TOKEN (or TOKEN), USERNAME, PASSWORD, TIMEOUT and STREAM_TIMEOUT (``30``, ``10,60``
        or ``none``), TOTAL_TIMEOUT, BLOCK_MARGIN, RETRIES, SSL_CA_CERT (or CA_CERT), CERT_FILE,
        KEY_FILE, VERIFY_SSL, TLS_SERVER_NAME, CONNECTION_POOL_MAXSIZE, MAX_EVENT_BYTES,
        MAX_RESPONSE_BYTES (or ``none``), PROXY, NO_PROXY and DEBUG.

        Args:
            prefix: Prefix of the names.
            **overrides: Arguments of `Configuration` that replace the environment's. Their
                variables are not read.

        Raises:
            ApiValueError: A value cannot be used. The message names the variable.
            ApiTypeError: ``prefix`` or an override has the wrong type.
        """
        check_arguments("prefix", prefix=prefix)
        if not prefix.isprintable():
            raise ApiValueError(f"prefix must be printable, such as ACP_, not {prefix!r:.40}")
        made = cls(**_environment.settings(prefix, overrides))
        made.from_environment = prefix == "ACP_" and "host" not in overrides
        return made

    @classmethod
    def set_default(cls, default: Configuration | None) -> None:
        """Set the configuration of clients that are made without one.

        Args:
            default: The configuration, which is copied. If None, the next use makes a new one.

        Raises:
            ApiTypeError: It is something else, for example a host.
        """
        if default is not None and not isinstance(cast("object", default), Configuration):
            raise wrong_type("default", "a Configuration", default)
        cls._default = copy.deepcopy(default)

    @classmethod
    def get_default(cls) -> Configuration:
        """Return the configuration of clients that are made without one.

        It is what `set_default` was given, or what `from_env` returned when it was first needed.

        Raises:
            ApiValueError: A variable of the environment has a value that cannot be used.
        """
        if cls._default is None:
            cls._default = cls.from_env()
        return cls._default

    @classmethod
    def get_default_copy(cls) -> Configuration:
        """Return a copy of the default configuration."""
        return copy.deepcopy(cls.get_default())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # A TLS context cannot be copied, so the copy shares it. A function may be the method of an
        # object that renews the keys, and a copy of that object would renew its own.
        functions = self.refresh_api_key_hook, self.auth, self.access_token, *self.api_key.values()
        for shared in (self.ssl_context, self.proxy_ssl_context, *functions):
            memo[id(shared)] = shared
        other = copy.copy(self)
        other.__dict__ = copy.deepcopy(self.__dict__, memo)
        return other

    @property
    def host(self) -> str:
        """The server's URL, without a trailing slash."""
        return self._host or self.get_host_from_settings(self.server_index, self.server_variables)

    @host.setter
    def host(self, value: str) -> None:
        self._host = checked_host(value)
        self.server_index, self.from_environment = None, False

    @property
    def host_is_default(self) -> bool:
        """True if no host was set, so that requests go to ``http://localhost``."""
        return self._host is None

    def get_host_settings(self) -> list[dict[str, Any]]:
        """Return the servers that the contract names, as ``{"url", "description"}``."""
        return [{"url": _DEFAULT_HOST, "description": "The default server"}]

    def get_host_from_settings(
        self,
        index: int | None,
        variables: Mapping[str, str] | None = None,
        servers: Sequence[Mapping[str, Any]] | None = None,
    ) -> str:
        """Return the URL of one server of the contract.

        Args:
            index: Index of the server in the list. If None, the configured host is returned.
            variables: Values of the variables in its URL.
            servers: The list of servers, by default `get_host_settings`.

        Raises:
            ApiValueError: No server has this index, or a variable has a value that is not allowed.
        """
        if index is None:
            return self._host or _DEFAULT_HOST
        known = self.get_host_settings() if servers is None else servers
        if not 0 <= index < len(known):
            raise ApiValueError(f"server index {index} is not in 0 to {len(known) - 1}")
        url: str = known[index]["url"]
        chosen = variables or {}
        for name, variable in known[index].get("variables", {}).items():
            value: str = chosen[name] if name in chosen else variable["default_value"]
            allowed = variable.get("enum_values")
            if allowed and value not in allowed:
                raise ApiValueError(f"variable {name} must be one of {allowed}, not {value!r}")
            url = url.replace(f"{{{name}}}", value)
        return checked_host(url)

    @property
    def asks(self) -> bool:
        """True if the user's functions give credentials, so that each attempt asks for them."""
        if self.refresh_api_key_hook is not None or callable(self.access_token):
            return True
        return bool(self.api_key) and any(map(callable, self.api_key.values()))

    def forget_credentials(self) -> None:
        """Call ``cache_clear`` of each function that gives a credential and has it."""
        for given in (self.access_token, *self.api_key.values()):
            getattr(given, "cache_clear", bool)()

    def auth_headers(self, *, ask: bool = True) -> dict[str, str]:
        """Return the headers that carry the credentials.

        ``Authorization`` comes from ``api_key`` if it has one, else from the ``access_token``, else
        from ``username`` and ``password``. What is empty is not sent.

        Args:
            ask: Whether the hook, and the functions that give credentials, are called. If not,
                these credentials are missing.

        Raises:
            ApiTypeError: A key of ``api_key`` is None, or a function returned no text.
            ApiValueError: ``api_key_prefix`` names a header that ``api_key`` does not have, or a
                function returned a text that cannot be used, such as one with a line break.
        """
        if ask and self.refresh_api_key_hook is not None:
            self.refresh_api_key_hook(self)
        headers: dict[str, str] = {}
        token = self.access_token
        if callable(token):
            token = text_of("access_token", token, ask=ask)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        elif self.username or self.password:
            headers["Authorization"] = self.get_basic_auth_token()
        for name in list(self.api_key):
            # Another thread may change the keys meanwhile.
            key = self._key(name, name, ask=ask)
            if name in self.api_key and key is None:
                raise ApiTypeError(f"api_key[{name!r}] must be a str, not NoneType")
            if key:
                headers = {known: headers[known] for known in headers if known != name.title()}
                headers[name] = key
        for name in list(self.api_key_prefix):
            if name not in self.api_key:
                raise ApiValueError(f"api_key_prefix[{name!r}] has no key: set api_key[{name!r}]")
        return headers

    def get_api_key_with_prefix(self, identifier: str, alias: str | None = None) -> str | None:
        """Return the value of an API key header, if the key is set.

        Args:
            identifier: Name of the header.
            alias: Another name of the key in ``api_key``.
        """
        if self.refresh_api_key_hook is not None:
            self.refresh_api_key_hook(self)
        known = identifier if identifier in self.api_key or alias is None else alias
        return self._key(identifier, known, ask=True)

    def _key(self, header: str, name: str, *, ask: bool) -> str | None:
        key = text_of(f"api_key[{name!r}]", self.api_key.get(name), name, ask=ask)
        prefix = self.api_key_prefix.get(header)
        return f"{prefix} {key}" if key and prefix else key

    def get_basic_auth_token(self) -> str:
        """Return the value of ``Authorization`` for username and password (RFC 7617)."""
        return basic_credentials(self.username or "", self.password or "")

    def auth_settings(self) -> dict[str, dict[str, Any]]:
        """Return the security schemes of the contract, which declares none."""
        return {}


_KNOWN = frozenset((*signature(Configuration).parameters, *dir(Configuration), *_OTHERS))
