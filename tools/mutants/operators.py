"""Which mistakes a line can have: each is one edit of the source, found in its syntax tree.

No edit is made where no test could tell: in docstrings, annotations, log records and what only a
type checker reads, `frozen` and `slots` of a dataclass and `strict` of zip() included. `<` does not
become `<=` beside a clock, which is never read at exactly one moment. A branch for another version
of Python or another system is left out as well, and so are texts: no mutant can ask whether a
message is worded well.
What would be too easy is left out, too: a variable that is used without a value.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

# What stands between two operands, and what could by mistake: at a clock, only the last.
_OPERATORS = {
    "<": ["<=", ">="], "<=": ["<", ">"], ">": [">=", "<="], ">=": [">", "<"], "==": ["!="],
    "!=": ["=="], "is": ["is not"], "is not": ["is"], "in": ["not in"], "not in": ["in"],
    "and": ["or"], "or": ["and"], "+": ["-"], "-": ["+"], "*": ["/"], "/": ["*"], "//": ["*"],
    "%": ["*"], "**": ["*"], "<<": [">>"], ">>": ["<<"], "&": ["|"], "|": ["&"], "+=": ["-="],
    "-=": ["+="], "*=": ["/="], "/=": ["*="], "|=": ["&="], "&=": ["|="],
}  # fmt: skip
_NAMES = {
    "fullmatch": "match", "match": "search", "min": "max", "max": "min", "any": "all",
    "all": "any", "startswith": "endswith", "endswith": "startswith", "lower": "upper",
    "strip": "lstrip", "popleft": "pop",
    "append": "count", "add": "discard",
}  # fmt: skip
_FOR_TYPES = {"TypeVar", "ParamSpec", "NewType", "cast", "overload"}
_ELSEWHERE = re.compile(r"TYPE_CHECKING|version_info|sys\.platform|os\.name|sys\.implementation")
_LOGS = re.compile(r"_?log(ger)?\.(debug|info|warning|error|exception|log)\(")
_CLOCK = re.compile(
    r"monotonic|\bnow\b|\bbegan\b|deadline|remaining|\bleft\b|\bpast\b|elapsed|silent"
)
_PROMISES_TO_NOBODY = ("frozen", "slots", "strict")
_DOUBLED_FROM = 16  # of a larger number, one more or less is rarely a promise


@dataclass(frozen=True, slots=True)
class Mutant:
    """One edit: the bytes from ``start`` to ``end`` of a file become ``text``."""

    path: str
    line: int
    start: int
    end: int
    text: str
    # Lines of which one runs if the edit matters; empty for code that runs at the import.
    lines: range
    # The name that a statement of a module or class defines, or the function of a default.
    name: str

    def apply(self, source: bytes) -> bytes:
        """Edit the source of the file."""
        return source[: self.start] + self.text.encode() + source[self.end :]

    def shown(self, source: bytes) -> str:
        """The line before and after."""
        first = source.rfind(b"\n", 0, self.start) + 1
        before = source[first : source.find(b"\n", max(self.end, self.start))]
        after = source[first : self.start] + self.text.encode() + before[self.end - first :]
        return " -> ".join(" ".join(text.decode().split()) for text in (before, after))


def mutants_of(path: str, source: bytes) -> list[Mutant]:
    """All mutants of one file, in the order of its lines."""
    finder = _Finder(path, source)
    finder.block(ast.parse(source))
    unique = {(m.start, m.end, m.text): m for m in finder.found if _compiles(m.apply(source))}
    return sorted(unique.values(), key=lambda mutant: (mutant.line, mutant.start, mutant.text))


def _compiles(source: bytes) -> bool:
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


class _Finder:
    """Walks through a module, and knows of each place by which lines a test reaches it."""

    def __init__(self, path: str, source: bytes) -> None:
        self._path, self._source = path, source
        self.found: list[Mutant] = []
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._lines, self._name, self._inside = range(0), "", False
        self._bound = Counter[str]()  # how often a function gives each name a value

    def block(self, node: ast.AST) -> None:
        """Go through the statements of a module, class, function or compound statement."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                self._statement(child)
            elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
                self.block(child)

    def _statement(self, node: ast.stmt) -> None:
        outer = self._lines, self._name, self._inside
        body: list[ast.stmt] = getattr(node, "body", [])
        last = body[0].lineno - 1 if body else node.end_lineno or node.lineno
        self._lines = range(node.lineno, max(last, node.lineno) + 1) if self._inside else range(0)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            # The defaults matter once the function is called.
            self._name = node.name
            if not any("overload" in ast.unparse(one) for one in node.decorator_list):
                self._lines = range(body[0].lineno, (node.end_lineno or node.lineno) + 1)
                for default in (*node.args.defaults, *node.args.kw_defaults, *node.decorator_list):
                    if default is not None:
                        self._expression(default)
                bound, self._inside = self._bound, True
                self._bound = Counter(_bound_names(node))
                self.block(node)
                self._bound = bound
        elif isinstance(node, ast.ClassDef):
            self._name = node.name
            for decorator in node.decorator_list:
                self._expression(decorator)
            self.block(node)
        elif isinstance(node, ast.If) and _ELSEWHERE.search(ast.unparse(node.test)):
            pass
        elif not isinstance(node, (ast.Import, ast.ImportFrom)) and not self._of_no_test(node):
            if not self._inside:
                self._name = _defined(node) or self._name
            self._simple(node)
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr) and child is not getattr(node, "annotation", None):
                    self._expression(child)
                elif isinstance(child, ast.withitem):
                    self._expression(child.context_expr)
            self.block(node)
        self._lines, self._name, self._inside = outer

    def _of_no_test(self, node: ast.stmt) -> bool:
        text = ast.unparse(node)
        return (
            (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            or (isinstance(node, ast.Expr) and bool(_LOGS.match(text)))
            or _defined(node) in ("__all__", "__slots__")
        )

    def _simple(self, node: ast.stmt) -> None:
        """Whole statements that go, and jumps that change."""
        if isinstance(node, (ast.If, ast.While)):
            if not isinstance(node.test, (ast.Compare, ast.Constant)):
                self._add(node.test, f"not ({self._text(node.test)})")
        elif isinstance(node, ast.Return):
            # To a caller, None is mostly as good as another value that is empty.
            empty = node.value is None or ast.unparse(node.value) in ("[]", "{}", "()")
            if not empty and not isinstance(node.value, ast.Constant):
                self._add(node, "return None")
        elif isinstance(node, ast.Break):
            self._add(node, "continue")
        elif isinstance(node, ast.Continue):
            self._add(node, "break")
        elif self._inside and isinstance(node, (ast.Expr, ast.Assign, ast.AugAssign, ast.Raise)):
            if not isinstance(node, ast.Assign) or self._bound[_defined(node)] != 1:
                self._add(node, "pass")
        elif self._inside and isinstance(node, ast.Delete):
            self._add(node, "pass")
        if isinstance(node, ast.AugAssign):
            self._between(node.target, node.value)

    def _expression(self, node: ast.expr) -> None:
        if isinstance(node, (ast.JoinedStr, ast.Lambda)):
            # Before Python 3.12, the parts of an f-string have no exact position.
            if isinstance(node, ast.Lambda):
                self._expression(node.body)
            return
        if isinstance(node, ast.Compare):
            clock = bool(_CLOCK.search(ast.unparse(node)))
            for left, right in pairwise([node.left, *node.comparators]):
                self._between(left, right, clock=clock)
        elif isinstance(node, ast.BoolOp):
            for left, right in pairwise(node.values):
                self._between(left, right)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self._add(node, f"bool({self._text(node.operand)})")
        elif isinstance(node, ast.IfExp):
            self._add(node.test, f"not ({self._text(node.test)})")
        elif isinstance(node, ast.BinOp):
            if not any(_is_text(side) for side in (node.left, node.right)):
                self._between(node.left, node.right)
        elif isinstance(node, ast.Constant):
            self._constant(node)
        elif isinstance(node, ast.Call):
            if ast.unparse(node.func).rpartition(".")[2] in _FOR_TYPES:
                return
            if ast.unparse(node).startswith("getattr(os, "):
                return  # what another system lacks
            self._call(node)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.keyword) and child.arg not in _PROMISES_TO_NOBODY:
                self._expression(child.value)
            elif isinstance(child, ast.comprehension):
                for part in (child.iter, *child.ifs):
                    self._expression(part)
            elif isinstance(child, ast.expr):
                self._expression(child)

    def _constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._add(node, str(not value))
        elif value == 0 or (isinstance(value, int) and value <= _DOUBLED_FROM):
            self._add(node, str(value + 1))
            if value or not self._is_index(node):  # of one item, the first is also the last
                self._add(node, str(value - 1))
        elif isinstance(value, (int, float)):
            self._add(node, f"({self._text(node)} * 2)")
            self._add(node, f"({self._text(node)} / 2)" if value % 1 else str(value // 2))

    def _is_index(self, node: ast.Constant) -> bool:
        start, end = self._span(node)
        return self._source[start - 1 : start] == b"[" and self._source[end : end + 1] == b"]"

    def _call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        if name in _NAMES:
            end = self._offset(node.func.end_lineno, node.func.end_col_offset)
            self._edit(node.func.end_lineno or 0, end - len(name), end, _NAMES[name])
        plain = [one for one in node.args if not isinstance(one, ast.Starred)]
        if len(plain) == len(node.args) and name not in ("isinstance", "issubclass", "min", "max"):
            for left, right in pairwise(plain):
                swapped = self._text(right) + self._gap(left, right) + self._text(left)
                if self._text(left) != self._text(right):
                    self._edit(left.lineno, self._span(left)[0], self._span(right)[1], swapped)
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg in _PROMISES_TO_NOBODY:
                continue
            start, end = self._span(keyword)
            after = re.match(rb"\s*,\s*", self._source[end:])
            if arguments[-1] is not keyword.value and after:
                end += after.end()
            self._edit(keyword.lineno, start, end, "")

    def _between(self, left: ast.expr, right: ast.expr, *, clock: bool = False) -> None:
        """Replace the operator between two operands, around which there may be parentheses."""
        gap = self._gap(left, right)
        operator = re.search(r"not in|is not|[a-z]+|[<>=!+\-*/%&|]+", gap)
        if operator is not None and "#" not in gap:
            start = self._span(left)[1] + operator.start()
            for other in _OPERATORS.get(operator[0], [])[-1 if clock else 0 :]:
                self._edit(left.end_lineno or 0, start, start + len(operator[0]), other)

    def _add(self, node: ast.stmt | ast.expr, text: str) -> None:
        self._edit(node.lineno, *self._span(node), text)

    def _edit(self, line: int, start: int, end: int, text: str) -> None:
        self.found.append(Mutant(self._path, line, start, end, text, self._lines, self._name))

    def _offset(self, line: int | None, column: int | None) -> int:
        return self._starts[(line or 1) - 1] + (column or 0)

    def _span(self, node: ast.stmt | ast.expr | ast.keyword) -> tuple[int, int]:
        start = self._offset(node.lineno, node.col_offset)
        return start, self._offset(node.end_lineno, node.end_col_offset)

    def _gap(self, left: ast.expr, right: ast.expr) -> str:
        return self._source[self._span(left)[1] : self._span(right)[0]].decode()

    def _text(self, node: ast.expr) -> str:
        start, end = self._span(node)
        return self._source[start:end].decode()


def _is_text(node: ast.expr) -> bool:
    plain = isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))
    return plain or isinstance(node, ast.JoinedStr)


def _bound_names(node: ast.AST) -> Iterator[str]:
    for child in ast.walk(node):
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            yield child.id
        elif isinstance(child, ast.arg):
            yield child.arg
        elif isinstance(child, (ast.Global, ast.Nonlocal)):
            yield from child.names


def _defined(node: ast.stmt) -> str:
    """The name that an assignment gives a value, if it is one name."""
    targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
    return targets[0].id if isinstance(targets[0], ast.Name) else ""
