"""Builds the site of the documentation into build/site: `make site`.

The site shows README.md, as its start page, and docs/. They are copied to build/site-pages and
changed there where only GitHub shows them well: links to files that are no pages, and top-level
headings after the first. The reference of the public names exists on the site alone: the generator
fills it from the docstrings.

The search is this project's own: tools/search.js replaces the generator's worker, and the index is
rewritten after the build. docs/reference/words.md has the words that people type, and each of them
becomes an entry that leads to the right section, as does each row of docs/reference/messages.md.
Guides count more than the reference, the reference more than the low-level pages, and pages that
have every word come last.

A dead link, a page that the navigation in mkdocs.yml lacks, a name that has no docstring, or a
docstring that does not fit its signature is an error.
"""

from __future__ import annotations

import html
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pages import outside_code, with_targets

from acp_client_v0_1 import exceptions

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "acp_client_v0_1"
PAGES = ROOT / "build" / "site-pages"
SITE = ROOT / "build" / "site"

# Pages of the checkout that lie elsewhere on the site
MOVED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}

# Each page of the reference, and the public names that it describes. Errors and the testing package
# have a page of their own each; operations and models have generated pages.
REFERENCE: dict[str, tuple[str, tuple[str, ...]]] = {
    "AgentHandle": ("AgentHandle", ("AgentHandle", "RunOptions")),
    "RunHandle": ("RunHandle", ("RunHandle",)),
    "RunEvents": ("RunEvents", ("RunEvents", "RunEvent")),
    "PendingInterrupt": ("PendingInterrupt", ("PendingInterrupt",)),
    "Conversation": ("Conversation", ("Conversation",)),
    "Batch": ("Batch", ("Batch", "BatchOptions", "BatchItem", "BatchCounts")),
    "searches": ("Searches", ("iter_runs", "iter_agents", "iter_threads")),
    "Configuration": ("Configuration", ("Configuration",)),
    "ApiClient": ("ApiClient", ("ApiClient", "ApiResponse")),
    "instrument": ("instrument", ("instrument",)),
    "examine": ("examine", ("doctor.examine", "doctor.Report", "doctor.Finding")),
    "streaming": (
        "Streams and waiting",
        ("EventStream", "ServerSentEvent", "SSEParser", "wait_for_run_output"),
    ),
}


# The page that says where each word leads, of which the search is made
WORDS = ROOT / "docs" / "reference" / "words.md"

# The order of the sections of the navigation among equal results of a search
SECTIONS = ("Start here", "Tasks", "In production", "Reference", "Low-level")

# What a result of each of them counts, and of the pages that come last
WEIGHTS = (1, 1, 1, 0.8, 0.6, 0)

# Pages that have every word, and are about none
LAST = ("changelog.html", "contributing.html", "benchmarks.html")

# What a page must not have, as a browser would load it from another host; the generator's diagrams
# are drawn by a script from there.
_FETCHED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"(?:https?:)?//[^>]*>"
    r"|<link\b(?=[^>]*\brel=\"(?:stylesheet|preconnect|preload|icon))[^>]*\bhref=\"(?:https?:)?//[^>]*>"
    r"|<pre class=\"mermaid\">"
)


