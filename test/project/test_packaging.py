"""The version is one, wherever it is shown, and the package is marked as typed.

What the built packages hold, and that they install, is checked by tools/packages.py.
"""

from __future__ import annotations

import re
from importlib import metadata, resources

import acp_client_v0_1
from acp_client_v0_1 import ApiClient, Configuration

NAME = "acp-client-v0-1"


def test_the_version_is_the_installed_one() -> None:
    assert acp_client_v0_1.__version__ == metadata.version(NAME)
    assert re.fullmatch(r"\d+\.\d+\.\d+(?:\.?(?:a|b|rc|dev)\d+)?", acp_client_v0_1.__version__)


def test_the_user_agent_carries_the_version() -> None:
    with ApiClient(Configuration(host="http://localhost:8000")) as client:
        assert acp_client_v0_1.__version__ in client.user_agent


def test_the_debug_report_carries_the_version() -> None:
    report = Configuration(host="http://localhost:8000").to_debug_report()
    assert acp_client_v0_1.__version__ in report


def test_the_package_is_marked_as_typed() -> None:
    assert resources.files("acp_client_v0_1").joinpath("py.typed").is_file()


def test_the_runtime_needs_four_packages_and_no_more() -> None:
    needed = [line for line in metadata.requires(NAME) or [] if "extra ==" not in line]
    names = {re.split(r"[<>=!~ ;\[]", line)[0] for line in needed}
    assert names == {"urllib3", "pydantic", "python-dateutil", "typing-extensions"}
