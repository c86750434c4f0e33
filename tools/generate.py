"""Writes the generated files: `make generate`, or compares them: `make generate-check`.

The pinned generator reads openapi.yaml, openapi-generator-config.yaml, templates/ and the table of
public names in tools/exports.py, and runs on the Java that its package brings. The pinned ruff then
drops unused imports, sorts the others and formats. Nothing else changes a generated file.

The generator always writes into an empty folder, never into the checkout. So it cannot touch a
hand-written file, a file that it no longer writes is missing there, and `generate-check` does the
same work. The list of what it wrote, `.openapi-generator/FILES`, is the border between
the two kinds of file.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from exports import template_properties

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent
CONFIG = "openapi-generator-config.yaml"
INPUTS = ("openapi.yaml", CONFIG, ".openapi-generator-ignore", "templates")
FILES = Path(".openapi-generator", "FILES")
VERSION = Path(".openapi-generator", "VERSION")


def generate(folder: Path) -> set[Path]:
    """Write everything that is generated into an empty folder.

    Args:
        folder: An empty folder.

    Returns:
        What was written, relative to the folder: the files of the list, the list and the
        generator's version.
    """
    for name in INPUTS:
        _copy(ROOT / name, folder / name)
    with (folder / CONFIG).open("a", encoding="utf-8") as options:  # JSON is YAML
        options.write(f"additionalProperties: {json.dumps(template_properties())}\n")
    _run(
        "openapi-generator-cli",
        "generate",
        f"--input-spec={folder / 'openapi.yaml'}",
        f"--config={folder / CONFIG}",
        f"--template-dir={folder / 'templates'}",
        f"--output={folder}",
        cwd=folder,
    )
    written = listed(folder)
    modules = sorted(str(path) for path in written if path.suffix == ".py")
    config = f"--config={ROOT / 'pyproject.toml'}"
    _run("ruff", "check", "--select=I,F401", "--fix", config, *modules, cwd=folder)
    _run("ruff", "format", config, *modules, cwd=folder)
    return {*written, FILES, VERSION}


def listed(folder: Path) -> set[Path]:
    """The generated files of a folder by its list, or none where there is no list."""
    if not (folder / FILES).exists():
        return set()
    return {Path(line) for line in (folder / FILES).read_text("utf-8").splitlines()}


def write(fresh: Path, files: set[Path]) -> None:
    """Bring the generated files into the checkout and remove those no longer generated."""
    for path in sorted(listed(ROOT) - files):
        print(f"removed  {path}")
        (ROOT / path).unlink(missing_ok=True)
    for path in differences(fresh, files):
        print(f"written  {path}")
        _copy(fresh / path, ROOT / path)


def differences(fresh: Path, files: set[Path]) -> list[Path]:
    """The files that the checkout lacks, or holds with other bytes."""
    return sorted(
        path
        for path in files
        if not (ROOT / path).exists() or (ROOT / path).read_bytes() != (fresh / path).read_bytes()
    )


def compare(fresh: Path, files: set[Path]) -> int:
    """Say which generated files are not what the contract and the templates make; the exit code."""
    stale = sorted(listed(ROOT) - files)
    wrong = differences(fresh, files)
    for path in stale:
        print(f"no longer generated: {path}")
    for path in wrong:
        print(f"not as generated: {path}")
        _show(ROOT / path, fresh / path)
    if stale or wrong:
        print("change the contract or a template, then run `make generate`")
        return 1
    print(f"{len(files)} generated files are what the contract and the templates make")
    return 0


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def _run(program: str, *arguments: str, cwd: Path) -> None:
    """Run a program of this environment; what it says is shown only if it fails."""
    command = [str(PROGRAMS / program), *arguments]
    outcome = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if outcome.returncode:
        print(outcome.stdout, outcome.stderr, sep="\n", file=sys.stderr)
        raise SystemExit(f"{program} failed with exit code {outcome.returncode}")


def _show(ours: Path, fresh: Path) -> None:
    command = ["diff", "--unified", str(ours), str(fresh)]
    difference = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    print("\n".join(difference.splitlines()[:40]))


def main() -> int:
    """Generate, then write or compare."""
    parser = argparse.ArgumentParser(description="Write the generated files.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory(prefix="acp-generate-") as folder:
        fresh = Path(folder)
        files = generate(fresh)
        if check:
            return compare(fresh, files)
        write(fresh, files)
        return 0


if __name__ == "__main__":
    sys.exit(main())
