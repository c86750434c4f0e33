"""The pages of the site: all of them are there, each public name is described, no link is dead.

What the site looks like is the generator's affair: `make site` runs it, and `make site-check` reads
it in a browser.
"""

from __future__ import annotations

import re
from pathlib import Path

import build_site
import pictures
import pytest
from pages import links

from acp_client_v0_1 import __version__


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(build_site, "PAGES", tmp_path)
    build_site.collect()
    return tmp_path


def test_the_navigation_has_every_page(pages: Path) -> None:
    collected = {str(page.relative_to(pages)) for page in pages.rglob("*.md")}
    assert collected == build_site.pages_in_navigation()


def test_no_link_leads_out_of_the_site(pages: Path) -> None:
    for page in pages.rglob("*.md"):
        for target in links(page):
            path = target.partition("#")[0]
            if path and not re.match(r"[a-z]+:", path):
                there = (page.parent / path).resolve()
                assert there.is_file() and there.is_relative_to(pages), f"{page}: {target}"


def test_the_reference_describes_each_name_that_is_written_by_hand(pages: Path) -> None:
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


def test_a_reference_page_begins_with_what_matters_most(pages: Path) -> None:
    errors = (pages / "reference" / "errors.md").read_text("utf-8")
    assert errors.index("OpenApiException") < errors.index("ApiException\n")
    assert errors.index("TransportException") < errors.index("ApiTimeoutError")


def test_further_headings_and_brackets_are_made_readable(pages: Path) -> None:
    runs = (pages / "RunsApi.md").read_text("utf-8")
    assert "\n# **create_run**" not in runs and "\n## **create_run**\n" in runs
    assert "# The host is optional" in runs  # a comment in code is no heading
    assert "\\[default to False]" in (pages / "AgentCapabilities.md").read_text("utf-8")


def test_the_footer_has_the_version() -> None:
    settings = (build_site.ROOT / "mkdocs.yml").read_text("utf-8")
    assert f"copyright: acp_client_v0_1 {__version__}\n" in settings


def test_the_examples_are_listed_and_linked_and_the_quickstart_is_first(pages: Path) -> None:
    listed = (pages / "examples.md").read_text("utf-8")
    scripts = re.findall(r"^## (\S+)$", listed, re.MULTILINE)
    assert scripts[0] == "quickstart.py"
    assert sorted(scripts) == sorted(
        path.name for path in (build_site.ROOT / "examples").glob("*.py")
    )
    assert "import argparse" not in listed
    assert all((pages / "files" / "examples" / script).is_file() for script in scripts)


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_a_picture_is_what_its_source_draws(name: str) -> None:
    """If this fails, `make pictures` writes the files again."""
    assert (pictures.IMAGES / name).read_text("utf-8") == pictures.drawn(name)


def test_a_picture_has_the_colours_of_both_schemes_and_the_width_of_a_phone() -> None:
    for name in pictures.PICTURES:
        text = (pictures.IMAGES / name).read_text("utf-8")
        assert "prefers-color-scheme: dark" in text and 'width="360"' in text
        assert not re.search(r"#0\d0\d0\d", text), "a colour that no scheme changes"
