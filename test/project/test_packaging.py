"""The version is one, wherever it is shown, and the package is marked as typed.

What the built packages hold, and that they install, is checked by tools/packages.py; that a type
checker accepts the scripts of users in test/typing/, by `make types` and `make pyright`.
"""

import re
import sys
from importlib import metadata, resources
from pathlib import Path

from support.forks import printed_by

import acp_client_v0_1
from acp_client_v0_1 import ApiClient, Configuration

NAME = "acp-client-v0-1"
ROOT = Path(__file__).resolve().parent.parent.parent


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
