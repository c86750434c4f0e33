"""Reads the project's pages: their code blocks, their links and the anchors of their headings.

It understands the Markdown that this project writes, no more: fenced blocks, ATX headings, inline
links. The tests of the documentation, the site and the check of the packages share it.

An HTML comment on the line before a code block is an instruction about that block:

    <!-- docs-test: skip, and why -->          the block is not run
    <!-- docs-test: raises ApiValueError -->   running the block ends in this exception; a type
                                               checker may object to it as well
    <!-- docs-test: mistakes -->               a type checker may object to the block
    <!-- docs-test: prints -->                 this ```text block is what the block above it prints;
                                               … stands for any characters, also none
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(`{3,}|~{3,})\s*([A-Za-z0-9_+-]*)")
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
_INSTRUCTION = re.compile(r"^<!--\s*docs-test:\s*(.*?)\s*-->$")
_TARGET = re.compile(r"\]\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)((?:\s+\"[^\"]*\")?)\)")
_NAMED_ANCHOR = re.compile(r"<a\s+(?:name|id)=\"([^\"]+)\"")
_CODE_SPAN = re.compile(r"`[^`]*`")


@dataclass(frozen=True)
class CodeBlock:
    """One fenced block: where it stands, what it holds and how to treat it.

    `part` counts the top-level headings up to the block: blocks of one part build on each other.
    `line` is the number of its first line of code.
    """

    page: Path
    part: int
    line: int
    language: str
    source: str
    instruction: str


def code_blocks(page: Path) -> list[CodeBlock]:
    """The Python blocks of a page, in their order."""
    return [block for block in all_blocks(page) if block.language == "python"]


def blocks_to_follow(page: Path) -> list[CodeBlock]:
    """The blocks of a page that a test has to look at: Python, and what it prints."""
    return [
        block
        for block in all_blocks(page)
        if block.language == "python" or block.instruction == "prints"
    ]


def all_blocks(page: Path) -> list[CodeBlock]:
    """The fenced blocks of a page, in their order."""
    blocks: list[CodeBlock] = []
    part, instruction = 0, ""
    for number, (line, *inside) in _pieces(page.read_text("utf-8")):
        fence = _FENCE.match(line)
        if fence is not None:
            source = "\n".join(inside[:-1]) + "\n"
            blocks.append(CodeBlock(page, part, number + 1, fence[2], source, instruction))
        elif line.startswith("# "):
            part += 1
        found = _INSTRUCTION.match(line)
        if line.strip():
            instruction = found[1] if found is not None else ""
    return blocks


def _pieces(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each line outside code, alone, and each block with its fences; with the number of a line."""
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        piece, fence = [line], _FENCE.match(line)
        if fence is not None:
            for _, inside in lines:
                piece.append(inside)
                if inside.startswith(fence[1]) and not inside.strip("`~ "):
                    break
        yield number, piece


def prose(page: Path) -> str:
    """A page without its code blocks and code spans."""
    pieces = _pieces(page.read_text("utf-8"))
    lines = [line for _, (line, *_) in pieces if not _FENCE.match(line)]
    return "\n".join(_CODE_SPAN.sub("", line) for line in lines)


def links(page: Path) -> list[str]:
    """The targets of a page's inline links."""
    return [match[1] for match in _TARGET.finditer(prose(page))]


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """A page's text with each line outside its code blocks changed."""
    changed: list[str] = []
    for _, (line, *inside) in _pieces(text):
        changed += [line if _FENCE.match(line) else change(line), *inside]
    return "\n".join(changed) + "\n"


def with_targets(line: str, change: Callable[[str], str]) -> str:
    """A line of a page with the target of each inline link changed."""
    return _TARGET.sub(lambda found: f"]({change(found[1])}{found[2]})", line)


def anchors(page: Path) -> set[str]:
    """The fragments that lead to a heading or a named anchor of a page, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found: set[str] = set()
    for _, (line, *_) in _pieces(page.read_text("utf-8")):
        heading = _HEADING.match(line)
        if heading is None:
            continue
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[2])
        text = re.sub(r"\*\*|`", "", text)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.add(slug if not seen[slug] else f"{slug}-{seen[slug]}")
        seen[slug] += 1
    return found | set(_NAMED_ANCHOR.findall(page.read_text("utf-8")))
