"""Builds the wheel and the source package, and checks them: `make dist`, `make dist-check`.

A build works on a copy of the checkout, with a fixed time and owner, so that the same source gives
the same bytes on every machine. The bill of materials lists what a fresh environment with the wheel
in it contains.

The check builds once from the checkout and once from the source package: equal bytes show that the
build is reproducible and that the source package is complete. It renders the long description, runs
the tests that read files inside the unpacked source package, and installs the wheel in a fresh
environment, where the README's first script has to run.
"""

from __future__ import annotations

import argparse
import gzip
import io
import shutil
import sys
import tarfile
import tempfile
import zipfile
from email import message_from_bytes
from pathlib import Path

from environments import PACKAGE, ROOT, copy_checkout, fresh_environment, install, run
from pages import code_blocks, links

# The time stamp of every file in the packages: 1 January 2020, in seconds since 1970.
EPOCH = 1_577_836_800

# Parts of the checkout that are not in the source package: they serve development only.
CHECKOUT_ONLY = (".ci/", ".github/", ".gitignore", ".pre-commit-config.yaml")

# Tests that read the files around them, which differ in a source package.
TESTS_OF_FILES = ("border", "contract", "packaging")


def build(source: Path, out: Path) -> tuple[Path, Path]:
    """Build the source package from a copy of a source tree, and the wheel from the source package.

    Args:
        source: The copy of the source tree; the build writes into it.
        out: The folder for both packages.

    Returns:
        The wheel and the source package, in `out`.
    """
    command = [sys.executable, "-m", "build", "--outdir", str(out), str(source)]
    run(command, quiet=True, more={"SOURCE_DATE_EPOCH": str(EPOCH)})
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    _make_reproducible(sdist)
    return wheel, sdist


def _make_reproducible(sdist: Path) -> None:
    """Rewrite a source package with sorted names, one time and no owner."""
    plain = io.BytesIO()
    with (
        tarfile.open(sdist) as before,
        tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as after,
    ):
        for member in sorted(before.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = EPOCH, 0, 0, "", ""
            member.pax_headers = {}
            after.addfile(member, before.extractfile(member) if member.isfile() else None)
    with sdist.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=EPOCH) as packed:
        packed.write(plain.getvalue())


