"""The map of CONTRIBUTING.md names every room, and CI runs what the metadata says.

That the generated files are what the contract and the templates make, `make generate-check` says.
"""

import re
import runpy
from importlib.metadata import metadata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "acp_client_v0_1"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_the_map_of_contributing_names_every_room():
    rooms, recipes = CONTRIBUTING.partition("## Recipes\n")[::2]
    for path in PACKAGE.iterdir():
        if path.suffix == ".py" or (path / "__init__.py").is_file():
            assert f"`{path.name}{'/' * path.is_dir()}`" in rooms, path
    for path in (ROOT / "test").iterdir():
        if path.is_dir() and not path.name.startswith(("_", ".")):
            assert f"`test/{path.name}/`" in rooms, path
    for name in re.findall(r"`([\w.]+/[\w./]+)`", recipes):
        # The source package has no .ci/.
        assert (ROOT / name).exists() or name in ("dist/", ".ci/run"), name


@pytest.mark.skipif(not (ROOT / ".github").exists(), reason="a source package")
def test_ci_runs_the_interpreters_of_the_metadata_and_of_compat_and_pins_each_action():
    text = (ROOT / ".github/workflows/ci.yml").read_text("utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    matrix = {job: jobs[job]["strategy"]["matrix"] for job in ("test", "compat")}
    noxfile = runpy.run_path(str(ROOT / "noxfile.py"))
    assert matrix["compat"]["python"] == noxfile["VERSIONS"]
    assert matrix["compat"]["versions"] == noxfile["ENDS"]
    assert matrix["test"]["python"] == [one for one in noxfile["VERSIONS"] if not one.endswith("t")]
    classifiers = metadata("acp-client-v0-1").get_all("Classifier") or []
    declared = [one.rpartition(" ")[2] for one in classifiers if " :: 3." in one]
    assert declared == matrix["test"]["python"]
    used = re.findall(r"uses: (.*)", text)
    assert used
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v[\d.]+", each) for each in used)


def test_no_private_attribute_is_set_on_an_error():
    """The error is the user's, who may raise it again: no decision of the client lives in it."""
    names = "error|failure|failed|gone|late|asked|last|lost|again|ambiguous"
    written = re.compile(
        rf"\b(?:{names})\.(_[a-z]\w*|whose)\b.* = |\bvars\((?:{names})\)(\[.* = .*|\.update.*)"
    )
    found = set[str]()
    for path in PACKAGE.rglob("*.py"):
        for private, other in written.findall(path.read_text("utf-8")):
            found.add(f"{path.name}: {private or other}")
    assert found == {
        # It marks what a function of the user's raises, of any class, each time it does.
        '_errors.py: ["by_function"] = True',
        # Public attributes, also of an exception that forbids an assignment.
        '_create.py: ["token"] = token',
        '_known.py: ["__notes__"] = [*kept, note]',
        '_runs.py: ["cancelled"] = run.run_id',
    }
