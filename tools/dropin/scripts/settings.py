"""The configuration, without a server."""

from __future__ import annotations

import copy
import logging

from acp_client_v0_1 import ApiClient, Configuration

configuration = Configuration(
    host="http://localhost:8000/base",
    api_key={"x-api-key": "key"},
    api_key_prefix={"x-api-key": "Token"},
    username="user",
    password="word",
    ssl_ca_cert=None,
    retries=2,
    verify_ssl=True,
    connection_pool_maxsize=3,
)
print(configuration.host, configuration.server_index, configuration.server_variables)
print(configuration.get_api_key_with_prefix("x-api-key"), configuration.get_basic_auth_token())
print(configuration.get_api_key_with_prefix("other"), configuration.auth_settings())
print(configuration.api_key, configuration.retries, configuration.connection_pool_maxsize)
print(configuration.debug, configuration.logger_format, sorted(configuration.logger))
print(configuration.safe_chars_for_path_param == "", configuration.client_side_validation)
print(configuration.datetime_format, configuration.date_format, configuration.temp_folder_path)
print(configuration.cert_file, configuration.key_file, configuration.assert_hostname)
print(configuration.proxy_headers or None, configuration.tls_server_name)

configuration.refresh_api_key_hook = lambda it: it.api_key.update({"x-api-key": "fresh"})
print(configuration.get_api_key_with_prefix("x-api-key"))

other = copy.deepcopy(configuration)
other.api_key["x-api-key"] = "other"
other.host = "http://127.0.0.1:9"
print(configuration.api_key, configuration.host, other.host, other.server_index)

plain = Configuration()
print(plain.host, plain.get_host_settings()[0]["url"], plain.get_host_from_settings(0))
try:
    plain.get_host_from_settings(1)
except ValueError:
    print("refused")
servers = [
    {
        "url": "http://{name}.example:{port}",
        "description": "",
        "variables": {
            "name": {"description": "", "default_value": "a"},
            "port": {"description": "", "default_value": "80", "enum_values": ["80", "81"]},
        },
    }
]
print(plain.get_host_from_settings(0, {"port": "81"}, servers))
try:
    plain.get_host_from_settings(0, {"port": "82"}, servers)
except ValueError:
    print("refused")
print(plain.to_debug_report().splitlines()[0], "Version of the API: 0.1" in plain.to_debug_report())

plain.debug = True
print(plain.debug, plain.logger["package_logger"].level == logging.DEBUG)
plain.debug = False
print(plain.debug, plain.logger["package_logger"].level == logging.WARNING)

Configuration.set_default(configuration)
print(Configuration.get_default().host, Configuration.get_default_copy().host)
client = ApiClient.get_default()
print(client is ApiClient.get_default(), client.configuration.host)
ApiClient.set_default(ApiClient(plain))
print(ApiClient.get_default().configuration.host)
print(ApiClient(plain, "a", "b").default_headers["a"])
