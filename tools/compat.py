"""Runs the suite on the built wheel with the oldest and the newest dependencies: `make compat`.

    python tools/compat.py                            every installed interpreter, both ends
    python tools/compat.py --here --versions lowest   this interpreter, the oldest dependencies

"Oldest" means exactly the lower bounds that pyproject.toml declares. The suite runs in a copy of
the checkout without the package, so that only the installed wheel can be imported.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import requires
from pathlib import Path

from environments import PACKAGE, Environment, copy_checkout, lowest_versions, run
from packages import build, build_environment

INTERPRETERS = ("python3.10", "python3.11", "python3.12", "python3.13", "python3.14")

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


def run_suite(wheel: Path, interpreter: str, versions: str, work: Path) -> None:
    """Install the wheel with the oldest or the newest dependencies, and run the tests on it.

    Args:
        wheel: The built wheel.
        interpreter: The Python to make the environment with.
        versions: "lowest" or "newest".
        work: An empty folder.
    """
    environment = Environment.create(work / "environment", interpreter)
    pins = lowest_versions(bounded_requirements()) if versions == "lowest" else []
    environment.install(f"{wheel}[dev]", *pins)
    checkout = copy_checkout(work / "checkout")
    shutil.rmtree(checkout / PACKAGE)
    environment.pip("check")
    parallel = ["--numprocesses=auto", "--dist=loadfile"]
    left_out = CHECKOUT_TESTS + TESTS_OF_THE_REPOSITORY
    run([environment.program("pytest"), "-q", *parallel, *left_out], cwd=checkout)


def available(interpreter: str) -> bool:
    """Whether an interpreter is installed and starts."""
    try:
        command = [interpreter, "-c", "import ensurepip"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def main() -> None:
    """Build the wheel, then run the suite in each environment."""
    parser = argparse.ArgumentParser(description="Run the suite on the built wheel.")
    parser.add_argument("--here", action="store_true", help="on this interpreter only")
    parser.add_argument("--versions", choices=["lowest", "newest"], help="only this end")
    options = parser.parse_args()
    interpreters = [sys.executable] if options.here else [i for i in INTERPRETERS if available(i)]
    with tempfile.TemporaryDirectory(prefix="acp-compat-") as folder:
        work = Path(folder)
        with build_environment() as environment:
            wheel, _ = build(copy_checkout(work / "source"), work / "dist", environment)
        for interpreter in interpreters:
            for versions in [options.versions] if options.versions else ["lowest", "newest"]:
                print(f"== {interpreter}, {versions} dependencies", flush=True)
                with tempfile.TemporaryDirectory(dir=work) as inner:
                    run_suite(wheel, interpreter, versions, Path(inner))


if __name__ == "__main__":
    main()
