"""Every Python block of the pages runs as printed, against a local server, and its types are right.

No link is dead.

Blocks below one top-level heading build on each other, in one namespace; a new top-level heading
starts anew. So README.md and a guide tell one story each, and each operation of a reference page
stands for itself. What a page may say about a block is described in tools/pages.py.

A type checker reads each of these stories as one script, all of them in one run of mypy.

Only the host differs from the page: the address of the local server stands in for
http://127.0.0.1:8000, http://localhost:8000 and http://localhost, and ACP_HOST names it.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
import types
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pydantic
import pytest
from pages import CodeBlock, anchors, blocks_to_follow, links
from support.forks import run_in_fork
from support.timing import SetTiming

import acp_client_v0_1
import acp_client_v0_1 as acp
from acp_client_v0_1.testing import AgentContext, AgentError, Interrupt, JsonObject, LocalServer

ROOT = Path(__file__).resolve().parent.parent.parent
RECIPES = ROOT / "docs" / "guides" / "recipes.md"  # needs more packages: `make recipes` runs it
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUNNABLE = [page for page in PAGES if page != RECIPES]
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
HOST = re.compile(r"http://(?:localhost|127\.0\.0\.1)(?::8000)?(?![\w:.])")

# What the examples of the reference pages print instead of failing.
SWALLOWED = "Exception when calling"

PARTS = {
    f"{page.relative_to(ROOT)}-{part}": list(blocks)
    for page in RUNNABLE
    for part, blocks in groupby(blocks_to_follow(page), key=lambda block: block.part)
}


@pytest.fixture
def reader(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, set_timing: SetTiming
) -> Reader:
    """Someone with a server and an empty folder to work in, for whom pauses are short."""
    set_timing(
        search=1.5, backoff=(0.05, 1.0), pace=(0.01, 0.1), parked_searches=(0.1, 1.0), grace=0.5
    )
    monkeypatch.setenv("ACP_HOST", server.url)
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("documented_example")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return Reader(server.url, module)


class Reader:
    """Runs the blocks of one part of a page, one after the other, as one script."""

    def __init__(self, host: str, module: types.ModuleType) -> None:
        self.host = host
        self.module = module
        self.printed = ""

    def follow(self, block: CodeBlock) -> None:
        verb, _, rest = block.instruction.partition(" ")
        if verb == "prints":
            assert matches(HOST.sub(self.host, block.source), self.printed), (
                f"{where(block)}: the page says\n{block.source}\nand printed was\n{self.printed}"
            )
        elif verb == "raises":
            with pytest.raises(Exception) as caught:
                self.run(block)
            assert rest in {kind.__name__ for kind in type(caught.value).__mro__}
        elif verb in ("", "mistakes"):
            self.run(block)
            assert SWALLOWED not in self.printed, f"{where(block)}: {self.printed}"
        else:
            assert verb.rstrip(",") == "skip" and rest, (
                f"{where(block)}: no such instruction: {block.instruction!r}"
            )

    def run(self, block: CodeBlock) -> None:
        """Run a block at its own line numbers, so that a traceback points into the page."""
        source = "\n" * (block.line - 1) + HOST.sub(self.host, block.source)
        code = compile(source, str(block.page), "exec", dont_inherit=True)
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output):
                exec(code, self.module.__dict__)
        finally:
            self.printed = output.getvalue()


def matches(promised: str, printed: str) -> bool:
    """Whether what was printed is what the page promises; … stands for any characters."""
    pattern = ".*".join(re.escape(piece) for piece in promised.rstrip("\n").split("…"))
    return re.fullmatch(pattern, printed.rstrip("\n"), re.DOTALL) is not None


def where(block: CodeBlock) -> str:
    return f"{block.page.relative_to(ROOT)}:{block.line}"


@pytest.mark.guides
@pytest.mark.parametrize("blocks", PARTS.values(), ids=PARTS)
def test_the_blocks_run_as_printed(blocks, reader):
    for block in blocks:
        reader.follow(block)


@pytest.mark.guides
def test_the_csv_of_a_batch_stays_whole_if_the_journal_is_of_other_inputs(reader):
    blocks = blocks_to_follow(ROOT / "docs" / "guides" / "batches.md")
    (block,) = (each for each in blocks if "cities.csv" in each.source)
    with acp.ApiClient(acp.Configuration(host=reader.host)) as client:
        reader.module.__dict__["echo"] = acp.AgentHandle.find("echo", client)
        reader.run(block)
        finished = Path("out.csv").read_text("utf-8")
        other = replace(block, source=block.source.replace("Utrecht", "Delft"))
        with pytest.raises(acp.JournalMismatch):
            reader.run(other)
    assert finished and Path("out.csv").read_text("utf-8") == finished


@pytest.mark.guides
def test_the_loop_over_a_history_shows_turns_that_have_no_result(reader):
    blocks = blocks_to_follow(ROOT / "docs" / "guides" / "conversations.md")
    (block,) = (each for each in blocks if "chat.history()" in each.source)

    def turn(input: JsonObject, config: JsonObject, context: AgentContext):
        context.thread_state = {}
        if input["turn"] == "ask":
            yield Interrupt("question", {"question": "why?"})
        if input["turn"] == "fail":
            raise AgentError(7, "no luck")
        return {"done": True}

    with LocalServer() as server, acp.ApiClient(acp.Configuration(host=server.url)) as client:
        agent_id = server.register(turn, thread_state={"type": "object"})
        chat = acp.AgentHandle(agent_id, client).conversation()
        for each in ("work", "fail", "ask"):
            chat.start({"turn": each}).output(10)
        reader.module.__dict__["chat"] = chat
        reader.run(block)
    for ending in ("-> {'done': True}", "failed: no luck", "asks: {'question': 'why?'"):
        assert ending in reader.printed


@pytest.mark.guides
def test_the_recipe_of_yesterdays_failed_runs_writes_their_reasons(reader):
    blocks = blocks_to_follow(ROOT / "docs" / "guides" / "searching.md")
    (block,) = (each for each in blocks if "failed.csv" in each.source)
    assert len([line for line in block.source.splitlines() if line]) <= 8
    today = replace(block, source=block.source.replace("days=1", "days=0"))
    with acp.ApiClient(acp.Configuration(host=reader.host)) as client:
        run = acp.AgentHandle.find("failing", client).start({"description": "no luck"})
        run.output(10)
        reader.module.__dict__.update(
            client=client, iter_runs=acp.iter_runs, RunHandle=acp.RunHandle
        )
        for each, reasons in ((block, []), (today, ["no luck"])):
            reader.run(each)
            written = Path("failed.csv").read_text("utf-8").splitlines()
            mine = [row for row in written if row.startswith(f"{run.run_id},")]
            assert [row.rpartition(": ")[2] for row in mine] == reasons


@pytest.mark.guides
def test_the_examples_of_docstrings_print_what_they_say(reader):
    known = {name: getattr(acp_client_v0_1, name) for name in acp_client_v0_1.__all__}
    texts = {
        value.__qualname__: HOST.sub(reader.host, value.__doc__)
        for owner in known.values()
        for value in (owner, *(vars(owner).values() if isinstance(owner, type) else ()))
        for value in [getattr(value, "__func__", value)]
        # A class may hold an object, such as the default client, whose class has the example.
        if hasattr(value, "__qualname__")
        if str(getattr(value, "__module__", "")).startswith("acp_client_v0_1")
        if ">>>" in (value.__doc__ or "")
    }
    assert len(texts) >= 10
    said = io.StringIO()
    with acp.ApiClient(acp.Configuration(host=reader.host)) as client:
        for name in ("approval", "counter", "echo", "failing"):
            known[name] = acp.AgentHandle.find(name, client)
        marked = {"job": "nightly"}
        known["failing"].start({"description": "no luck"}, metadata=marked).output(10)
        for name, text in texts.items():
            given = {**known, "client": client, "pydantic": pydantic}
            example = doctest.DocTestParser().get_doctest(text, given, name, None, None)
            doctest.DocTestRunner().run(example, out=said.write)
    assert said.getvalue() == ""


@pytest.mark.guides
def test_the_fixture_for_the_environment_gives_each_test_its_own_server(tmp_path):
    blocks = blocks_to_follow(ROOT / "docs" / "guides" / "testing.md")
    (fixture,) = (block.source for block in blocks if "autouse=True" in block.source)
    (tmp_path / "test_script.py").write_text(
        "from acp_client_v0_1 import AgentHandle, ApiClient, Configuration\n"
        f"from acp_client_v0_1.testing import LocalServer\n{fixture}\n"
        "@pytest.mark.parametrize('number', [1, 2])\n"
        "def test_an_agent(number):\n"
        "    assert AgentHandle.find('echo').run({'n': number}, timeout=30) == {'n': number}\n",
        "utf-8",
    )
    script = ["-m", "pytest", "-p", "acp_client_v0_1.testing.pytest_plugin", "test_script.py"]
    outcome = run_in_fork(script, env=os.environ, cwd=tmp_path)
    assert "2 passed" in outcome.stdout, outcome.stdout


def test_the_pages_have_one_address_of_the_local_server():
    # For tokens and journals, another name of the host is another server.
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*/*.md")):
        assert "localhost:8000" not in page.read_text("utf-8"), page


@pytest.mark.guides
def test_a_type_checker_accepts_the_blocks(tmp_path):
    pages: dict[str, str] = {}
    for part, blocks in PARTS.items():
        name = re.sub(r"\W", "_", part)
        (tmp_path / f"{name}.py").write_text(as_script(blocks), "utf-8")
        pages[name] = str(blocks[0].page.relative_to(ROOT))
    modules = (argument for name in pages for argument in ("--module", name))
    outcome = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *modules],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    # An error is shown where it stands in the page.
    said = re.sub(r"\S*?(\w+)\.py(?=:)", lambda path: pages.get(path[1], path[0]), outcome.stdout)
    assert outcome.returncode == 0, said + outcome.stderr


def as_script(blocks: list[CodeBlock]) -> str:
    """The Python of one part, at the line numbers of the page, without what shall fail."""
    lines: list[str] = []
    for block in blocks:
        if block.language == "python" and not block.instruction.startswith("raises "):
            lines += [""] * (block.line - 1 - len(lines))
            source = block.source.splitlines()
            if block.instruction == "mistakes":  # its imports are for the blocks below as well
                source = [line if line.startswith("from ") else "" for line in source]
            lines += source
    return "\n".join(lines) + "\n"


def test_the_readme_and_its_list_of_operations_lead_to_every_page_and_operation():
    listed = ROOT / "docs" / "guides" / "operations.md"
    targets = {
        f"{(page.parent / path).resolve()}{hash_}{fragment}"
        for page in (ROOT / "README.md", listed)
        for path, hash_, fragment in (target.partition("#") for target in links(page))
    }
    pages = {target.partition("#")[0] for target in targets}
    assert set(map(str, (ROOT / "docs").rglob("*.md"))) <= pages
    for page in (ROOT / "docs").glob("*Api.md"):
        operations = {link for link in links(page) if f"{page.name}#" in link}
        assert operations and {f"{ROOT}/docs/{operation}" for operation in operations} <= targets


def test_the_pages_show_code_and_the_scripts_about_runs_are_short():
    shown = {block.page for page in RUNNABLE for block in blocks_to_follow(page)}
    assert {ROOT / "README.md", *(ROOT / "docs").glob("*Api.md")} <= shown
    for block in blocks_to_follow(ROOT / "docs" / "guides" / "runs.md"):
        lines = [line for line in block.source.splitlines() if line]
        assert block.language != "python" or len(lines) <= 6, where(block)


def test_the_page_on_compatibility_names_what_the_package_admits():
    page = (ROOT / "docs" / "guides" / "compatibility.md").read_text("utf-8")
    declared = (ROOT / "pyproject.toml").read_text("utf-8").partition("\ndependencies = [")[2]
    rows = re.findall(r"^\| ([\w-]+) \| `(\S+)` \|$", page, re.MULTILINE)
    wanted = [name + versions for name, versions in rows]
    assert wanted == re.findall(r'"(\S+)",', declared.partition("]")[0]) != []
    for text in (page, (ROOT / "README.md").read_text("utf-8")):
        pinned = re.findall(r"acp-client-v0-1\S*~=([\d.]+)", text)
        assert set(pinned) == {".".join(acp.__version__.split(".")[:2]) + ".0"}


def test_no_link_is_dead():
    assert [f"{page}: {to}" for page in LINKED for to in links(page) if is_dead(page, to)] == []
    # The README that openapi-generator writes has these.
    assert {"documentation-for-api-endpoints", "documentation-for-models"} <= anchors(LINKED[0])


def is_dead(page: Path, target: str) -> bool:
    if re.match(r"[a-z]+:", target):
        return False  # another site: not to be reached from a test
    path, _, fragment = target.partition("#")
    there = (page.parent / path).resolve() if path else page
    if not there.exists():
        return True
    return bool(fragment) and there.suffix == ".md" and fragment not in anchors(there)
