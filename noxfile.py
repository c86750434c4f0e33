"""Runs the suite on the built wheel with the oldest and the newest dependencies: `make compat`.

    nox --list                               the sessions, one for each version and each end
    nox -s 'suite-3.12(lowest)'              one of them
    nox -k lowest --force-python PATH        an interpreter that is not on the path
    nox -k newest -- -m 'not slow'           arguments for pytest

"Oldest" means exactly the lower bounds that pyproject.toml declares, and "newest" what a user gets
who installs the package: some tools of `dev` hold other packages back. The suite runs in a copy of
the checkout without the package, so that only the installed wheel can be imported.

The first releases of a version differ from the last ones, and Linux distributions keep them for
years. That of Debian 12 runs on other machines, too, from a folder that debootstrap has made:

    debootstrap --variant=minbase --include=python3,python3-venv bookworm bookworm
"""

import atexit
import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).parent / "tools"))
from environments import PACKAGE, copy_checkout, lowest_versions
from packages import build

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "venv"
nox.options.envdir = "build/nox"
# A name on the path may be a shim of pyenv that starts nothing, so pyenv's own folders come first.
_PYENV = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
_FOLDERS = sorted(map(str, _PYENV.glob("*/bin")), reverse=True)
os.environ["PATH"] = os.pathsep.join([*_FOLDERS, os.environ["PATH"]])

VERSIONS = ["3.10", "3.11", "3.12", "3.13", "3.14", "3.15", "3.13t", "3.14t"]
ENDS = ["lowest", "newest"]
# Tests of files that the copy lacks, or that no version of a dependency changes.
LEFT_OUT = [
    f"--ignore=test/project/test_{name}.py" for name in ("border", "site", "benchmarks", "tools")
]
# The extras that users install.
OF_USERS = ("testing", "cli", "codegen", "dask", "validation", "telemetry")
# What has no wheel for an interpreter would be compiled, which needs more than Python.
ONLY_WHEELS = ("--only-binary", ":all:")
# Several packages of `dev` have no wheels for an interpreter without the GIL. These tests need
# none of them, and share the most between threads.
SHARED = ["test/http/test_rest_sharing.py", "test/streaming", "test/handles"]
ABOUT = "import sys; print('%d.%d' % sys.version_info[:2], sys.abiflags)"
FOR_SHARED = ("pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "PySocks")


@functools.cache
def wheel() -> Path:
    """Build the wheel, once for all sessions. Two runs of nox may go on at once."""
    work = Path(tempfile.mkdtemp(prefix="acp-wheel-"))
    atexit.register(shutil.rmtree, work)
    return build(copy_checkout(work / "source"), work / "dist")[0]


@nox.session(python=VERSIONS)
@nox.parametrize("versions", ENDS, ids=ENDS)
def suite(session: nox.Session, versions: str) -> None:
    """Run the suite on one interpreter with one end of the dependencies."""
    project = nox.project.load_toml()["project"]
    extras = project["optional-dependencies"]
    # With --force-python, the name of the session does not say which interpreter it has.
    version, _, abi = (session.run("python", "-c", ABOUT, silent=True) or "").partition(" ")
    wanted, tests, newest = [f"{wheel()}[dev]"], LEFT_OUT, ""
    if abi.startswith("t"):
        plain = [line for line in extras["dev"] if line.startswith(FOR_SHARED)]
        wanted, tests = [f"{wheel()}[testing,validation]", *plain], SHARED
    if versions == "lowest":
        if version == "3.15":
            session.skip("the oldest pydantic has no wheel for it")
        sdk = [line for line in extras["dev"] if line.startswith("opentelemetry-sdk")]
        bounded = [*project["dependencies"], *extras["testing"], *extras["telemetry"], *sdk]
        wanted += lowest_versions(bounded)
    elif tests is LEFT_OUT:
        session.install(*ONLY_WHEELS, f"{wheel()}[{','.join(OF_USERS)}]")
        newest = session.run("python", "-m", "pip", "freeze", silent=True) or ""
    session.install(*ONLY_WHEELS, *wanted)
    if newest:
        session.install("--no-deps", *(line for line in newest.splitlines() if "==" in line))
    with tempfile.TemporaryDirectory(prefix="acp-compat-") as folder:
        checkout = copy_checkout(Path(folder, "checkout"))
        shutil.rmtree(checkout / PACKAGE)
        with session.chdir(checkout):
            session.run(
                "pytest", "-q", "--numprocesses=auto", "--dist=worksteal", *tests, *session.posargs
            )