def collect() -> None:
    """Write the pages that the generator reads."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES, ignore=shutil.ignore_patterns("*.md"))
    for page in [*map(ROOT.joinpath, MOVED), *(ROOT / "docs").rglob("*.md")]:
        _write(_place(page), _for_the_site(page))
    reference = PAGES / "reference"
    for page_name, (title, names) in REFERENCE.items():
        text = _directives(f"{PACKAGE}.{name}" for name in names)
        _write(reference / f"{page_name}.md", f"# {title}\n\n{text}")
    testing = (name for name in public_names() if name.startswith(f"{PACKAGE}.testing."))
    _write(reference / "testing.md", f"# Testing\n\n{_directives(testing)}")
    listed = (reference / "errors.md").read_text("utf-8")
    _write(reference / "errors.md", f"{listed}\n{_errors()}")
    _write(PAGES / "site.css", STYLE)
    _write(PAGES / "site.js", SCRIPT)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _place(path: Path) -> Path:
    """Where a file of the checkout lies among the pages of the site."""
    name = path.relative_to(ROOT).as_posix()
    if name in MOVED:
        return PAGES / MOVED[name]
    if name.startswith("docs/"):
        return PAGES / name.removeprefix("docs/")
    return PAGES / "files" / (name if path.suffix else f"{name}.txt")


def _for_the_site(page: Path) -> str:
    """The text of a page, its links led to where their targets lie on the site."""
    headings = 0

    def moved(target: str) -> str:
        path, hash_, fragment = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return target
        there = (page.parent / path).resolve()
        lies = _place(there)
        if lies.is_relative_to(PAGES / "files"):
            _write(lies, there.read_text("utf-8"))
        return os.path.relpath(lies, _place(page).parent) + hash_ + fragment

    def changed(line: str) -> str:
        nonlocal headings
        if line.startswith("# "):
            headings += 1
            # A long name without a place to break it is too wide for a phone.
            line = line.replace(f"{PACKAGE}.", "") if headings == 1 else f"#{line}"
        elif line == "## Where to look next":
            line += " { data-search-exclude }"  # it has every word, and says nothing of any
        # A pair of brackets after another would be a link by reference.
        return with_targets(line, moved).replace("[default to", "\\[default to")

    return outside_code(page.read_text("utf-8"), changed)


def _directives(names: Iterable[str], options: str = "") -> str:
    """A directive for each name, of which the generator makes its part of the reference."""
    chosen = f"    options: {{{options}}}\n" if options else ""
    return "\n".join(f"::: {name}\n{chosen}" for name in names)


def _errors() -> str:
    """The end of the page of the errors, in the order in which the tree is drawn."""
    tree = str(exceptions.__doc__)
    names = [
        name
        for name, value in public_names().items()
        if not name.startswith(f"{PACKAGE}.testing.") and _is_error(value)
    ]
    names.sort(key=lambda name: tree.find(name.rpartition(".")[2]) % len(tree))
    # How an error is built is of no interest, what it is, is.
    return _directives(names, "merge_init_into_class: false, show_bases: true")


def _is_error(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def public_names() -> dict[str, Any]:
    """What the package, its doctor and its testing package export, by the names to import."""
    found: dict[str, Any] = {}
    for module in (PACKAGE, f"{PACKAGE}.doctor", f"{PACKAGE}.testing"):
        exporting = importlib.import_module(module)
        found |= {f"{module}.{name}": getattr(exporting, name) for name in exporting.__all__}
    return found


def pages_in_navigation() -> set[str]:
    """The pages that mkdocs.yml names."""
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    return set(re.findall(r"^ +- .*?(\S+\.md)$", text, re.MULTILINE))


def build() -> None:
    """Collect the pages and run the generator on them."""
    collect()
    collected = {str(page.relative_to(PAGES)) for page in PAGES.rglob("*.md")}
    if collected != pages_in_navigation():
        odd = sorted(collected ^ pages_in_navigation())
        raise SystemExit(f"mkdocs.yml and the pages differ in: {', '.join(odd)}")
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    # The generator passes warnings on about what it reads in docstrings, and counts none of them.
    done = subprocess.run(
        command, check=False, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    print(done.stdout, end="")
    if done.returncode or re.search(r"^griffe: ", done.stdout, re.MULTILINE):
        raise SystemExit("the site has mistakes")
    for page in SITE.rglob("*.html"):
        if (found := _FETCHED.search(page.read_text("utf-8"))) is not None:
            raise SystemExit(f"{page.relative_to(SITE)} would fetch from elsewhere: {found[0]}")
    index = SITE / "search.json"
    search = json.loads(index.read_text("utf-8"))
    search["items"] = for_the_search(search["items"])
    index.write_text(json.dumps(search, separators=(",", ":")), "utf-8")
    (worker,) = SITE.glob("assets/javascripts/workers/search.*.js")
    worker.write_text((ROOT / "tools" / "search.js").read_text("utf-8"), "utf-8")
    print(f"open {SITE.relative_to(ROOT)}/index.html, or with its search: make site-serve")


def words() -> Iterator[tuple[str, str, str]]:
    """Each word of the page of words, with the title and the place that it leads to."""
    for line in WORDS.read_text("utf-8").splitlines():
        cells = line.strip("| ").split(" | ")
        for title, target in re.findall(r"\[([^\]]+)\]\(([^)]+)\)", cells[-1]):
            path, hash_, fragment = target.partition("#")
            page = (WORDS.parent / path).resolve().relative_to(ROOT / "docs").with_suffix(".html")
            for word in cells[0].split(", "):
                yield word, title, page.as_posix() + hash_ + fragment


def for_the_search(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of the search, in the order in which equal results are shown.

    A result whose title begins with what was typed comes first, so a word of the page of words gets
    an entry whose title begins with it. The parts of a generated page, such as the "Parameters" of
    each operation, would hide what they belong to, so they are read as part of that.
    """
    sections: list[dict[str, Any]] = []
    for item in items:
        item["weight"] = WEIGHTS[_rank(item)]
        generated = re.match(r"[A-Z]\w+\.html#", item["location"])
        if generated and item["level"] > (2 if "Api.html" in item["location"] else 1):
            sections[-1]["text"] += f" {item['title']} {item['text']}"
        elif not item["location"].startswith("reference/words.html"):
            sections.append(item)
    by_location = {item["location"]: item for item in sections}
    entries = []
    # The shorter word is nearer to what was typed: "retry" before "Retry-After".
    for word, title, location in sorted(words(), key=lambda found: len(found[0])):
        item = by_location[location]
        heading = item["title"] if "#" in location else title
        title = f"{word} → {heading}"
        entries.append({**item, "word": word, "title": title, "text": f"{word} {item['text']}"})
    messages = [row for item in sections for row in _messages(item)]
    return entries + sorted([*sections, *messages], key=_rank)


