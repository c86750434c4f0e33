"""Failing calls, caught in the ways that openapi-generator's pages show."""

from __future__ import annotations

import sys

import urllib3

import acp_client_v0_1
from acp_client_v0_1 import exceptions
from acp_client_v0_1.exceptions import NotFoundException, UnprocessableEntityException
from acp_client_v0_1.rest import ApiException

NOWHERE = "00000000-0000-4000-8000-000000000000"

configuration = acp_client_v0_1.Configuration()
configuration.host = sys.argv[1]
api = acp_client_v0_1.RunsApi(acp_client_v0_1.ApiClient(configuration))

try:
    api.get_run(NOWHERE)
except ApiException as error:
    print(type(error).__name__, error.status, error.reason, "not found" in error.body.lower())
    print(error.headers["content-type"], type(error.data).__name__, "404" in str(error))
try:
    api.get_run_with_http_info(NOWHERE)
except NotFoundException as error:
    print(isinstance(error, acp_client_v0_1.ApiException), error.status)
try:
    api.create_run({"agent_id": NOWHERE, "input": {}})
except exceptions.OpenApiException as error:
    print(type(error).__name__, error.status)
try:
    api.get_run("not a run")
except (NotFoundException, UnprocessableEntityException) as error:
    print(type(error).__name__, error.status)

# Arguments: pydantic's ValidationError there and ApiTypeError or ApiValueError here, at root
# the same builtin errors for a wrong value.
for call in (
    lambda: api.get_run_output(NOWHERE, block_timeout=-1),
    lambda: api.create_run({"agent": "a"}),
    lambda: api.get_run(NOWHERE, _host_index=1),
):
    try:
        call()
    except ValueError:
        print("refused")

unreachable = acp_client_v0_1.ApiClient(
    acp_client_v0_1.Configuration(host="http://127.0.0.1:1", retries=0)
)
try:
    acp_client_v0_1.RunsApi(unreachable).get_run(NOWHERE)
except urllib3.exceptions.HTTPError:
    print("no response")

for kind in ("ApiTypeError", "ApiValueError", "ApiAttributeError", "ApiKeyError"):
    error = getattr(exceptions, kind)("wrong", path_to_item=["a", 0])
    print(
        kind, error.path_to_item, error.args, [base.__name__ for base in type(error).__mro__][-4:]
    )
print(exceptions.render_path(["a", 0, "b"]))
error = ApiException(status=500, reason="Broken", body="text", data={"a": 1})
print(error.status, error.reason, error.body, error.data, error.headers)
