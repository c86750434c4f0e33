"""A request that no operation describes, in the three steps of the generated methods."""

from __future__ import annotations

import sys
from datetime import datetime, timezone

from pydantic import SecretStr

import acp_client_v0_1
from acp_client_v0_1 import ApiClient, ApiException, Configuration, Run, RunCreate, RunStatus

ECHO = "11111111-1111-4111-8111-111111111111"

client = ApiClient(Configuration(host=sys.argv[1]), header_name="x-first", header_value="1")

parts = client.param_serialize(
    method="POST",
    resource_path="/runs",
    header_params={
        "Accept": client.select_header_accept(["text/plain", "application/json"]),
        "Content-Type": client.select_header_content_type(["application/json"]),
    },
    body=RunCreate(agent_id=ECHO, input={"message": "Hello"}),
)
print(parts[0], parts[1].removeprefix(sys.argv[1]), parts[3], sorted(parts[2]))
response = client.call_api(*parts)
print(response.status, response.getheader("Content-Type"), response.getheader("x-none", "default"))
response.read()
reply = client.response_deserialize(response, {"200": "Run", "404": "str"})
run = reply.data
print(reply.status_code, type(run).__name__, run.agent_id, run.creation.input)

parts = client.param_serialize(
    "GET",
    "/runs/{run_id}/output",
    path_params={"run_id": run.run_id},
    query_params=[("block_timeout", 10)],
)
response = client.call_api(*parts, _request_timeout=20)
response.read()
output = client.response_deserialize(response, {"2XX": "RunOutput"}).data
print(type(output.actual_instance).__name__)

parts = client.param_serialize("GET", "/runs/{run_id}", {"run_id": "a b/c"}, [("x", True)])
print(parts[1].removeprefix(sys.argv[1]))
response = client.call_api(*parts)
response.read()
try:
    client.response_deserialize(response, {"404": "str", "422": "str"})
except ApiException as error:
    print(error.status, type(error).__name__)

response = client.call_api("GET", sys.argv[1] + "/runs/" + run.run_id)
print(client.deserialize(response.read().decode(), "Run", "application/json").run_id == run.run_id)
created = client.deserialize('[{"agent_id": "a"}]', "List[RunCreate]", "application/json")
print(created == [RunCreate(agent_id="a")])
print(client.deserialize('{"a": 1}', "Dict[str, object]", None))
print(client.deserialize("3", "int", "application/json; charset=utf-8"))
print(client.deserialize("plain", "str", "text/plain"))
print(client.deserialize('"pending"', "RunStatus", "application/json").value)
print(client.deserialize("plain", "str", None), client.deserialize('"text"', "str", None))
for name in ("Run", "int", "str", "RunStatus", "List[Run]", "Optional[int]", "object"):
    print(client.deserialize("null", name, "application/json"))
try:
    client.deserialize("<xml/>", "Run", "application/xml")
except ApiException as error:
    print("refused", "application/xml" in error.reason)

for value in (
    None,
    "text",
    1,
    2.5,
    True,
    b"bytes",
    [1, {"a": RunStatus.ERROR}],
    {"model": RunCreate(agent_id="a", streaming="custom"), "none": None},
    RunCreate(agent_id="a", input={"n": None}),
    RunStatus.SUCCESS,
    datetime(2026, 1, 2, 3, 4, 5, 600000),
    SecretStr("secret"),
    {"secrets": [SecretStr("secret")], "models": [RunCreate(agent_id="a")]},
    RunCreate.from_json('{"agent_id": "a", "input": {"n": null}, "config": null}'),
):
    print(client.sanitize_for_serialization(value))
moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
text = client.sanitize_for_serialization({"at": moment})["at"]
print(datetime.fromisoformat(text.replace("Z", "+00:00")) == moment)

# Credentials of one request; the stock client looks at them only where an operation has schemes.
numbers = {"x-third": 5, "x-second": True, "Cookie": "a=b"}
parts = client.param_serialize("GET", "/runs/{run_id}", {"run_id": True}, header_params=numbers)
print(parts[1].removeprefix(sys.argv[1]), str(parts[2]["x-second"]), parts[2]["Cookie"])
client.call_api(*parts).read()
for place in ("header", "cookie", "query"):
    auth = {"in": place, "type": "api_key", "key": "x-call", "value": "a b;c=d/é"}
    for cookie in ({}, {"Cookie": "a=b"}):
        headers, queries = {"x-first": "1", **cookie}, [("x", 1)]
        client.update_params_for_auth(headers, queries, ["any"], "/x", "GET", None, auth)
        print(headers, queries)
    auth["value"] = "v w"
    parts = client.param_serialize("GET", "/x", None, [], auth_settings=["any"], _request_auth=auth)
    print(parts[1].removeprefix(sys.argv[1]), parts[2].get("x-call"), parts[2].get("Cookie"))
    client.call_api(*parts).read()
client.cookie = "of=client"
auth = {"in": "cookie", "key": "call", "value": "v"}
parts = client.param_serialize("GET", "/x", auth_settings=["any"], _request_auth=auth)
print(parts[2]["Cookie"])
client.cookie = None

formats = {"c": "csv", "s": "ssv", "t": "tsv", "p": "pipes", "m": "multi"}
for name in formats:
    pairs = {name: ["a b", 1, True], "other": False}
    print(client.parameters_to_tuples(pairs, formats))
    print(client.parameters_to_url_query(pairs, formats))
print(client.parameters_to_url_query([("o", {"a": 1}), ("n", 1.5)], None))
print(client.select_header_accept([]), client.select_header_content_type(["text/a", "text/b"]))
print(client.select_header_content_type(["text/a", "application/vnd+JSON"]))
print(client.client_side_validation, client.default_headers["x-first"], client.cookie)
response = acp_client_v0_1.ApiResponse(status_code=200, data=1, raw_data=b"1")
print(response.status_code, response.headers, response.data, response.raw_data)
print(isinstance(run, Run), acp_client_v0_1.ApiResponse is type(reply) or type(reply).__name__)
