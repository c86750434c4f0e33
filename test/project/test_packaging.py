"""The version is one wherever it is shown, the package is typed, and the map and CI are complete.

What the built packages hold, and that they install, is checked by tools/packages.py; that a type
checker accepts the scripts of users in test/typing/, by `make types` and `make pyright`.
"""

import re
import runpy
import sys
from importlib import metadata, resources
from pathlib import Path

import pytest
import yaml
from support.forks import printed_by

import acp_client_v0_1
from acp_client_v0_1 import ApiClient, Configuration

NAME = "acp-client-v0-1"
ROOT = Path(__file__).resolve().parent.parent.parent
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_the_version_is_the_installed_one_wherever_it_is_shown():
    version, configuration = acp_client_v0_1.__version__, Configuration(host="http://localhost")
    assert version == metadata.version(NAME)
    assert re.fullmatch(r"\d+\.\d+\.\d+(?:\.?(?:a|b|rc|dev)\d+)?", version)
    assert version in configuration.to_debug_report()
    python = ".".join(map(str, sys.version_info[:3]))
    assert ApiClient(configuration).user_agent == f"acp_client_v0_1/{version} Python/{python}"
    footer = f"copyright: acp_client_v0_1 {version}\n"
    assert footer in (ROOT / "mkdocs.yml").read_text("utf-8")


def test_a_package_is_imported_before_its_modules():
    script = """
import importlib
real, tried = importlib.import_module, []
importlib.import_module = lambda *names: tried.append(names) or real(*names)
import acp_client_v0_1
acp_client_v0_1.SSEParser
print(*map("".join, tried))
"""
    package, module = ".acp_client_v0_1.streaming", ".parseracp_client_v0_1.streaming"
    assert printed_by(script).split()[-2:] == [package, module]


def test_the_runtime_is_typed_and_needs_four_packages_and_no_more():
    assert resources.files("acp_client_v0_1").joinpath("py.typed").is_file()
    needed = [line for line in metadata.requires(NAME) or [] if "extra ==" not in line]
    names = {re.split(r"[<>=!~ ;\[]", line)[0] for line in needed}
    assert names == {"urllib3", "pydantic", "python-dateutil", "typing-extensions"}


def test_the_map_of_contributing_names_every_room():
    rooms, recipes = CONTRIBUTING.partition("## Recipes\n")[::2]
    for path in (ROOT / "acp_client_v0_1").iterdir():
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
    classifiers = metadata.metadata(NAME).get_all("Classifier") or []
    declared = [one.rpartition(" ")[2] for one in classifiers if " :: 3." in one]
    assert declared == matrix["test"]["python"]
    used = re.findall(r"uses: (.*)", text)
    assert used
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v[\d.]+", each) for each in used)
