"""Runs the suite on the built wheel with the oldest and the newest dependencies: `make compat`.

    python tools/compat.py                            every installed interpreter, both ends
    python tools/compat.py --here --versions lowest   this interpreter, the oldest dependencies
    python tools/compat.py --only 3.14t               one version
    python tools/compat.py --also /opt/3.14t/bin/python3   one that is not on the path, as well
    python tools/compat.py --only 3.11 --also bookworm/usr/bin/python3.11      Debian 12's 3.11.2

The tool asks each interpreter for its version: a name on the path may belong to a shim that starts
nothing. The table at the end has a row for each version, and one for each further interpreter of a
version. "absent" and "cannot install" (a package has no wheel for that interpreter) are failures
only if that version alone was named.

The first releases of a version differ from the last ones, and Linux distributions keep them for
years. That of Debian 12 runs on other machines, too, from a folder that debootstrap has made:

    debootstrap --variant=minbase --include=python3,python3-venv bookworm bookworm

"Oldest" means exactly the lower bounds that pyproject.toml declares. The suite runs in a copy of
the checkout without the package, so that only the installed wheel can be imported.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import requires
from pathlib import Path

from environments import PACKAGE, Environment, copy_checkout, lowest_versions, run
from packages import build, build_environment

VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15", "3.13t", "3.14t")
ENDS = ("lowest", "newest")

# What an interpreter says of itself: its version, "t" if it has no GIL, and that it can be used.
_WHO = """
import ensurepip, sys, sysconfig
t = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
print("%d.%d%s" % (*sys.version_info[:2], t))
"""

# Prints the versions of the dependencies that a row of the table is about.
_WITH = """
import re
from importlib.metadata import requires, version
names = [re.split("[<>=]", line)[0] for line in requires("acp-client-v0-1") if ";" not in line]
print("with", ", ".join(f"{name} {version(name)}" for name in names), flush=True)
"""

# Tests that read files of the checkout's package, which the copy lacks.
CHECKOUT_TESTS = (
    "--ignore=test/project/test_border.py",
    "--ignore=test/project/test_site.py",
)

# Tests of files that no version of a dependency changes; `make test` runs them. The benchmarks call
# what other tests call too, and the tools are not in the wheel.
TESTS_OF_THE_REPOSITORY = (
    "--ignore=test/project/test_benchmarks.py",
    "--ignore=test/project/test_tools.py",
)

# Without the GIL: the tests of what threads share. PyYAML and other packages of `dev` have
# no wheels for such an interpreter; `_FREE_THREADED` are the ones that these tests need.
FREE_THREADED_TESTS = (
    "test/http/test_rest_sharing.py",
    "test/streaming",
    "test/handles",
)
_FREE_THREADED = ("pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "PySocks")

# Mark the dependencies of the extras in the metadata.
_EXTRAS = ('extra == "testing"', 'extra == "telemetry"')


def declared() -> list[str]:
    """The requirements in the metadata; a marker says which extra one belongs to."""
    return requires("acp-client-v0-1") or []


def bounded_requirements() -> list[str]:
    """The requirements of the package and of its extras `testing` and `telemetry`.

    With OpenTelemetry's SDK, which goes with one version of its API only.
    """
    plain = [line for line in declared() if ";" not in line]
    extras = [
        line.partition(";")[0].strip()
        for line in declared()
        if any(extra in line for extra in _EXTRAS) or line.startswith("opentelemetry-sdk")
    ]
    return plain + extras


def version_of(interpreter: str) -> str:
    """What an interpreter says that it is, "3.14t" for example; "" if it cannot be used."""
    with contextlib.suppress(OSError):
        command = [interpreter, "-c", _WHO]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return ""


def installed(wheel: Path, interpreter: str, versions: str, folder: Path) -> Environment:
    """Install the wheel with the oldest or the newest dependencies in an environment of its own."""
    environment = Environment.create(folder, interpreter)
    wanted = [f"{wheel}[dev]"]
    if version_of(interpreter).endswith("t"):
        names = tuple(f"{name}{sign}" for name in _FREE_THREADED for sign in "<>=!")
        wanted = [f"{wheel}[testing,validation]"]
        wanted += [line.partition(";")[0] for line in declared() if line.startswith(names)]
    if versions == "lowest":
        wanted += lowest_versions(bounded_requirements())
    # What has no wheel for an interpreter would be compiled, which needs more than Python.
    environment.install("--only-binary", ":all:", *wanted)
    environment.pip("check")
    run([environment.program("python"), "-c", _WITH])
    return environment


def run_suite(environment: Environment, checkout: Path) -> None:
    """Run the tests on the installed wheel, in a copy of the checkout without the package."""
    shutil.rmtree(checkout / PACKAGE)
    tests: tuple[str, ...] = CHECKOUT_TESTS + TESTS_OF_THE_REPOSITORY
    if version_of(environment.program("python")).endswith("t"):
        tests = FREE_THREADED_TESTS
    parallel = ["--numprocesses=auto", "--dist=worksteal"]
    run([environment.program("pytest"), "-q", *parallel, *tests], cwd=checkout)


def interpreters(versions: Sequence[str], also: Sequence[str]) -> dict[str, str]:
    """An interpreter for each version, on the path or behind pyenv's shims; "" if there is none.

    One of ``also`` stands for its version, or by its path if that version has one.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [f"python{version}" for version in versions]
    candidates += map(str, sorted(pyenv.glob("versions/*/bin/python3"), reverse=True))
    found: dict[str, str] = {}
    for candidate in candidates:
        found.setdefault(version_of(candidate), candidate)
    rows = {version: found.get(version, "") for version in versions}
    for path in also:
        version = version_of(path)
        if not version:
            raise SystemExit(f"--also {path}: no Python that can make an environment")
        rows[path if rows.get(version) else version] = path
    return rows


