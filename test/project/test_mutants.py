"""The tool that makes one-line mistakes: where it makes which, and where it makes none."""

from __future__ import annotations

import textwrap

import pytest
from mutants.operators import mutants_of


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


def test_nothing_is_changed_where_no_test_could_tell() -> None:
    source = '''
        """Text: 1 < 2."""
        from typing import TYPE_CHECKING, TypeVar

        if TYPE_CHECKING:
            from a import b
        if sys.version_info >= (3, 12):
            a = 1
        T = TypeVar("T", bound=int)
        __all__ = ["a", "b"]

        @dataclass(frozen=True, slots=True)
        class C:
            """Text."""

            __slots__ = ("a", "b")
            a: dict[str, int | None]

            @overload
            def f(self, a: int = 1) -> int: ...
    '''
    assert mistakes(source) == []


def test_a_default_matters_to_the_lines_of_its_function() -> None:
    code = b"A = 3\n\n\ndef f(a=7,\n      b=True):\n    x = a\n    return x\n"
    found = {code[m.start : m.end].decode(): m for m in mutants_of("m.py", code)}
    assert (found["3"].name, list(found["3"].lines)) == ("A", [])
    for default in ("7", "True"):
        assert list(found[default].lines) == [6, 7]
    assert (found["7"].line, found["True"].line) == (4, 5)
