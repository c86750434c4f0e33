"""The error tree: its shape, its words, and that all of it pickles."""

import copy
import inspect
import pickle
import re
from pathlib import Path

import pytest
import urllib3.exceptions
from support.parts import package_logger, warn_caller
from urllib3 import HTTPHeaderDict

import acp_client_v0_1 as acp
from acp_client_v0_1 import exceptions
from acp_client_v0_1.exceptions import (
    ApiException,
    ApiTypeError,
    ApiValueError,
    ConnectionException,
    EventTooLarge,
    ResponseDecodeError,
    ResponseTooLarge,
    RunWaitTimeout,
    ServiceException,
    StreamDecodeError,
    StreamInterrupted,
)

TREE = [getattr(exceptions, name) for name in exceptions.__all__ if name != "render_path"]
AT = {"method": "GET", "url": "http://h:1/runs/r1?x=1"}


class Response:
    def __init__(self, status, reason="Reason", headers=None):
        self.status, self.reason, self.headers = status, reason, HTTPHeaderDict(headers or {})
        self.method, self.url = "POST", "http://u:planted@h:1/runs"


def examples():
    for kind in TREE:
        if issubclass(kind, StreamDecodeError):
            yield kind(event_id="7", event_name="agent_event", excerpt="{", reason="bad")
        elif issubclass(kind, StreamInterrupted):
            yield kind(last_event_id="7", reason="cut", status=200, headers={"a": "b"}, **AT)
        elif issubclass(kind, (EventTooLarge, ResponseTooLarge)):
            yield kind(limit=64, **AT)
        elif issubclass(kind, RunWaitTimeout):
            yield kind(run_id="r1", elapsed=2.5)
        elif issubclass(kind, ApiException):
            headers = HTTPHeaderDict(a="b")
            yield kind(404, "Not Found", body='"no"', data="no", headers=headers, **AT)
        elif kind is exceptions.OpenApiException:
            yield kind("message")
        else:
            yield kind("message", ["a", 0])


@pytest.mark.parametrize("error", list(examples()), ids=lambda e: type(e).__name__)
def test_every_error_is_one_line_lives_in_exceptions_pickles_and_copies(error):
    assert str(error) and "\n" not in str(error)
    assert type(error).__module__ == "acp_client_v0_1.exceptions"
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is type(error)
        assert vars(other) == vars(error)
        assert (str(other), repr(other), other.args) == (str(error), repr(error), error.args)


def test_what_each_error_also_is():
    for error, kind in (
        (exceptions.ApiTypeError, TypeError),
        (exceptions.ApiValueError, ValueError),
        (exceptions.ApiKeyError, KeyError),
        (exceptions.ApiAttributeError, AttributeError),
        (exceptions.ApiTimeoutError, TimeoutError),
        (exceptions.RunWaitTimeout, TimeoutError),
        (exceptions.TransportException, urllib3.exceptions.HTTPError),
    ):
        assert issubclass(error, kind)


def test_the_tree_at_the_top_of_the_file_is_the_tree_of_the_classes():
    drawn, path = {}, {}
    for line in exceptions.__doc__.splitlines():
        if found := re.match(r"    ([│ ]*[├└]── )?([A-Z]\w+)( {2,}|$)", line):
            depth = len(found[1] or "") // 4
            path[depth] = found[2]
            drawn[found[2]] = path[depth - 1] if depth else None
    assert set(drawn) == {kind.__name__ for kind in TREE}
    for name, parent in drawn.items():
        bases = [base for base in getattr(exceptions, name).__mro__[1:] if base in TREE]
        assert parent == (bases[0].__name__ if bases else None), name


