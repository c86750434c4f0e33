"""The picture of the quickstart is a picture of what the quickstart prints today."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from record_quickstart import FONT_SIZE, PICTURE, draw, quickstart_output, with_fixed_values

ROOT = Path(__file__).resolve().parent.parent.parent
SVG = "{http://www.w3.org/2000/svg}"


def lines_of(picture: str) -> list[str]:
    """What a picture says, without the indents, which are drawn as distance."""
    texts = ElementTree.fromstring(picture).iter(f"{SVG}text")
    return ["".join(text.itertext()) for text in texts]


@pytest.fixture(scope="module")
def printed() -> list[str]:
    return with_fixed_values(quickstart_output()).splitlines()


def test_it_is_well_formed_and_shows_what_a_run_prints(printed: list[str]) -> None:
    shown = lines_of(PICTURE.read_text("utf-8"))
    assert shown[0] == "$ make quickstart"
    assert shown[1:] == [line.strip() for line in printed if line]
    assert len(shown) > 15


def test_it_is_what_the_recorder_draws_to_the_byte(printed: list[str]) -> None:
    assert PICTURE.read_bytes() == draw(printed).encode("utf-8"), (
        "out of date: python tools/record_quickstart.py"
    )


def test_it_needs_nothing_from_elsewhere() -> None:
    picture = PICTURE.read_text("utf-8")
    assert re.findall(r"https?://[^\"'<\s]+", picture) == [
        "http://www.w3.org/2000/svg",
        "http://127.0.0.1:8000",
    ]
    tags = {element.tag for element in ElementTree.fromstring(picture).iter()}
    assert tags == {
        SVG + tag for tag in ("svg", "title", "style", "rect", "circle", "text", "tspan")
    }
    assert "@import" not in picture and "url(" not in picture


def test_every_line_fits_into_the_window() -> None:
    root = ElementTree.fromstring(PICTURE.read_text("utf-8"))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for text in root.iter(f"{SVG}text"):
        # No common monospace font is wider than 0.62 of its size.
        length = len("".join(text.itertext())) * 0.62 * FONT_SIZE
        assert float(text.attrib["x"]) + length < width
        assert float(text.attrib["y"]) < height


def test_the_readme_shows_it_below_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    section = readme.partition("## Two commands")[2].partition("\n## ")[0]
    assert f"]({PICTURE.relative_to(ROOT)})" in section


def test_ids_stay_apart_and_ports_do_not_matter() -> None:
    one, other = "1" * 8 + "-1111" * 3 + "-" + "1" * 12, "2" * 8 + "-2222" * 3 + "-" + "2" * 12
    first = with_fixed_values(f"http://127.0.0.1:1234\n{one} {other} {one}")
    again = with_fixed_values(f"http://127.0.0.1:56789\n{other} {one} {other}")
    assert first == again
    ids = first.split("\n")[1].split()
    assert ids[0] == ids[2] != ids[1]


@pytest.mark.parametrize(
    "line", ["a < b & c > d", "quoted \"double\" and 'single'", "label: x & y"]
)
def test_any_text_is_drawn_as_it_is(line: str) -> None:
    assert lines_of(draw([line, "", "  " + line]))[1:] == [line, line]
