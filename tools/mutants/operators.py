"""Which mistakes a line can have: each is one edit of the source, found in its syntax tree.

No edit is made where no test could tell: in docstrings, annotations, log records and what only a
type checker reads, `frozen` and `slots` of a dataclass and `strict` of zip() included. `<` does not
become `<=` beside a clock, which is never read at exactly one moment. A branch for another version
of Python or another system is left out as well, and so are texts: no mutant can ask whether a
message is worded well. A variable keeps its value: to use one without a value is too easy.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from itertools import pairwise

# What stands between two operands, and what could by mistake: at a clock, only the last.
_OPERATORS = {
    "<": ["<=", ">="], "<=": ["<", ">"], ">": [">=", "<="], ">=": [">", "<"], "==": ["!="],
    "!=": ["=="], "is": ["is not"], "is not": ["is"], "in": ["not in"], "not in": ["in"],
    "and": ["or"], "or": ["and"], "+": ["-"], "-": ["+"], "*": ["/"], "/": ["*"], "//": ["*"],
    "%": ["*"], "&": ["|"], "|": ["&"], "+=": ["-="], "-=": ["+="], "|=": ["&="], "&=": ["|="],
}  # fmt: skip
_NAMES = {
    "fullmatch": "match", "match": "search", "min": "max", "max": "min", "any": "all",
    "all": "any", "startswith": "endswith", "endswith": "startswith", "lower": "upper",
    "strip": "lstrip", "popleft": "pop", "append": "count", "add": "discard",
}  # fmt: skip
# Calls for type checkers, of what another system lacks, and log records.
_UNTESTED = re.compile(
    r"(\w+\.)*(TypeVar|ParamSpec|NewType|cast|overload)\(|getattr\(os, "
    r"|_?log(ger)?\.(debug|info|warning|error|exception|log)\("
)
_ELSEWHERE = re.compile(r"TYPE_CHECKING|version_info|sys\.platform|os\.name|sys\.implementation")
_CLOCK = re.compile(r"monotonic|\bnow\b|\bbegan\b|deadline|remaining|\bleft\b|\bpast\b|silent")
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
    finder.visit(ast.parse(source))
    return sorted(finder.found, key=lambda mutant: (mutant.line, mutant.start, mutant.text))


class _Finder(ast.NodeVisitor):
    """Visits the statements and expressions of a module."""

    def __init__(self, path: str, source: bytes) -> None:
        self._path, self._source = path, source
        self.found: list[Mutant] = []
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        # Those of the mutants that are found next; empty outside functions.
        self._lines = range(0)

    # Statements

    def visit(self, node: ast.AST) -> None:
        """Visit a node; of a statement in a function, the lines of its head decide."""
        if self._lines and isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else node.end_lineno or 0
            self._lines = range(node.lineno, max(last, node.lineno) + 1)
        super().visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Visit a function, whose defaults matter once it is called."""
        outer = self._lines
        self._lines = range(node.body[0].lineno, (node.end_lineno or 0) + 1)
        for part in (node.args, *node.decorator_list, *node.body):
            self.visit(part)
        self._lines = outer

    def visit_arg(self, node: ast.arg) -> None:
        """Visit no annotation."""

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node: ast.If | ast.While | ast.IfExp) -> None:
        """Negate a condition, unless a comparison in it is changed anyway."""
        if _ELSEWHERE.search(ast.unparse(node.test)):
            return
        if not isinstance(node.test, (ast.Compare, ast.Constant)) or isinstance(node, ast.IfExp):
            self._add(node.test, f"not ({self._text(node.test)})")
        self.generic_visit(node)

    visit_While = visit_IfExp = visit_If

    def visit_Return(self, node: ast.Return) -> None:
        """Return None. To a caller, None is mostly as good as another value that is empty."""
        empty = node.value is None or ast.unparse(node.value) in ("[]", "{}", "()")
        if not empty and not isinstance(node.value, ast.Constant):
            self._add(node, "return None")
        self.generic_visit(node)

    def visit_With(self, node: ast.With) -> None:
        """Leave the context out, such as a lock, unless something has its value."""
        last = node.items[-1]
        if not any(item.optional_vars for item in node.items):
            start, end = self._span(node)[0], self._span(last.context_expr)[1]
            if self._source[end : end + 1] == b":":
                self._edit(node.lineno, start, end, "if True")
        self.generic_visit(node)

    def visit_Break(self, node: ast.Break | ast.Continue) -> None:
        """Go on instead of ending the loop, or the other way."""
        self._add(node, "continue" if isinstance(node, ast.Break) else "break")

    visit_Continue = visit_Break

    def visit_Expr(self, node: ast.Expr | ast.Raise | ast.Delete) -> None:
        """Leave a statement out."""
        if not isinstance(getattr(node, "value", None), ast.Constant):
            if self._lines and not _UNTESTED.match(ast.unparse(node)):
                self._add(node, "pass")
            self.generic_visit(node)

    visit_Raise = visit_Delete = visit_Expr

    def visit_Assign(self, node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> None:
        """Leave out what gives an attribute or an item its value, or changes a value."""
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        changes = isinstance(node, ast.AugAssign)
        if changes or not any(isinstance(one, (ast.Name, ast.Tuple)) for one in targets):
            self._add(node, "pass")
        if isinstance(node, ast.AugAssign):
            self._between(node.target, node.value)
        if node.value is not None:
            self.visit(node.value)

    visit_AugAssign = visit_AnnAssign = visit_Assign

    # Expressions

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Visit nothing. Before Python 3.12, the parts of an f-string have no exact position."""

    def visit_Compare(self, node: ast.Compare) -> None:
        """Change the operators."""
        clock = bool(_CLOCK.search(ast.unparse(node)))
        for left, right in pairwise([node.left, *node.comparators]):
            self._between(left, right, clock=clock)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """Change the operators, and let each operand decide nothing."""
        for left, right in pairwise(node.values):
            self._between(left, right)
        neutral = str(isinstance(node.op, ast.And))
        for operand in node.values:
            self._add(operand, neutral)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Change the operator, but not between texts."""
        if not any(_is_text(side) for side in (node.left, node.right)):
            self._between(node.left, node.right)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        """Leave out a ``not``."""
        if isinstance(node.op, ast.Not):
            self._add(node, f"bool({self._text(node.operand)})")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Change a flag or a number."""
        value = node.value
        if isinstance(value, bool):
            self._add(node, str(not value))
        elif value == 0 or (isinstance(value, int) and value <= _DOUBLED_FROM):
            self._add(node, str(value + 1))
            # Of one item, the first is also the last.
            if value:
                self._add(node, str(value - 1))
        elif isinstance(value, (int, float)):
            self._add(node, f"({self._text(node)} * 2)")
            self._add(node, f"({self._text(node)} / 2)" if value % 1 else str(value // 2))

    def visit_Tuple(self, node: ast.Tuple | ast.List | ast.Set) -> None:
        """Leave a member out of a table, such as a flag."""
        if len(node.elts) > 2 and all(map(_is_member, node.elts)):
            for member, following in pairwise(node.elts):
                self._edit(member.lineno, self._span(member)[0], self._span(following)[0], "")
            self._leave_out(*node.elts[-2:])
        self.generic_visit(node)

    visit_List = visit_Set = visit_Tuple

    def visit_Dict(self, node: ast.Dict) -> None:
        """Leave an entry out of a table."""
        if len(node.values) > 2 and not self._lines:
            for key, value in zip(node.keys, node.values, strict=True):
                start = self._span(value if key is None else key)[0] - 2 * (key is None)
                end = self._span(value)[1]
                if after := re.match(rb"\s*,\s*", self._source[end:]):
                    self._edit(value.lineno, start, end + after.end(), "")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Call another function, swap arguments, or leave the last one out."""
        if _UNTESTED.match(ast.unparse(node)):
            return
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        if name in _NAMES:
            end = self._span(node.func)[1]
            self._edit(node.func.end_lineno or 0, end - len(name), end, _NAMES[name])
        if name not in ("isinstance", "issubclass", "min", "max"):
            for left, right in pairwise(node.args):
                swapped = self._text(right) + self._gap(left, right) + self._text(left)
                self._edit(left.lineno, self._span(left)[0], self._span(right)[1], swapped)
            if len(node.args) > 1 and not isinstance(node.args[-1], ast.Starred):
                self._leave_out(*node.args[-2:])
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        """Leave a keyword out, or change its value, unless nobody relies on it."""
        if node.arg not in _PROMISES_TO_NOBODY:
            start, end = self._span(node)
            after = re.match(rb"\s*,\s*", self._source[end:])
            if node.arg is not None:
                self._edit(node.lineno, start, end + (after.end() if after else 0), "")
            self.visit(node.value)

    # Edits

    def _between(self, left: ast.expr, right: ast.expr, *, clock: bool = False) -> None:
        """Replace the operator between two operands, around which there may be parentheses."""
        gap = self._gap(left, right)
        operator = re.search(r"not in|is not|[a-z]+|[<>=!+\-*/%&|]+", gap)
        if operator is not None and "#" not in gap:
            start = self._span(left)[1] + operator.start()
            for other in _OPERATORS.get(operator[0], [])[-1 if clock else 0 :]:
                self._edit(left.end_lineno or 0, start, start + len(operator[0]), other)

    def _leave_out(self, before: ast.expr, last: ast.expr) -> None:
        self._edit(last.lineno, self._span(before)[1], self._span(last)[1], "")

    def _add(self, node: ast.stmt | ast.expr, text: str) -> None:
        self._edit(node.lineno, *self._span(node), text)

    def _edit(self, line: int, start: int, end: int, text: str) -> None:
        if self._source[start:end] != text.encode():
            self.found.append(Mutant(self._path, line, start, end, text, self._lines))

    def _span(self, node: ast.stmt | ast.expr | ast.keyword) -> tuple[int, int]:
        first, last = self._starts[node.lineno - 1], self._starts[(node.end_lineno or 1) - 1]
        return first + node.col_offset, last + (node.end_col_offset or 0)

    def _gap(self, left: ast.expr, right: ast.expr) -> str:
        return self._source[self._span(left)[1] : self._span(right)[0]].decode()

    def _text(self, node: ast.expr) -> str:
        start, end = self._span(node)
        return self._source[start:end].decode()


def _is_member(node: ast.expr) -> bool:
    return isinstance(node, (ast.Constant, ast.Name, ast.Attribute))


def _is_text(node: ast.expr) -> bool:
    plain = isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))
    return plain or isinstance(node, ast.JoinedStr)