def _messages(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """An entry for each row of a table of messages: the message, its cause and its remedy."""
    if item["location"].startswith("reference/messages.html#"):
        for row in re.findall(r"<tr>(.*?)</tr>", item["text"], re.DOTALL):
            if len(cells := re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)) == 3:
                title = html.unescape(re.sub(r"<[^>]+>", "", cells[0]))
                text = f"<p>{cells[1]}</p> <p>{cells[2]}</p>"
                yield {**item, "title": title, "text": text, "message": title, "weight": 1}


def _rank(item: dict[str, Any]) -> int:
    page = item["location"].partition("#")[0]
    if page in LAST:
        return len(SECTIONS)
    return SECTIONS.index(item["path"][0])


STYLE = """\
/* Output: no code to copy. */
.md-typeset .language-text code {
  background: transparent; border-left: .2rem solid var(--md-default-fg-color--lightest);
}
.md-typeset .language-text .md-code__nav { display: none; }

/* The button that copies can be seen without a mouse over it. */
.md-typeset .md-code__button { color: var(--md-default-fg-color--light); }
.md-typeset .md-code__nav { background: var(--md-code-bg-color); }

/* A picture has its own background, and follows the scheme of the site, not of the system. */
.md-typeset img { border-radius: .2rem; }
[data-md-color-scheme="default"] { color-scheme: light; }
[data-md-color-scheme="slate"] { color-scheme: dark; }

/* In the reference, the name is louder than what kind of thing it is. */
.md-typeset .doc-heading .doc-symbol, .md-typeset .doc-heading .doc-label {
  font-size: .6em; font-weight: 400; opacity: .7; vertical-align: middle;
}
.md-typeset .doc-heading .doc-object-name { font-size: 1em; font-weight: 700; }

/* From a folder, the search is a note, on one line. */
.md-search__button:disabled { width: auto; padding-right: .8rem; white-space: nowrap; }
.md-search__button:disabled::after { display: none; }

@media (max-width: 44.9em) {
  /* The button that copies stands above the code, which is as wide as the page. */
  .md-typeset pre:has(> .md-code__nav) > code { padding-top: 1.9rem; }
  .md-typeset .language-text pre > code { padding-top: .525rem !important; }

  /* Nothing lies over code; the menu has the page's contents, too. */
  .md-sidebar-button { display: none !important; }

  /* Rows of words stand one below the other, each cell below the label of its column; tables of
     figures stay tables, and scroll. */
  .md-typeset table:not([class]):not(:has([style*="right"])) { display: block; }
  .md-typeset table:not([class]):not(:has([style*="right"])) thead { display: none; }
  .md-typeset table:not([class]):not(:has([style*="right"])) :is(tbody, tr, td) { display: block; }
  .md-typeset table:not([class]):not(:has([style*="right"])) td {
    border: 0; padding: .2rem .6rem; min-width: 0;
  }
  .md-typeset table:not([class]):not(:has([style*="right"])) tr {
    border-top: .05rem solid var(--md-typeset-table-color); padding: .4rem 0;
  }
  .md-typeset table:not([class]):not(:has([style*="right"])) td:first-child { font-weight: 700; }
  .md-typeset table:not([class]):not(:has([style*="right"])) td[data-label]::before {
    content: attr(data-label); display: block; font-size: .55rem; font-weight: 400;
    color: var(--md-default-fg-color--light);
  }
  .md-typeset table:not([class]):not(:has([style*="right"])) td:empty { display: none; }
}
"""

# A cell gets the label of its column, for the narrow view. And a browser lets no page of a folder
# read the index of the search.
SCRIPT = """\
for (const table of document.querySelectorAll(".md-typeset table:not([class])")) {
  const labels = [...table.querySelectorAll("thead th")].map(head => head.textContent.trim());
  for (const row of table.querySelectorAll("tbody tr")) {
    [...row.cells].forEach((cell, column) => {
      if (labels[column]) cell.dataset.label = labels[column];
    });
  }
}
if (location.protocol === "file:") {
  for (const button of document.querySelectorAll(".md-search__button")) {
    button.disabled = true;
    button.textContent = "Search needs: make site-serve";
  }
}
"""

if __name__ == "__main__":
    build()
