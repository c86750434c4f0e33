"""Generates the stock client: the pinned generator's own, with its own templates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def generate_stock_client(folder: Path, package: str = "acp_client_v0_1") -> None:
    """Generate the stock client.

    Args:
        folder: The folder to write to.
        package: The name of its package.

    Raises:
        FileNotFoundError: The generator is not installed.
        subprocess.CalledProcessError: The generator failed; its output is in the error.
    """
    program = str(Path(sys.executable).with_name("openapi-generator-cli"))
    arguments = ["-g", "python", "--package-name", package]
    command = [program, "generate", "-i", str(ROOT / "openapi.yaml"), "-o", str(folder), *arguments]
    subprocess.run(command, check=True, capture_output=True, text=True)
