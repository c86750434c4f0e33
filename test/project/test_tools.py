"""Tools that judge: one-line mutants, the comparison of `make dropin`."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
from dropin.compare import Difference, differences, judge, judge_behaviour
from mutants.operators import mutants_of

# make mutants


def mistakes(source: str) -> list[str]:
    """What each mutant makes of its line."""
    code = textwrap.dedent(source).encode()
    return [one.shown(code).partition(" -> ")[2] for one in mutants_of("m.py", code)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("return a < b", {"return a <= b", "return a >= b", "return None"}),
        ("return now() < b", {"return now() >= b", "return None"}),
        ("return a not in b", {"return a in b", "return None"}),
        ("return a and (b)", {"return a or (b)", "return None"}),
        ("return not a", {"return bool(a)", "return None"}),
        ("return 'a' + b", {"return None"}),
        ("return f'{a + 1}'", {"return None"}),
        ("return True", {"return False"}),
        ("x: int = 1", {"x: int = 2", "x: int = 0"}),
        ("a.b = 300", {"a.b = (300 * 2)", "a.b = 150", "pass"}),
        ("a += b", {"a -= b", "pass"}),
        ("f(a, b, c=d)", {"f(b, a, c=d)", "f(a, b, )", "pass"}),
        ("name.fullmatch(a)", {"name.match(a)", "pass"}),
        ("raise a from b", {"pass"}),
        ("while a: break", {"while not (a): break", "while a: continue"}),
        ("_log.info('%s', a + 1)", set()),
        ("import a", set()),
    ],
)
def test_the_mistakes_of_a_line(line: str, expected: set[str]) -> None:
    made = mistakes(f"def f(a, b):\n    {line}\n")
    assert set(made) == expected and len(made) == len(expected)


def test_a_default_matters_to_the_lines_of_its_function() -> None:
    code = b"A = 3\n\n\ndef f(a=7,\n      b=True):\n    x = a\n    return x\n"
    found = {code[m.start : m.end].decode(): m for m in mutants_of("m.py", code)}
    assert (found["3"].name, list(found["3"].lines)) == ("A", [])
    for default in ("7", "True"):
        assert list(found[default].lines) == [6, 7]
    assert (found["7"].line, found["True"].line) == (4, 5)


# make dropin


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
def test_signatures_are_compatible_or_not(stock: list[Any], ours: list[Any], fault: str) -> None:
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
    # An expression that gives the same is no difference.
    (fault,) = judge_behaviour(["A().b", "c()"], ["None", "an error"], ["None", "3"])
    assert "A().b" in fault and "None" in fault
