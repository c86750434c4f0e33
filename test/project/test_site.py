"""The pages of the site: each public name is described, and the search finds what was meant.

What the site looks like is the generator's affair: `make site` runs it, and fails if a page is
missing from the navigation or a link is dead; `make site-check` reads it in a browser.
"""

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import build_site
import check_search
import pictures
import pytest


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(build_site, "PAGES", tmp_path)
    build_site.collect()
    return tmp_path


def test_the_reference_describes_each_name_that_is_written_by_hand(pages):
    described = [
        name
        for page in (pages / "reference").glob("*.md")
        for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)
    ]
    generated = {
        name
        for name, value in build_site.public_names().items()
        if re.match(r"acp_client_v0_1\.(api|models)\.", getattr(value, "__module__", ""))
    }
    rest = {"acp_client_v0_1.__version__"}
    assert sorted(described) == sorted(set(build_site.public_names()) - generated - rest)


def test_a_docstring_that_does_not_fit_its_signature_fails_the_build(pages, tmp_path, monkeypatch):
    warning = "griffe: agent.py:1: Parameter 'x' does not appear in the function signature\n"
    done = subprocess.CompletedProcess[str]([], 0, f"Build started\n{warning}No issues found\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: done)
    monkeypatch.setattr(build_site, "SITE", tmp_path / "site")
    listed = {str(page.relative_to(build_site.PAGES)) for page in build_site.PAGES.rglob("*.md")}
    monkeypatch.setattr(build_site, "pages_in_navigation", lambda: listed)
    monkeypatch.setattr(build_site, "collect", lambda: None)
    with pytest.raises(SystemExit, match="the site has mistakes"):
        build_site.build()


def test_pages_are_readable_and_begin_with_what_matters_most(pages):
    errors = (pages / "reference" / "errors.md").read_text("utf-8")
    assert errors.index("OpenApiException") < errors.index("ApiException\n")
    assert errors.index("TransportException") < errors.index("ApiTimeoutError")
    runs = (pages / "RunsApi.md").read_text("utf-8")
    assert "\n# **create_run**" not in runs and "\n## **create_run**\n" in runs
    assert "# The host is optional" in runs  # a comment in code is no heading
    assert "\\[default to False]" in (pages / "AgentCapabilities.md").read_text("utf-8")


def test_the_examples_are_listed_and_linked_and_the_quickstart_is_first(pages):
    listed = (pages / "index.md").read_text("utf-8")
    scripts = re.findall(r"\[(\S+)\]\(files/examples/\1\)", listed)
    assert scripts[0] == "quickstart.py"
    paths = (build_site.ROOT / "examples").glob("*.py")
    assert sorted(scripts) == sorted(path.name for path in paths)
    assert all((pages / "files" / "examples" / script).is_file() for script in scripts)


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_a_picture_is_what_its_source_draws_in_both_schemes_for_a_phone(name):
    """If this fails, `make pictures` writes the files again."""
    text = (pictures.IMAGES / name).read_text("utf-8")
    assert text == pictures.drawn(name)
    assert "prefers-color-scheme: dark" in text and 'width="360"' in text
    assert not re.search(r"#0\d0\d0\d", text), "a colour that no scheme changes"


def entry(
    location: str, title: str, section: str, text: str = "", level: int = 2
) -> dict[str, Any]:
    return {
        "location": location, "title": title, "path": [section, title], "text": text,
        "level": level, "tags": [],
    }  # fmt: skip


def test_a_word_leads_the_search_to_its_section_and_guides_come_before_the_reference(monkeypatch):
    found = ("retry", "retries", "guides/errors.html#retries")
    monkeypatch.setattr(build_site, "words", lambda: [found])
    items = [
        entry("RunsApi.html", "RunsApi", "Low-level", level=1),
        entry("reference/errors.html", "Errors", "Reference"),
        entry("changelog.html", "Changes", "In production"),
        entry("guides/errors.html#retries", "Retries", "In production", "three times"),
    ]
    found_first, *others = build_site.for_the_search(items)
    assert found_first["title"] == "retry → Retries"
    assert found_first["text"] == "retry three times"
    assert [item["location"] for item in others] == [
        "guides/errors.html#retries", "reference/errors.html", "RunsApi.html", "changelog.html",
    ]  # fmt: skip


def test_the_parts_of_a_page_do_not_hide_it_in_the_search(monkeypatch):
    monkeypatch.setattr(build_site, "words", list)
    items = [
        entry("RunsApi.html", "RunsApi", "Low-level", level=1),
        entry("RunsApi.html#create_run", "create_run", "Low-level", "Creates"),
        entry("RunsApi.html#parameters", "Parameters", "Low-level", "run_create", level=3),
        entry("Run.html", "Run", "Low-level", "A run", level=1),
        entry("Run.html#properties", "Properties", "Low-level", "run_id"),
        entry("reference/words.html", "Find it by its word", "Start here", level=1),
    ]
    left = {item["title"]: item["text"] for item in build_site.for_the_search(items)}
    assert list(left) == ["RunsApi", "create_run", "Run"]
    assert left["create_run"] == "Creates Parameters run_create"


def found(items: list[dict[str, Any]], query: str) -> list[str]:
    if check_search.node() is None:
        pytest.skip("Node.js, which runs the search of the site, is not installed")
    (entries,) = check_search.results(items, [query])
    return [item["location"] for item in entries]


def searched(*items: dict[str, Any]) -> list[dict[str, Any]]:
    return build_site.for_the_search([*items])


def test_a_search_shows_the_best_of_the_sections_that_lack_some_of_its_words(monkeypatch):
    monkeypatch.setattr(build_site, "words", list)
    items = searched(
        entry("a.html", "Colours", "Tasks", "A tree and a fish"),
        entry("b.html", "Cancelling", "Tasks", "To cancel a run, call cancel()"),
        entry("c.html", "Runs", "Tasks", "A run has a status"),
    )
    assert found(items, "how do I cancel a run, please") == ["b.html", "c.html"]
    assert found(items, "cancelled runs")[0] == "b.html"
    assert found(items, "cancle") == ["b.html"], "two letters have changed places"
    assert found(items, "canc") == ["b.html"], "the last word is typed in part"
    assert found(items, "zebra") == []


def test_changes_and_benchmarks_come_last_whatever_they_have_of_the_query(monkeypatch):
    monkeypatch.setattr(build_site, "words", list)
    items = searched(
        entry("changelog.html#fixed", "Journal lock", "In production", "journal lock " * 9),
        entry("benchmarks.html", "Journal lock", "In production", "journal lock"),
        entry("RunsApi.html", "RunsApi", "Low-level", "has no journal", level=1),
    )
    assert found(items, "journal lock")[0] == "RunsApi.html"
    assert len(found(items, "journal lock")) == 3


def test_a_pasted_message_finds_its_row_of_the_page_of_messages(monkeypatch):
    monkeypatch.setattr(build_site, "words", list)
    head = "<table><tr><th>Message</th><th>Cause</th><th>Remedy</th></tr>"
    cells = ("<code>no port &amp; no name</code>", "a typo", "correct it")
    row = "<tr>\n" + "\n".join(f"<td>{cell}</td>" for cell in cells) + "\n</tr>"
    items = searched(
        entry("reference/messages.html#settings", "Settings", "Reference", f"{head}{row}</table>"),
        entry("a.html", "Names and ports", "Tasks", "A name, then another name; no port"),
    )
    (message,) = (item for item in items if "message" in item)
    assert message["title"] == "no port & no name" and "correct it" in message["text"]
    assert found(items, "ApiValueError: host has no port & no name")[0] == message["location"]


def test_a_taken_port_of_the_site_is_one_line_that_names_the_variable():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "tools/serve_site.py", port]
        done = subprocess.run(command, cwd=build_site.ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert f"port {port} cannot be used" in line and "SITE_PORT=" in line


def test_no_word_is_listed_twice_unless_its_row_names_both_places():
    lines = build_site.WORDS.read_text("utf-8").splitlines()[6:]
    rows = [row.split(" | ")[0] for row in lines if row[:2] == "| " and row[:7] != "| With "]
    listed = [word.strip("| ").lower() for row in rows for word in row.split(", ")]
    assert len(listed) == len(set(listed)) > 60
