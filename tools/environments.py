"""Fresh environments, copies of the checkout and the declared versions, for the packaging tools.

Nothing here works in the checkout: a build or a test run in a copy cannot be helped by what
happens to lie around in it, and leaves nothing behind.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "acp_client_v0_1"

# What may lie in a checkout without being part of it; .gitignore names the same.
LITTER = shutil.ignore_patterns(
    ".git", ".venv*", "__pycache__", "*.py[cod]", "*.egg-info", "build", "dist", ".*_cache",
    ".cache", ".hypothesis", ".schemathesis",
)  # fmt: skip


@dataclass(frozen=True)
class Environment:
    """A virtual environment of its own, which sees no settings of the one that made it."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, interpreter: str = sys.executable) -> Environment:
        """Make an empty environment in a folder with an interpreter."""
        run([interpreter, "-m", "venv", str(folder)])
        return cls(folder)

    def program(self, name: str) -> str:
        """The path of a program of this environment."""
        return str(self.folder / "bin" / name)

    def install(self, *requirements: str) -> None:
        """Install requirements with pip."""
        run([self.program("python"), "-m", "pip", "install", "--quiet", *requirements])


def run(command: list[str], *, cwd: Path | None = None, quiet: bool = False) -> None:
    """Run a command to its end; a failure ends the tool with the command's own exit code.

    Args:
        command: The program and its arguments.
        cwd: The folder to run it in, None for the present one.
        quiet: Show what it says only if it fails.
    """
    outcome = subprocess.run(
        command,
        cwd=cwd,
        env=clean_environ(),
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
    """The environment's variables without those that change what Python imports."""
    unwanted = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
    return {name: value for name, value in os.environ.items() if name not in unwanted}


def copy_checkout(target: Path) -> Path:
    """Copy the checkout without its litter, every file with the same plain mode."""
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