def check_contents(wheel: Path, sdist: Path, checkout: Path) -> None:
    """Check that the packages hold the files of the checkout: none is missing, none is extra."""
    files = {str(path.relative_to(checkout)) for path in checkout.rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    _same("wheel", held, {name for name in files if name.startswith(f"{PACKAGE}/")})
    with tarfile.open(sdist) as tar:
        held = {name.partition("/")[2] for name in (m.name for m in tar if m.isfile())}
    held = {name for name in held if ".egg-info/" not in name} - {"PKG-INFO", "setup.cfg"}
    _same("source package", held, {name for name in files if not name.startswith(CHECKOUT_ONLY)})


def _same(what: str, held: set[str], wanted: set[str]) -> None:
    if held != wanted:
        print(
            f"the {what} lacks {sorted(wanted - held)}; it should not have {sorted(held - wanted)}"
        )
        raise SystemExit(1)
    print(f"the {what} has the {len(held)} files that it should have")


def bill_of_materials(wheel: Path, work: Path) -> Path:
    """Write a wheel's bill of materials (CycloneDX) beside it: what an install of it brings."""
    python = fresh_environment(work / "materials")
    name, version, *_ = wheel.name.split("-")
    # Found by its name: a path would be part of the bill.
    install(python, "--find-links", str(wheel.parent), f"{name}=={version}")
    bill = wheel.with_name(f"{name}-{version}.cdx.json")
    options = ["--output-reproducible", "--output-format", "JSON", "--output-file", str(bill)]
    run([sys.executable, "-m", "cyclonedx_py", "environment", *options, python], quiet=True)
    return bill


def check_description(wheel: Path, work: Path) -> None:
    """Check that no link of the long description leads to a file, which an index does not have."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        description = message_from_bytes(archive.read(name)).get_payload(decode=True)
    page = work / "description.md"
    page.write_bytes(bytes(description))
    dead = [link for link in links(page) if not link.startswith(("https://", "#"))]
    if dead:
        raise SystemExit(f"the long description has dead links: {dead}")
    print("the long description has no dead link")


def check_rebuild(wheel: Path, sdist: Path, work: Path) -> None:
    """Build from the source package and compare the bytes with the first build."""
    source = _unpack(sdist, work / "unpacked")
    _remove_additions(source)
    for again, first in zip(build(source, work / "again"), (wheel, sdist), strict=True):
        if again.read_bytes() != first.read_bytes():
            raise SystemExit(f"{first.name} is not reproducible: its second build differs")
    print("a second build, from the source package, gives the same bytes")


def check_tests(sdist: Path, work: Path) -> None:
    """Run the tests that read files, in the unpacked source package."""
    source = _unpack(sdist, work / "tested")
    names = [f"test/project/test_{name}.py" for name in TESTS_OF_FILES]
    options = ["-q", "-p", "no:cacheprovider"]
    run([sys.executable, "-m", "pytest", *options, *names], cwd=source, quiet=True)
    print("the tests of files pass in the source package")


def _unpack(sdist: Path, into: Path) -> Path:
    """Unpack a source package; return the folder with the sources."""
    with tarfile.open(sdist) as tar:
        # The filter exists in every supported patch release, and by default only from 3.14 on.
        tar.extractall(into, filter="data")
    (source,) = into.iterdir()
    return source


def _remove_additions(source: Path) -> None:
    """Remove setuptools' own files: the next build would list them as sources."""
    for name in ("PKG-INFO", "setup.cfg"):
        (source / name).unlink()
    for folder in source.glob("*.egg-info"):
        shutil.rmtree(folder)


def check_install(wheel: Path, work: Path) -> None:
    """Install the wheel as a user would, import it, and run the README's first script."""
    python = fresh_environment(work / "environment")
    install(python, str(wheel))
    run([python, "-I", "-W", "error", "-c", _IMPORTS])
    install(python, f"{wheel}[testing]")
    script = work / "first_script.py"
    script.write_text(code_blocks(ROOT / "README.md")[0].source, "utf-8")
    # The script writes a journal.
    run([python, "-I", "-W", "error", "-c", _WITH_SERVER, str(script)], cwd=work)
    print("the wheel works in a fresh environment")


_IMPORTS = f"""
import importlib.metadata, {PACKAGE}
for name in {PACKAGE}.__all__:
    getattr({PACKAGE}, name)
assert {PACKAGE}.__version__ == importlib.metadata.version("acp-client-v0-1")
"""

# The page uses the server's default port; a free port replaces it here.
_WITH_SERVER = f"""
import pathlib, sys
from {PACKAGE}.testing import LocalServer
with LocalServer() as server:
    source = pathlib.Path(sys.argv[1]).read_text("utf-8")
    exec(source.replace("http://127.0.0.1:8000", server.url), {{"__name__": "__main__"}})
"""


def check(work: Path) -> None:
    """Build, and run every check."""
    checkout = copy_checkout(work / "checkout")
    wheel, sdist = build(copy_checkout(work / "source"), work / "dist")
    check_rebuild(wheel, sdist, work)
    run([sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist)])
    if str(work).encode() in bill_of_materials(wheel, work).read_bytes():
        raise SystemExit("the bill of materials names a folder of this machine")
    check_description(wheel, work)
    check_contents(wheel, sdist, checkout)
    check_tests(sdist, work)
    check_install(wheel, work)


def main() -> None:
    """Build into dist/, or build elsewhere and check."""
    parser = argparse.ArgumentParser(description="Build or check the packages.")
    parser.add_argument("job", choices=["build", "check"])
    job = parser.parse_args().job
    with tempfile.TemporaryDirectory(prefix="acp-dist-") as folder:
        work = Path(folder)
        if job == "check":
            check(work)
            return
        wheel, sdist = build(copy_checkout(work / "source"), work / "dist")
        packages = wheel, sdist, bill_of_materials(wheel, work)
        (ROOT / "dist").mkdir(exist_ok=True)
        for path in packages:
            shutil.copy(path, ROOT / "dist")
            print(f"dist/{path.name}")


if __name__ == "__main__":
    main()
