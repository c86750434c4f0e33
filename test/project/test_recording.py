"""The pictures of terminals show what the commands in them print today."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from record_terminal import FONT_SIZE, IMAGES, RECORDINGS, draw, with_fixed_values

ROOT = Path(__file__).resolve().parent.parent.parent
SVG = "{http://www.w3.org/2000/svg}"


def lines_of(picture: str) -> list[str]:
    """What a picture says, without the indents, which are drawn as distance."""
    texts = ElementTree.fromstring(picture).iter(f"{SVG}text")
    return ["".join(text.itertext()) for text in texts]


@pytest.fixture(scope="module", params=RECORDINGS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def picture(name: str) -> str:
    return (IMAGES / name).read_text("utf-8")


def test_it_is_what_the_recorder_draws_to_the_byte(name: str, picture: str) -> None:
    shown = RECORDINGS[name]()
    assert len(shown) > 15
    assert lines_of(picture) == [line.strip() for line in shown if line]
    assert picture == draw(shown), "out of date: python tools/record_terminal.py"


def test_it_needs_nothing_from_elsewhere(picture: str) -> None:
    named = set(re.findall(r"https?://[^\"'<\s]+", picture))
    assert named <= {"http://www.w3.org/2000/svg", "http://127.0.0.1:8000"}
    tags = {element.tag for element in ElementTree.fromstring(picture).iter()}
    assert tags == {
        SVG + tag for tag in ("svg", "title", "style", "rect", "circle", "text", "tspan")
    }
    assert "@import" not in picture and "url(" not in picture


def test_every_line_fits_into_the_window(picture: str) -> None:
    root = ElementTree.fromstring(picture)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for text in root.iter(f"{SVG}text"):
        # No common monospace font is wider than 0.62 of its size.
        length = len("".join(text.itertext())) * 0.62 * FONT_SIZE
        assert float(text.attrib["x"]) + length < width
        assert float(text.attrib["y"]) < height


def test_the_readme_shows_it_below_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    section = readme.partition("## Two commands")[2].partition("\n## ")[0]
    assert "](docs/images/quickstart.svg)" in section


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
    assert lines_of(draw(["$ x", line, "", "  " + line]))[1:] == [line, line]