def test_the_list_of_errors_says_of_each_what_its_docstring_says():
    words = dict.fromkeys(re.findall(r"\w+", exceptions.__doc__))
    tree = [name for name in words if name in exceptions.__all__]
    public = {name: getattr(acp, name) for name in acp.__all__ if name not in tree}
    kinds = {name: kind for name, kind in public.items() if isinstance(kind, type)}
    others = [name for name in kinds if issubclass(kinds[name], exceptions.OpenApiException)]
    for heading, listed in ("## The tree", tree), ("## Agents and runs", others):
        rows = []
        for name in listed:
            summary = inspect.getdoc(getattr(acp, name)).partition("\n")[0]
            rows.append(f"| `{name}` | {summary.removesuffix('.').replace('``', '`')} |")
        page = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
        section = page.read_text("utf-8").partition(f"{heading}\n")[2]
        table = section.partition("| exception | when |\n|---|---|\n")[2].partition("\n\n")[0]
        assert table == "\n".join(rows)


@pytest.mark.parametrize("error", [acp.RunFailed, acp.RunInterrupted, acp.RunWaitTimeout])
def test_the_help_of_an_error_about_a_run_says_that_it_has_the_run_and_its_token(error):
    attributes = inspect.getdoc(error).partition("Attributes:\n")[2].partition("\n\n")[0]
    assert {"run_id", "token"} < set(re.findall(r"^    (\w+): ", attributes, re.MULTILINE))


@pytest.mark.parametrize(
    "data, words",
    [
        ("run not found", "run not found"),
        ("two\r\n lines", "two lines"),
        ({"detail": "no such run"}, "no such run"),
        ({"detail": [{"loc": ["body", "limit"], "msg": "too big"}]}, "body.limit: too big"),
        ({"detail": [{"msg": "too big"}, "odd"]}, "too big; odd"),
        ({"detail": [{"loc": 5, "msg": "odd place"}]}, "odd place"),
        ({"detail": [{"loc": "body", "msg": "bad"}]}, "body: bad"),
        ({"detail": [{"loc": None, "msg": "no place"}]}, "no place"),
        ({"error": {"message": "inner"}}, "inner"),
        ({"description": "last", "title": "fourth"}, "fourth"),
        ({"error": "third", "message": "second", "detail": ""}, "second"),
        ({"detail": list("abcdefg")}, "a; b; c; d; e"),
        ({"code": 7}, "{'code': 7}"),
        ("<html><head><title>502 Bad Gateway</title></head></html>", "502 Bad Gateway"),
        ("<p>It <b>broke</b></p>", "It broke"),
        (f"\n<html>{'<meta charset=utf-8>' * 99}<title>No\nway</title>", "No way"),
        ("x" * 5000, "x" * 204 + "…"),
        ("👩\u200d💻 é 漢", "👩\u200d💻 é 漢"),
        ({"detail": ["no msg", {"title": "no msg, either"}]}, "no msg; no msg, either"),
        ({"detail": ["a msg"]}, "a msg"),
    ],
)
def test_the_servers_own_words(data, words):
    error = ApiException.from_response(http_resp=Response(404, "Not Found"), body=None, data=data)
    assert str(error) == f"POST /runs returned 404 Not Found: {words}"


HOSTILE = "\ud83d \x1b[31m\0\x07\x85\u202e\u2028 and so on " * 40_000


