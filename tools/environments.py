"""Fresh environments, copies of the checkout and the declared versions, for the packaging tools.

Nothing here works in the checkout itself: a build or a test run in a copy cannot depend on files
that happen to lie in the checkout, and leaves none there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "acp_client_v0_1"

# Files that tools leave in a checkout; .gitignore lists the same.
LITTER = shutil.ignore_patterns(
    ".git", ".venv*", "__pycache__", "*.py[cod]", "*.egg-info", "build", "dist", ".*_cache",
    ".cache", ".hypothesis", ".schemathesis",
)  # fmt: skip


def fresh_environment(folder: Path) -> str:
    """Create an empty virtual environment, even without pip; return its Python."""
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    return str(folder / "bin" / "python")


def install(python: str, *requirements: str) -> None:
    """Install requirements for a Python, by the pip of the environment that this runs in."""
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    run([*pip, *requirements])


def run(
    command: list[str],
    *,
    cwd: Path | None = None,
    quiet: bool = False,
    more: Mapping[str, str] | None = None,
) -> None:
    """Run a command; if it fails, exit with its exit code.

    Args:
        command: The program and its arguments.
        cwd: The folder to run it in; the current one if None.
        quiet: Show its output only if it fails.
        more: Environment variables to add.
    """
    outcome = subprocess.run(
        command,
        cwd=cwd,
        env={**clean_environ(), **(more or {})},
        check=False,
        text=True,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
    )
    if outcome.returncode != 0:
        print(outcome.stdout or "", file=sys.stderr)
        print(f"failed ({outcome.returncode}): {' '.join(command)}", file=sys.stderr)
        raise SystemExit(outcome.returncode)


def clean_environ() -> dict[str, str]:
    """The environment variables, without those that change what Python imports, keeps or writes."""
    unwanted = {
        "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__", "PYTHONDONTWRITEBYTECODE",
        "PYTHONUNBUFFERED",
    }  # fmt: skip
    return {name: value for name, value in os.environ.items() if name not in unwanted}


def copy_checkout(target: Path) -> Path:
    """Copy the checkout without left-over files, and with plain file modes."""
    shutil.copytree(ROOT, target, ignore=LITTER)
    for path in target.rglob("*"):
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if executable else 0o644)
    return target


def lowest_versions(requirements: list[str]) -> list[str]:
    """Turn each `name<3,>=1.2` into `name==1.2`."""
    return [
        f"{requirement.name}=={bound.version}"
        for requirement in map(Requirement, requirements)
        for bound in requirement.specifier
        if bound.operator == ">="
    ]
