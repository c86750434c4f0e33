"""What the comparison with the stock client finds; `make dropin` makes it, with the generator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dropin.compare import (
    Difference,
    differences,
    judge,
    judge_behaviour,
    reviewed,
    reviewed_behaviour,
)

ROOT = Path(__file__).resolve().parent.parent.parent


def parameter(
    name: str, default: str | None = None, kind: str = "POSITIONAL_OR_KEYWORD"
) -> dict[str, Any]:
    return {"name": name, "default": default, "kind": kind}


A, B, C = parameter("a"), parameter("b", "None"), parameter("c", "1")
REST, KEYWORDS = parameter("args", kind="VAR_POSITIONAL"), parameter("kw", kind="VAR_KEYWORD")


def found(stock: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    return [difference.what for difference in differences({"x": stock}, {"x": ours})]


@pytest.mark.parametrize(
    ("stock", "ours", "fault"),
    [
        ([A, B], [A, B], ""),
        ([A, B], [A, B, C], ""),
        ([A, B], [A, B, parameter("d", "0", "KEYWORD_ONLY")], ""),
        ([A], [parameter("a", "0")], ""),
        ([parameter("a", kind="KEYWORD_ONLY")], [A], ""),
        ([A], [A, REST, KEYWORDS], ""),
        ([REST, KEYWORDS], [REST, KEYWORDS], ""),
        ([A, B], [A], "does not take b"),
        ([A, B], [B, A], "a is not parameter 0"),
        ([A, B], [A, parameter("b", "0")], "b defaults to 0, not None"),
        ([A, B], [A, parameter("b")], "b defaults to None, not None"),
        ([A], [A, parameter("d")], "requires d as well"),
        ([A], [parameter("a", kind="KEYWORD_ONLY")], "a is KEYWORD_ONLY"),
        ([A, REST], [A], "does not take args (VAR_POSITIONAL)"),
    ],
)
def test_signatures_are_compatible_or_have_a_fault(
    stock: list[Any], ours: list[Any], fault: str
) -> None:
    faults = found({"parameters": stock}, {"parameters": ours})
    assert fault in faults if fault else faults == []


def test_bases_values_and_fields() -> None:
    assert found({"bases": ["builtins.ValueError"]}, {"bases": []}) == ["is no ValueError"]
    assert found({"value": "a"}, {"value": "b"}) == ["value is b, not a"]
    assert found({"wire": "a", "default": None}, {"wire": "a", "default": "0"}) == []
    assert found({"wire": "a", "default": "0"}, {"wire": "b", "default": None}) == [
        "wire is b, not a",
        "default is None, not 0",
    ]
    assert found({"parameters": []}, {"kind": "attribute"}) == ["cannot be called"]


def test_the_reviewed_list_covers_no_more_than_it_says() -> None:
    lost = Difference("rest.A", "missing")
    changed = Difference("rest.B", "is no IOBase")
    assert judge([lost, changed], {"rest.?": "why"}) == []
    assert judge([lost, changed], {"rest.A": "why", "rest.B: is no IOBase": "why"}) == []
    assert judge([lost], {}) == ["rest.A: missing"]
    assert len(judge([Difference("rest.B", "missing")], {"rest.B: is no IOBase": "why"})) == 2
    (fault,) = judge([lost], {"rest.A": "why", "rest.C": "why"})
    assert "rest.C" in fault


def test_each_entry_of_the_reviewed_list_has_a_reason() -> None:
    path = ROOT / "tools" / "dropin" / "differences.yaml"
    for entries in (reviewed(path), reviewed_behaviour(path)):
        assert entries
        assert all(len(reason) > 20 for reason in entries.values())


def test_an_expression_that_gives_the_same_is_no_difference() -> None:
    (fault,) = judge_behaviour(["A().b", "c()"], ["None", "an error"], ["None", "3"])
    assert "A().b" in fault and "None" in fault