def outcome(wheel: Path, interpreter: str, versions: str, work: Path) -> str:
    """Test on one interpreter with one end of the dependencies; the words for the table."""
    print(f"== {interpreter}, {versions} dependencies", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=work) as folder:
        try:
            environment = installed(wheel, interpreter, versions, Path(folder, "environment"))
        except SystemExit:  # of pip, which has said why
            return "cannot install"
        try:
            run_suite(environment, copy_checkout(Path(folder, "checkout")))
        except SystemExit:
            return "failed"
    return f"passed in {time.monotonic() - began:.0f} s"


def main() -> None:
    """Build the wheel, then run the suite in each environment; fails if one fails."""
    parser = argparse.ArgumentParser(description="Run the suite on the built wheel.")
    parser.add_argument("--here", action="store_true", help="on this interpreter only")
    parser.add_argument("--only", choices=VERSIONS, help="on this version only")
    parser.add_argument("--also", action="append", default=[], help="a further interpreter")
    parser.add_argument("--versions", choices=ENDS, help="only this end")
    options = parser.parse_args()
    ends = [options.versions] if options.versions else ENDS
    if options.here:
        found = {"here": sys.executable}
    else:
        found = interpreters([options.only] if options.only else VERSIONS, options.also)
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory(prefix="acp-compat-") as folder:
        work = Path(folder)
        with build_environment() as environment:
            wheel, _ = build(copy_checkout(work / "source"), work / "dist", environment)
        for version, interpreter in found.items():
            results = (
                outcome(wheel, interpreter, end, work) if interpreter else "absent" for end in ends
            )
            rows.append((version, *results))
    for row in [("Python", *ends), *rows]:
        print("  ".join(cell.ljust(16) for cell in row).rstrip())
    one = options.here or options.only
    wrong = {"failed", "cannot install", "absent"} if one else {"failed"}
    if any(wrong.intersection(row) for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
