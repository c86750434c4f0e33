"""`Operation.bind` checks and writes an argument by its parameter's type, wherever it stands.

Today's contract has two types of parameters; these declarations have all that a template can make.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import UUID

import pytest

from acp_client_v0_1 import models
from acp_client_v0_1._operation import Operation, Parameter
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError

ID = UUID("3f2b8c1e-7d4a-4c55-9a3e-0d5f6b7a8c9d")
BERLIN = timezone(timedelta(hours=1))
UNLISTED = models.RunStatus.from_json('"paused"')


def status() -> type[models.RunStatus]:
    return models.RunStatus


def statuses() -> Any:
    return list[models.RunStatus]


def words() -> Any:
    return list[str]


FITTING: list[tuple[Any, Any, list[str]]] = [
    (str, "a b&c=d/é", ["a b&c=d/é"]),
    (str, "", [""]),
    (str, ID, [str(ID)]),
    (int, 7, ["7"]),
    (bool, True, ["true"]),
    (bool, False, ["false"]),
    (datetime, datetime(2026, 11, 24, 9, 30), ["2026-11-24T09:30:00"]),
    (datetime, datetime(2026, 11, 24, 9, 30, tzinfo=timezone.utc), ["2026-11-24T09:30:00Z"]),
    (datetime, datetime(2026, 11, 24, 9, 30, tzinfo=BERLIN), ["2026-11-24T09:30:00+01:00"]),
    (status, models.RunStatus.SUCCESS, ["success"]),
    (status, "error", ["error"]),
    (status, UNLISTED, ["paused"]),
    (words, ["a", "b,c"], ["a", "b,c"]),
    (words, (), []),
    (statuses, ["error", models.RunStatus.SUCCESS], ["error", "success"]),
]

MISFITS: list[tuple[Any, Any, type[Exception], str]] = [
    (str, 7, ApiTypeError, "each must be a str, not int"),
    (str, b"a", ApiTypeError, "each must be a str, not bytes"),
    (int, "7", ApiTypeError, "each must be an int, not str"),
    (int, True, ApiTypeError, "each must be an int, not bool"),
    (int, 0, ApiValueError, "each must be at least 1, not 0"),
    (int, 10, ApiValueError, "each must be at most 9"),
    (bool, 1, ApiTypeError, "each must be a bool, not int"),
    (bool, "true", ApiTypeError, "each must be a bool, not str"),
    (datetime, "2026-11-24", ApiTypeError, "each must be a datetime, not str"),
    (status, "done", ApiValueError, "each must be one of 'pending', 'error', "),
    (status, 5, ApiTypeError, "each must be a RunStatus, not int"),
    (status, models.StreamingMode.CUSTOM, ApiValueError, "each must be one of 'pending'"),
    (words, "ab", ApiTypeError, "each must be a list, not str"),
    (words, [1], ApiTypeError, "each must be a str, not int"),
    (statuses, ["done"], ApiValueError, "each must be one of 'pending'"),
    (words, {"a": 1}, ApiTypeError, "each must be a list, not dict"),
]


def named(value: Any) -> str:
    return str(getattr(value, "__name__", value))


def operation(place: Any, kind: Any, **options: Any) -> Operation[Any]:
    path = "/things/{each}" if place == "path" else "/things"
    bounds = {"minimum": 1, "maximum": 9} if kind is int else {}
    parameter = Parameter("each", place, kind, **bounds, **options)
    return Operation("GET", path, (parameter,), lambda: dict)


@pytest.mark.parametrize(("kind", "value", "sent"), FITTING, ids=named)
def test_a_query_value_and_a_path_segment_are_written_by_their_type(
    kind: Any, value: Any, sent: list[str]
) -> None:
    target = urlsplit(operation("query", kind).bind((value,)).target)
    assert target.path == "/things"
    assert parse_qsl(target.query, keep_blank_values=True) == [("each", one) for one in sent]
    if kind not in (words, statuses) and value != "":
        segment = operation("path", kind).bind((value,)).target.removeprefix("/things/")
        assert [unquote(segment)] == sent and not set(segment) & set("/ :+&")


@pytest.mark.parametrize(("kind", "value", "error", "words"), MISFITS, ids=named)
def test_a_value_of_another_type_is_refused_by_name(
    kind: Any, value: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        operation("query", kind).bind((value,))
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize("kind", [str, int, bool, datetime, status, words], ids=named)
def test_an_optional_argument_may_be_none_and_a_required_one_may_not(kind: Any) -> None:
    assert operation("query", kind, required=False).bind((None,)).target == "/things"
    with pytest.raises(ApiTypeError, match=r"each must be .*, not NoneType"):
        operation("query", kind).bind((None,))