@pytest.mark.parametrize(
    "error",
    [
        ApiException(404, HOSTILE, data={"detail": HOSTILE}, **AT),
        ApiException(404, "no", data=[{"loc": [HOSTILE], "msg": HOSTILE}] * 9, **AT),
        ApiException(502, "no", data=f"<title>{HOSTILE}</title>", **AT),
        ApiException(302, "no", headers={"location": f"http://h/{HOSTILE}"}, **AT),
        ConnectionException(reason=HOSTILE, **AT),
        StreamInterrupted(last_event_id=HOSTILE, reason=HOSTILE, **AT),
        StreamDecodeError(event_id=HOSTILE, event_name=HOSTILE, excerpt=HOSTILE, reason=HOSTILE),
        ResponseDecodeError(200, HOSTILE, body=HOSTILE, **AT),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_can_be_printed_whatever_the_server_sent(error):
    line = str(error)
    assert line.isprintable() and len(line) < 3000
    assert line.encode("utf-8")


def test_a_record_of_the_log_is_one_line_as_well(caplog):
    package_logger("acp_client_v0_1.of_this_test").warning("%s, %d, %s", "a\r\nb\x1b", 5, 1.5)
    assert caplog.messages == ["a b\ufffd, 5, 1.5"]


@pytest.mark.parametrize("data", ["", None, {}, [], "Conflict", "CONFLICT", "409 conflict"])
def test_a_server_that_says_no_more_than_its_status_is_not_quoted(data):
    assert str(ApiException(409, "Conflict", data=data)) == "409 Conflict"
    error = ApiException.from_response(http_resp=Response(409, ""), body="", data="")
    assert str(error) == "POST /runs returned 409"


@pytest.mark.parametrize(
    "url, kept, path",
    [
        ("http://u:p@h:1/a?b=c@d", "http://h:1/a?b=c@d", "/a"),
        ("http://h?mail=a@b", "http://h?mail=a@b", "/"),
        ("http://u@h#a@b", "http://h#a@b", "/"),
        ("http://[x", "http://[x", "/"),
        ("/runs/a@b?x", "/runs/a@b?x", "/runs/a@b"),
        ("//u:p@h/a@b", "//h/a@b", "/a@b"),
        ("/a/http://u:p@h/b", "/a/http://h/b", "/b"),
    ],
)
def test_urls_of_errors(url, kept, path):
    error = ConnectionException(reason="no", method="GET", url=url)
    assert (error.url, str(error)) == (kept, f"GET {path}: no")


@pytest.mark.parametrize(
    "url, location, secure",
    [
        ("http://h/a", "https://h/a", "https://h"),
        ("http://h:8000/a?b", "https://h:8443/a?b", "https://h:8443"),
        ("http://h/a", "https://h/ab", ""),
        ("http://h/a", "https://h/", ""),
        ("http://h/a", "https://other/a", ""),
        ("http://h/a", "http://h/a", ""),
        ("https://h/a", "https://h/a", ""),
    ],
)
def test_a_redirect_to_the_same_url_at_https_says_which_host_to_set(url, location, secure):
    error = ApiException(301, "Moved", url=url, headers={"location": location})
    hint = f"; set host to a URL that begins with {secure}" if secure else ""
    assert str(error).endswith(f" not followed{hint}")


@pytest.mark.parametrize("location", ["//h/a#t=5", "//h/a?t=5#t", "//u:5@h/a"])
def test_a_redirect_that_is_not_followed_is_shown_without_secrets(location):
    error = ApiException(302, "Found", headers={"location": location})
    assert str(error) == "302 Found; redirect to //h/a not followed"


@pytest.mark.parametrize("status", [299, 300, 399, 400, 401, 402, 403, 404])
def test_a_status_decides_which_header_and_whose_credentials_matter(status):
    error = ApiException(status, "R", headers={"location": "/x", "retry-after": " 9 "})
    error.credentials = "Authorization"
    shown = str(error)
    error.redirected_to = "https://other"
    assert ("redirect to /x not followed" in shown) is (300 <= status <= 399)
    assert ("Retry-After: 9 s" in shown) is (status >= 400)
    assert ("the request carried Authorization" in shown) is (status in (401, 403))
    assert ("a redirect lost the credentials" in str(error)) is (status in (401, 403))


def test_long_parts_of_a_message_leave_room_for_the_others():
    at = {"method": "GET", "url": f"http://h/{'a' * 300}"}
    assert str(ConnectionException(reason="no", **at)) == f"GET /{'a' * 98}…: no"
    assert str(ApiException(404, "No", data="no run", **at)).endswith("… returned 404 No: no run")
    moved = str(ApiException(302, "R", headers={"location": f"http://h/{'b' * 400}"}))
    assert moved == f"302 R; redirect to http://h/{'b' * 290}… not followed"
    headers = {"retry-after": "d" * 200, "request-id": "e" * 200}
    noted = ApiException(503, "c" * 500, headers=headers)
    notes = f"; Retry-After: {'d' * 99}…; request id {'e' * 99}…"
    assert str(noted) == f"503 {'c' * 115}…{notes}"
    assert str(ApiTypeError(f"f{' ' * 9998}f")) == "f f"
    assert str(ApiTypeError(f"f{' ' * 9999}f")) == "f"
    assert str(ApiTypeError("f" * 1000)) == "f" * 1000
    assert str(ApiTypeError("f" * 1001)) == f"{'f' * 999}…"


def test_a_warning_reaches_a_caller_that_is_no_module():
    with pytest.warns(UserWarning, match="careful"):
        exec("warn('careful')", {"warn": warn_caller})


def test_words_of_the_other_errors():
    at = {"method": "GET", "url": "http://h/runs"}
    wrong = ResponseDecodeError(200, "expected this", body="got that", **at)
    assert str(wrong) == "GET /runs returned 200: expected this: got that"
    assert str(EventTooLarge(limit=9, status=200, **at)).startswith("GET /runs returned 200: an ")
    assert str(ConnectionException(reason="refused", **AT)) == "GET /runs/r1: refused"
    cut = ConnectionException(200, "cut", **AT)
    assert str(cut) == "GET /runs/r1 failed after status 200: cut"
    cut.ambiguous, cut.attempts, cut.elapsed = True, 2, 1.25
    assert str(cut) == (
        "GET /runs/r1 failed after status 200: cut; after 2 attempts in 1.2 s; "
        "the server may have carried out the request, so it was not retried"
    )
    stream = StreamInterrupted(last_event_id="7", reason="cut", **AT)
    assert str(stream) == "GET /runs/r1 was interrupted after event '7': cut"
    assert stream.last_event_id == "7"
    assert str(RunWaitTimeout(run_id="r1", elapsed=2.5)) == "run r1 has no output after 2.5 s"
    assert repr(ServiceException(500, "Oops")) == "<ServiceException 500 Oops>"
    assert str(ApiTypeError("limit must be an int", ["a", 0])) == "limit must be an int at ['a'][0]"


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (ApiTypeError, {"path_to_item": ["a"], "valid_classes": (int,), "key_type": True}),
        (ApiValueError, {"path_to_item": ["a", 0]}),
        (ApiException, {"status": 1, "body": "b", "data": {}, "headers": {"a": "b"}, **AT}),
        (EventTooLarge, {"limit": 9, "status": 200, **AT}),
        (RunWaitTimeout, {"run_id": "r", "elapsed": 2.5, "reason": "why", "token": "t"}),
        (StreamInterrupted, {"last_event_id": "7", "reason": "cut", "status": 200, **AT}),
        (
            StreamDecodeError,
            {"event_id": "7", "event_name": "n", "excerpt": "{", "reason": "bad", "body": "b"},
        ),
    ],
)
def test_an_error_keeps_what_its_constructor_is_given(kind, given):
    error = kind("words", **given) if "path_to_item" in given else kind(**given)
    assert {name: getattr(error, name) for name in given} == given


def test_a_class_stands_for_its_status_and_one_of_a_private_module_lives_in_exceptions():
    home = {"__module__": "acp_client_v0_1._made"}
    made = type("Made", (ApiException,), home, status=499)
    try:
        error = ApiException.from_response(http_resp=Response(499), body=None, data=None)
        assert type(error) is made and made.__module__ == exceptions.__name__
    finally:
        del ApiException._by_status[499]
    noticed = []
    mixin = type("Mixin", (), {"__init_subclass__": classmethod(noticed.append)})
    own = type("Own", (ApiException, mixin), {"__module__": "mine"})
    assert own.__module__ == "mine" and noticed == [own]


def test_the_constructor_of_openapi_generators_client():
    error = ApiException(status=0, reason="text")
    assert (error.status, error.reason, error.body, error.headers) == (0, "text", None, None)
    assert (error.ambiguous, error.attempts, error.elapsed) == (False, 1, 0.0)
    assert (error.credentials, error.proxy, error.redirected_to) == (None, "", "")
    error = ApiException(http_resp=Response(404, headers={"A": "b"}), body="no")
    assert (error.status, error.headers["a"], error.body) == (404, "b", "no")
