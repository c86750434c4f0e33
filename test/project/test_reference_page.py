"""docs/RunsApi.md has what its readers know from their own page, and that page's examples run.

The examples are those of a page that openapi-generator writes: one preamble, one call each, the
response pretty-printed and every exception caught and printed. Here they get a host and real ids,
and nothing else.
"""

import re
from pathlib import Path

import pytest
import yaml

from acp_client_v0_1 import ApiClient, Configuration, RunCreate, RunsApi
from acp_client_v0_1.testing import APPROVAL_AGENT_ID, ECHO_AGENT_ID, LocalServer

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "RunsApi.md"

# What the user's page says of each method, in its order: HTTP request, parameters with type and
# note, return type, content type, accept, statuses.
RUN_ID = ("run_id", "str", "")
BLOCK = ("block_timeout", "int", "[optional]")
SEARCH = ("run_search_request", "RunSearchRequest", "")
JSON = "application/json"
METHODS = {
    "create_run": ("POST /runs", [("run_create", "RunCreate", "")], "Run", JSON),
    "delete_run": ("DELETE /runs/{run_id}", [RUN_ID], "Run", "Not defined"),
    "get_run": ("GET /runs/{run_id}", [RUN_ID], "Run", "Not defined"),
    "get_run_output": ("GET /runs/{run_id}/output", [RUN_ID, BLOCK], "RunOutput", "Not defined"),
    "get_run_stream": ("GET /runs/{run_id}/stream", [RUN_ID], "RunOutputStream", "Not defined"),
    "resume_run": ("POST /runs/{run_id}", [RUN_ID, ("body", "object", "")], "Run", JSON),
    "search_runs": ("POST /runs/search", [SEARCH], "List[Run]", JSON),
}
# The user's example of each method, whose imports are those of all.
SCRIPT = """
import acp_client_v0_1
from acp_client_v0_1.models.run import Run
from acp_client_v0_1.models.run_create import RunCreate
from acp_client_v0_1.models.run_output import RunOutput
from acp_client_v0_1.models.run_output_stream import RunOutputStream
from acp_client_v0_1.models.run_search_request import RunSearchRequest
from acp_client_v0_1.rest import ApiException
from pprint import pprint

configuration = acp_client_v0_1.Configuration(
    host = "{host}"
)

with acp_client_v0_1.ApiClient(configuration) as api_client:
    api_instance = acp_client_v0_1.RunsApi(api_client)
    run_create = acp_client_v0_1.RunCreate(agent_id="{agent_id}")
    run_search_request = acp_client_v0_1.RunSearchRequest()
    run_id = "{run_id}"
    block_timeout = 56
    body = {{"approved": True}}

    try:
        api_response = api_instance.{call}
        print("The response of RunsApi->{method}:\\n")
        pprint(api_response)
    except Exception as e:
        print("Exception when calling RunsApi->{method}: %s\\n" % e)
"""


def passed(parameters: list[tuple[str, str, str]]) -> str:
    return ", ".join(f"{name}={name}" if note else name for name, _, note in parameters)


@pytest.mark.parametrize("method", METHODS)
def test_the_users_own_examples_run(method, capsys):
    """With a run that can be read, answered and deleted."""
    call = f"{method}({passed(METHODS[method][1])})"
    with LocalServer() as server, ApiClient(Configuration(host=server.url)) as client:
        asking = RunsApi(client).create_run(RunCreate(agent_id=APPROVAL_AGENT_ID))
        RunsApi(client).get_run_output(asking.run_id, block_timeout=5)
        known = {"host": server.url, "agent_id": ECHO_AGENT_ID, "run_id": asking.run_id}
        exec(SCRIPT.format(method=method, call=call, **known), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert printed.startswith(f"The response of RunsApi->{method}:\n\n")
    assert len(printed.splitlines()) > 2, "nothing was printed of the response"


SECTIONS = ["Example", "Parameters", "Return type", "Authorization"]
SECTIONS += ["HTTP request headers", "HTTP response details"]


def parts_of_page() -> tuple[str, dict[str, str]]:
    top, *parts = re.split(r"^# \*\*(\w+)\*\*$", PAGE.read_text(), flags=re.MULTILINE)
    return top, dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_page_lists_the_methods_in_the_users_order():
    top, parts = parts_of_page()
    assert "# acp_client_v0_1.RunsApi" in top
    assert "All URIs are relative to *http://localhost*" in top
    rows = re.findall(
        r"^\[\*\*(\w+)\*\*\]\(RunsApi\.md#\w+\) \| \*\*(\w+)\*\* (\S+) \| \w.*$", top, re.MULTILINE
    )
    requests = [(name, *request.split()) for name, (request, *_) in METHODS.items()]
    assert rows == requests and list(parts) == list(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_the_page_has_each_section_in_the_users_order(method):
    _, parameters, returns, content_type = METHODS[method]
    sections = re.split(r"^### (.+)$", parts_of_page()[1][method], flags=re.MULTILINE)
    assert sections[1::2][: len(SECTIONS)] == SECTIONS
    head, *bodies = sections[::2]
    _, table, returned, authorization, headers, details, *_ = bodies

    shown = f"EventStream[{returns}]" if method == "get_run_stream" else returns
    assert f"\n> {shown} {method}({passed(parameters)})\n" in head
    rows = re.findall(
        r"^ \*\*(\w+)\*\* \| \[?\*\*(\w+)\*\*\S*\| .*\| *(.*?) *$", table, re.MULTILINE
    )
    assert rows == parameters
    assert re.match(rf"\s*\[\*\*{re.escape(returns)}\*\*\]\(\w+\.md\)", returned)
    assert "declares no security scheme" in authorization and "_request_auth" in authorization
    accept = "text/event-stream, application/json" if "stream" in method else "application/json"
    assert f" - **Content-Type**: {content_type}\n" in headers
    assert f" - **Accept**: {accept}\n" in headers
    statuses = re.findall(r"^\*\*(\d+)\*\* \| \w.* \|  -  \|$", details, re.MULTILINE)
    contract = yaml.safe_load((ROOT / "openapi.yaml").read_text("utf-8"))
    verb, path = METHODS[method][0].split()
    assert statuses == list(contract["paths"][path][verb.lower()]["responses"])
