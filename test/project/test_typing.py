"""What a type checker tells a user of the installed package, in test/typing/."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = sorted(str(path) for path in (ROOT / "test" / "typing").glob("*.py"))


def test_mypy_strict_accepts_the_scripts() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", *SCRIPTS]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
