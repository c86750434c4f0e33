"""Tools that judge: one-line mutants, the comparison of `make dropin`, random faults."""

import os
import subprocess
import sys
import textwrap
import xml.dom.minidom
from pathlib import Path
from typing import Any

import pytest
import record
from dropin.compare import differences, judge
from dropin.describe import parameters
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
        (
            "return a and (b)",
            {"return a or (b)", "return True and (b)", "return a and (True)", "return None"},
        ),
        ("with a: b()", {"if True: b()", "with a: pass"}),
        (
            "return {A, B, 'c'}",
            {"return {B, 'c'}", "return {A, 'c'}", "return {A, B}", "return None"},
        ),
        ("return not a", {"return bool(a)", "return None"}),
        ("return 'a' + b", {"return None"}),
        ("return f'{a + 1}'", {"return None"}),
        ("return True", {"return False"}),
        ("x: int = 1", {"x: int = 2", "x: int = 0"}),
        ("a.b = 300", {"a.b = (300 * 2)", "a.b = 150", "pass"}),
        ("a += b", {"a -= b", "pass"}),
        ("f(a, b, c=d)", {"f(b, a, c=d)", "f(a, b, )", "f(a, c=d)", "pass"}),
        ("name.fullmatch(a)", {"name.match(a)", "pass"}),
        ("raise a from b", {"pass"}),
        ("while a: break", {"while not (a): break", "while a: continue"}),
        ("_log.info('%s', a + 1)", set()),
        ("import a", set()),
    ],
)
def test_the_mistakes_of_a_line(line, expected):
    made = mistakes(f"def f(a, b):\n    {line}\n")
    assert set(made) == expected and len(made) == len(expected)


def test_an_entry_of_a_table_is_left_out():
    table = "A = {'a': 1, **b(('c', 'd', 'e')), 'f': 2,}\n"
    left = {
        "A = {**b(('c', 'd', 'e')), 'f': 2,}",
        "A = {'a': 1, 'f': 2,}",
        "A = {'a': 1, **b(('c', 'd', 'e')), }",
    }
    assert left < set(mistakes(table))


def test_a_default_matters_to_the_lines_of_its_function():
    code = b"A = 3\n\n\ndef f(a=7,\n      b=True):\n    x = a\n    return x\n"
    found = {code[m.start : m.end].decode(): m for m in mutants_of("m.py", code)}
    assert list(found["3"].lines) == []
    for default in ("7", "True"):
        assert list(found[default].lines) == [6, 7]
    assert (found["7"].line, found["True"].line) == (4, 5)


# make dropin


def _none(a: Any, b: Any = None) -> None: ...
def _more(a: Any, b: Any = None, c: Any = 1, *, d: Any = 0) -> None: ...
def _optional(a: Any = 0, b: Any = None) -> None: ...
def _catch_all(a: Any, *args: Any, **more: Any) -> None: ...
def _by_keyword(*, a: Any, b: Any = None) -> None: ...
def _other_default(a: Any, b: Any = 0) -> None: ...
def _swapped(b: Any, a: Any = None) -> None: ...
def _one(a: Any) -> None: ...


BOTH = ("keyword", "positional")


@pytest.mark.parametrize(
    ("stock", "ours", "faults"),
    [
        (_none, _none, []),
        (_none, _more, []),
        (_one, _optional, []),
        (_by_keyword, _none, []),
        (_none, _catch_all, []),
        (_catch_all, _catch_all, []),
        (_none, _one, ["`b` is None", "takes `b` as argument 1", "takes `b` by keyword"]),
        (_none, _other_default, ["`b` is None"]),
        (_one, _swapped, ["requires `b`", "takes `a` as argument 0"]),
        (_one, _by_keyword, ["takes `a` as argument 0"]),
        (_catch_all, _one, [f"takes any variadic {each} argument" for each in BOTH]),
    ],
)
def test_signatures_are_compatible_or_not(stock, ours, faults):
    found = differences({"x": parameters(stock)}, {"x": parameters(ours)})
    assert list(found) == [("x", fault) for fault in faults]


def test_the_reviewed_list_covers_no_more_than_it_says():
    stock = {"rest.A": [], "rest.B": ["derives from IOBase"], "A(n=[1]).b": ["'1'"]}
    ours = {"rest.B": [], "A(n=[1]).b": ["'1'"]}
    lost, changed = differences(stock, ours)
    assert judge([lost, changed], ["rest.?"]) == []
    assert judge([lost, changed], ["rest.A", "rest.B: derives from IOBase"]) == []
    assert judge([lost], []) == ["rest.A: missing"]
    assert len(judge([("rest.B", "missing")], ["rest.B: derives from IOBase"])) == 2
    for entry in ("rest.C", "A(n=[1]).b"):
        (fault,) = judge([lost], ["rest.A", entry])
        assert entry in fault
    ours["A(n=[1]).b"] = ["an error"]
    assert judge(list(differences(stock, ours)), ["rest.*", "A(n=[1]).b"]) == []


# make chaos

ROOT = Path(__file__).parents[2]


def python(*arguments: str) -> tuple[int, str]:
    """Run Python where it finds the tools: its status, and what it says."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tools")}
    done = subprocess.run(
        [sys.executable, *arguments], env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.load
@pytest.mark.parametrize(
    ("mutant", "seed", "words"),
    [
        ("no-last-event-id", "13", "has no Last-Event-ID"),
        ("late-outcome", "4", "was handed out in an earlier life, and is asked for again"),
        ("no-filter", "211", "update 1 was handed out after"),
    ],
)
def test_a_mistake_is_found(mutant, seed, words):
    for _ in range(5):  # which run ends first is chance
        status, said = python("-m", "chaos", seed, "--mutant", mutant)
        if status == 1:
            break
    assert status == 1
    assert f"seed {seed}: " in said and words in said
    assert said.endswith("0 hold, 1 do not\n")


@pytest.mark.load
def test_a_seed_is_always_the_same_schedule():
    code = "from chaos.schedule import schedule_of; print(*map(schedule_of, range(30)), sep='\\n')"
    (status, said), again = python("-c", code), python("-c", code)
    assert status == 0 and said and again == (status, said)


# make pictures


def test_a_recorded_line_keeps_its_colours_and_is_xml():
    drawn = record.picture(["$ a < b", "status: \x1b[31merror\x1b[0m & more"])
    assert '<tspan class="prompt">$</tspan> a &lt; b</text>' in drawn
    assert 'status: <tspan class="bad">error</tspan> &amp; more</text>' in drawn
    assert xml.dom.minidom.parseString(drawn).documentElement.tagName == "svg"


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_command_is_recorded_as_a_terminal_shows_it():
    shown = record.printed(
        "printf 'waiting\\rdone\\n'; tty > /dev/null && echo '\x1b[32myes\x1b[0m'"
    )
    assert shown == ["done", "\x1b[32myes\x1b[0m"]
