"""The version is one, wherever it is shown, and the package is marked as typed.

What the built packages hold, and that they install, is checked by tools/packages.py; that a type
checker accepts the scripts of users in test/typing/, by `make types` and `make pyright`.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path
from types import SimpleNamespace

import pytest

import acp_client_v0_1
from acp_client_v0_1 import ApiClient, Configuration, _lazy

NAME = "acp-client-v0-1"
ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_version_is_the_installed_one_wherever_it_is_shown() -> None:
    version, configuration = acp_client_v0_1.__version__, Configuration(host="http://localhost")
    assert version == metadata.version(NAME)
    assert re.fullmatch(r"\d+\.\d+\.\d+(?:\.?(?:a|b|rc|dev)\d+)?", version)
    assert version in configuration.to_debug_report()
    python = ".".join(map(str, sys.version_info[:3]))
    assert ApiClient(configuration).user_agent == f"acp_client_v0_1/{version} Python/{python}"
    footer = f"copyright: acp_client_v0_1 {version}\n"
    assert footer in (ROOT / "mkdocs.yml").read_text("utf-8")


@pytest.mark.parametrize("version", [None, "1.9.3"])
@pytest.mark.parametrize(("name", "dependency"), [("Run", "pydantic"), ("ApiClient", "urllib3")])
def test_a_dependency_that_is_missing_or_too_old_is_named(
    name: str, dependency: str, version: str | None
) -> None:
    found = f"types.SimpleNamespace(__version__={version!r})" if version else None
    script = f"import sys, types\nsys.modules[{dependency!r}] = {found}\n"
    command = [sys.executable, "-c", f"{script}import acp_client_v0_1\nacp_client_v0_1.{name}()"]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    error = outcome.stderr.splitlines()[-1]
    assert error.startswith(f"ImportError: acp_client_v0_1 needs {dependency} 2.")
    assert f" or newer, and finds {version or 'none'}: pip install --upgrade" in error


def test_the_lowest_version_of_the_metadata_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    load, _ = _lazy.lazy_exports("acp_client_v0_1.streaming", {".parser": "SSEParser"})
    for version in ("2.12", "2.12.0b1", "3.0", "unknown", "2.11.9"):
        monkeypatch.setitem(sys.modules, "pydantic", SimpleNamespace(__version__=version))
        with pytest.raises(ImportError) if version == "2.11.9" else contextlib.nullcontext():
            load("SSEParser")
    needed = metadata.requires(NAME) or []
    for module, (major, minor) in _lazy._NEEDED.items():
        name = module.replace("_", "-")
        assert any(re.match(rf"{name}.*>={major}\.{minor}\b", line) for line in needed)


def test_an_import_that_fails_otherwise_is_not_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def fail(*names: str) -> None:
        tried.append(names)
        raise ImportError("broken", name="of a user")

    monkeypatch.setattr(_lazy, "import_module", fail)
    load, _ = _lazy.lazy_exports("acp_client_v0_1.streaming", {".parser": "SSEParser"})
    with pytest.raises(ImportError, match="broken"):
        load("SSEParser")
    assert tried == [(".", "acp_client_v0_1.streaming")]  # a package is imported before its modules


def test_the_runtime_is_typed_and_needs_four_packages_and_no_more() -> None:
    assert resources.files("acp_client_v0_1").joinpath("py.typed").is_file()
    needed = [line for line in metadata.requires(NAME) or [] if "extra ==" not in line]
    names = {re.split(r"[<>=!~ ;\[]", line)[0] for line in needed}
    assert names == {"urllib3", "pydantic", "python-dateutil", "typing-extensions"}
