"""The border between generated and hand-written files holds.

`.openapi-generator/FILES` lists what `make generate` writes. Each Python file of the package is in
that list and carries the banner, or is hand-written and carries none.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "acp_client_v0_1"
LISTED = {
    ROOT / line for line in (ROOT / ".openapi-generator" / "FILES").read_text("utf-8").splitlines()
}
MODULES = sorted(PACKAGE.rglob("*.py"))
BANNER = "Generated from openapi.yaml by `make generate`. Do not edit"

# What the generator's stock templates leave in a project, and nobody here wants.
LEFTOVERS = (
    ".travis.yml",
    ".gitlab-ci.yml",
    ".github/workflows/python.yml",
    "git_push.sh",
    "requirements.txt",
    "setup.cfg",
    "test-requirements.txt",
    "tox.ini",
)


def carries_banner(path: Path) -> bool:
    return BANNER in path.read_text("utf-8")[:600]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_listed_and_bannered_or_neither(module: Path) -> None:
    assert carries_banner(module) == (module in LISTED)


def test_every_listed_file_is_there() -> None:
    assert [path for path in sorted(LISTED) if not path.is_file()] == []


def test_models_and_api_hold_generated_files_only() -> None:
    inside = {path for path in MODULES if path.parent.name in {"api", "models"}}
    assert inside and inside <= LISTED


def test_reference_pages_are_generated_and_guides_are_not() -> None:
    assert set((ROOT / "docs").glob("*.md")) - {ROOT / "docs" / "benchmarks.md"} <= LISTED
    assert not LISTED & set((ROOT / "docs" / "guides").rglob("*.md"))


def leftovers(root: Path) -> list[str]:
    # setuptools writes a setup.cfg of its own into every source package, beside PKG-INFO.
    packed = {"setup.cfg"} if (root / "PKG-INFO").is_file() else set()
    return [name for name in LEFTOVERS if (root / name).exists() and name not in packed]


def test_no_leftovers_of_the_stock_templates() -> None:
    assert leftovers(ROOT) == []
    assert not [path for path in LISTED if path.is_relative_to(ROOT / "test")]


def test_a_source_package_has_a_setup_cfg_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "setup.cfg").touch()
    assert leftovers(tmp_path) == ["setup.cfg"]
    (tmp_path / "PKG-INFO").touch()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("module", sorted((PACKAGE / "api").glob("*_api.py")), ids=lambda p: p.stem)
def test_a_generated_method_is_a_signature_a_docstring_and_a_call(module: Path) -> None:
    """So there is no second body: what all operations do stands in ApiClient, once."""
    (generated,) = (
        node for node in ast.parse(module.read_text("utf-8")).body if isinstance(node, ast.ClassDef)
    )
    methods = [node for node in generated.body if isinstance(node, ast.FunctionDef)]
    assert len(methods) % 3 == 0 and methods
    for method in methods:
        docstring, options, call = method.body
        assert isinstance(docstring, ast.Expr) and ast.get_docstring(method)
        assert ast.unparse(options) == (
            "options = (_request_timeout, _request_auth, _content_type, _headers, _host_index)"
        )
        assert isinstance(call, ast.Return) and isinstance(call.value, ast.Call)
        assert ast.unparse(call.value.func).startswith("self.api_client.call")
        declaration, arguments, last = map(ast.unparse, call.value.args)
        assert declaration.startswith("_") and declaration[1:].isupper()
        own = [each.arg for each in method.args.args if not each.arg.startswith("_")][1:]
        assert arguments == ast.unparse(ast.Tuple([ast.Name(name) for name in own]))
        assert last == "options"


CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_the_map_of_contributing_names_every_room() -> None:
    rooms, recipes = CONTRIBUTING.partition("## Recipes\n")[::2]
    inside = {path for path in PACKAGE.iterdir() if path.suffix == ".py" or is_package(path)}
    for path in inside:
        assert f"`{path.name}{'/' * path.is_dir()}`" in rooms, path
    for path in (ROOT / "test").iterdir():
        if path.is_dir() and not path.name.startswith(("_", ".")):
            assert f"`test/{path.name}/`" in rooms, path
    for name in re.findall(r"`([\w.]+/[\w./]+)`", recipes):
        # The source package has no .ci/.
        assert (ROOT / name).exists() or name in ("dist/", ".ci/run"), name
    assert len([path for path in inside if path.is_file()]) <= 14 + 1  # and __init__.py
    assert len([path for path in inside if path.is_dir()]) <= 12


def is_package(path: Path) -> bool:
    return (path / "__init__.py").is_file()
