"""Fresh environments, copies of the checkout and the declared versions, for the packaging tools.

Nothing here works in the checkout itself: a build or a test run in a copy cannot depend on files
that happen to lie in the checkout, and leaves none there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "acp_client_v0_1"

# Files that tools leave in a checkout; .gitignore lists the same.
LITTER = shutil.ignore_patterns(
    ".git", ".venv*", "__pycache__", "*.py[cod]", "*.egg-info", "build", "dist", ".*_cache",
    ".cache", ".hypothesis", ".schemathesis",
)  # fmt: skip


@dataclass(frozen=True)
class Environment:
    """A virtual environment, isolated from the environment that creates it."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, interpreter: str = sys.executable) -> Environment:
        """Create an empty environment in a folder, even without pip."""
        run([interpreter, "-m", "venv", "--without-pip", str(folder)])
        return cls(folder)

    def program(self, name: str) -> str:
        """The path of a program in this environment."""
        return str(self.folder / "bin" / name)

    def install(self, *requirements: str) -> None:
        """Install requirements with pip."""
        self.pip("install", "--quiet", *requirements)

    def pip(self, *arguments: str) -> None:
        """Run the pip of the environment that this script runs in, for this environment."""
        run([sys.executable, "-m", "pip", "--python", self.program("python"), *arguments])


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
    """Turn `name<3,>=1.2` into `name==1.2`; a requirement without a lower bound is an error."""
    pins: list[str] = []
    for requirement in requirements:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        bound = re.search(r">=\s*([0-9][^,;\s]*)", requirement)
        if name is None or bound is None:
            raise SystemExit(f"no lower bound in {requirement!r}")
        pins.append(f"{name[0]}=={bound[1]}")
    return pins
