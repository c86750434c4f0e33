"""Runs the suite on the built wheel with the oldest and the newest dependencies: `make compat`.

    python tools/compat.py                            every installed interpreter, both ends
    python tools/compat.py --here --versions lowest   this interpreter, the oldest dependencies
    python tools/compat.py --also /opt/3.14t/bin/python3   one that is not on the path, as well

An interpreter is asked what it is: its name on the path may belong to a shim that starts nothing.
A table at the end says what passed, and which version was not found.

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

# Tests that read files of the checkout's package, which the copy lacks.
CHECKOUT_TESTS = (
    "--ignore=test/project/test_border.py",
    "--ignore=test/project/test_site.py",
    "--deselect=test/project/test_imports.py::test_the_package_exports_what_the_table_and_the_contract_say",
)

# Tests of files that no version of a dependency changes; `make test` runs them. The benchmarks call
# what other tests call too, and the tools are not in the wheel.
TESTS_OF_THE_REPOSITORY = (
    "--ignore=test/project/test_benchmarks.py",
    "--ignore=test/project/test_dropin_compare.py",
)

# Mark the dependencies of the extras in the metadata.
_EXTRAS = ('extra == "testing"', 'extra == "telemetry"')


def bounded_requirements() -> list[str]:
    """The requirements of the package and of its extras `testing` and `telemetry`.

    With OpenTelemetry's SDK, which goes with one version of its API only.
    """
    declared = requires("acp-client-v0-1") or []
    plain = [line for line in declared if ";" not in line]
    extras = [
        line.partition(";")[0].strip()
        for line in declared
        if any(extra in line for extra in _EXTRAS) or line.startswith("opentelemetry-sdk")
    ]
    return plain + extras


def installed(wheel: Path, interpreter: str, versions: str, folder: Path) -> Environment:
    """Install the wheel with the oldest or the newest dependencies in an environment of its own."""
    environment = Environment.create(folder, interpreter)
    pins = lowest_versions(bounded_requirements()) if versions == "lowest" else []
    # What has no wheel for an interpreter would be compiled, which needs more than Python.
    environment.install("--only-binary", ":all:", f"{wheel}[dev]", *pins)
    environment.pip("check")
    return environment


def run_suite(environment: Environment, checkout: Path) -> None:
    """Run the tests on the installed wheel, in a copy of the checkout without the package."""
    shutil.rmtree(checkout / PACKAGE)
    parallel = ["--numprocesses=auto", "--dist=loadfile"]
    left_out = CHECKOUT_TESTS + TESTS_OF_THE_REPOSITORY
    run([environment.program("pytest"), "-q", *parallel, *left_out], cwd=checkout)


def interpreters(also: list[str]) -> dict[str, str]:
    """One interpreter for each version that is installed, on the path or behind pyenv's shims."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [*also, *(f"python{version}" for version in VERSIONS)]
    candidates += map(str, sorted(pyenv.glob("versions/*/bin/python3"), reverse=True))
    found: dict[str, str] = {}
    for candidate in candidates:
        with contextlib.suppress(OSError):
            command = [candidate, "-c", _WHO]
            told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            found.setdefault(told.strip(), candidate)
    return {version: found[version] for version in VERSIONS if version in found}


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
    parser.add_argument("--also", action="append", default=[], help="an interpreter to use first")
    parser.add_argument("--versions", choices=ENDS, help="only this end")
    options = parser.parse_args()
    ends = [options.versions] if options.versions else ENDS
    found = {"here": sys.executable} if options.here else interpreters(options.also)
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory(prefix="acp-compat-") as folder:
        work = Path(folder)
        with build_environment() as environment:
            wheel, _ = build(copy_checkout(work / "source"), work / "dist", environment)
        for version, interpreter in found.items():
            rows.append((version, *(outcome(wheel, interpreter, end, work) for end in ends)))
    if not options.here:
        rows += [
            (version, *("absent" for _ in ends)) for version in VERSIONS if version not in found
        ]
    for row in [("Python", *ends), *rows]:
        print("  ".join(cell.ljust(16) for cell in row).rstrip())
    if any("failed" in row or (options.here and "cannot install" in row) for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
