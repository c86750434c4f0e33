"""The journal's format, and the file: locked, appended to, resumed, torn and damaged."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gc
import json
import math
import os
import pickle
import random
import re
import threading
import time
import tracemalloc
import zlib
from codecs import BOM_UTF8
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.batches import in_a_child
from support.timing import using
from urllib3 import HTTPHeaderDict

import acp_client_v0_1 as acp
from acp_client_v0_1.batch import _journal
from acp_client_v0_1.batch._journal import Journal
from acp_client_v0_1.batch._lines import (
    Entry,
    Header,
    decode_failure,
    decode_line,
    encode_failure,
    encode_line,
    scan_line,
)

HEADER = Header(agent="a", server="http://h", config="digest", batch="b1")
HEADER_RECORD = {"acp-journal": 1, **dataclasses.asdict(HEADER)}
HEADER_LINE = encode_line(HEADER_RECORD)
RESULT = {"text": "naïve \u2028 \ud800", "list": [1, 2.5, None, True]}


def opened(path: Path, header: Header = HEADER, durable: bool = False) -> Journal:
    return Journal(path, header, durable)


def entries(path: Path, *indexes: int) -> list[Entry | None]:
    """Open a journal again, and read what it has of these inputs."""
    with contextlib.closing(opened(path)) as journal:
        return [journal.entry(index) for index in indexes]


def written(path: Path) -> bytes:
    """A journal with an input in each state."""
    journal = opened(path)
    for index in range(4):
        journal.starting(task(index))
    for index in range(1, 4):
        journal.started(task(index))
    journal.ended(task(2, RESULT))
    journal.ended(task(3, failure()))
    journal.close()
    return path.read_bytes()


def task(index: int, outcome: dict[str, Any] | Exception | None = None, **other: str) -> Any:
    """What a journal reads of the task of a batch."""
    texts = {name: f"{name}{index}" for name in ("key", "digest")}
    ids = {"client_token": f"token{index}", "run_id": f"run{index}", **other}
    state = {"index": index, "outcome": outcome, "started_before": False, "final": False}
    return SimpleNamespace(**{**texts, **ids, **state})


def failure() -> acp.RunFailed:
    return acp.RunFailed(run_id="run3", token="t", errcode=7, description="no\nluck")


# The format


def test_a_line_is_json_with_a_checksum_and_every_changed_byte_of_it_is_noticed():
    line = encode_line({"done": 5, "run": "r", "result": RESULT})
    assert line.endswith(b"}\n") and line.count(b"\n") == 1 and line.isascii()
    assert json.loads(line)["result"] == RESULT
    line = line.rstrip(b"\n")
    assert decode_line(line)["result"] == RESULT
    assert scan_line(line) == ("done", 5)
    changed = (
        line[:place] + bytes([other]) + line[place + 1 :]
        for place in range(len(line))
        for other in (line[place] ^ 1, line[place] ^ 0x20, 0)
    )
    for damaged in (*changed, *(line[:length] for length in range(len(line)))):
        with pytest.raises(ValueError, match="line"):
            scan_line(damaged)


def test_an_error_survives_the_journal():
    for error in (
        failure(),
        acp.RunGone(run_id="r", token="t", server="http://h"),
        acp.SchemaMismatch("input", [("input.count", "is not an integer")]),
        acp.NotFoundException(404, "Not Found", body="{}", data={}, headers=HTTPHeaderDict(a="b")),
        acp.ApiTypeError("input must be a dict", ["a", 0]),
    ):
        again = decode_failure(json.loads(json.dumps(encode_failure(error))))
        assert type(again) is type(error)
        assert (str(again), again.args) == (str(error), error.args)
        assert vars(again).keys() == vars(error).keys()
        for name in ("run_id", "errcode", "description", "status", "body"):
            assert getattr(again, name, None) == getattr(error, name, None)


def test_what_json_cannot_represent_of_an_error_costs_nothing_else():
    error = acp.ApiException(reason="no", status=404)
    error.args, error.data = (object(),), object()
    record = encode_failure(error)
    assert (record["args"], record["state"]["data"]) == ([str(error)], None)
    assert record["state"]["status"] == 404


def test_a_journal_keeps_no_header_that_no_error_needs():
    secrets = {"Set-Cookie": "session=5ecret", "X-Auth-Token": "5ecret", "Location": "/?k=5ecret"}
    headers = HTTPHeaderDict({**secrets, "x-request-id": "1", "Retry-After": "7"})
    record = encode_failure(acp.NotFoundException(404, headers=headers))
    assert "5ecret" not in encode_line(record).decode()
    again = decode_failure(record)
    assert isinstance(again, acp.ApiException) and again.headers is not None
    assert again.request_id == "1" and again.headers["Retry-After"] == "7"


def test_an_error_of_a_class_that_is_not_known_keeps_its_words():
    record = {**encode_failure(failure()), "class": "OfTheFuture"}
    assert str(decode_failure(record)) == str(failure())
    for name in ("render_path", "Sequence", "__name__"):
        assert type(decode_failure({**record, "class": name})) is acp.ApiException


@pytest.mark.parametrize("run_id", ["", "r"])
def test_a_refused_create_is_an_outcome_and_no_other_status_is(path, run_id):
    journal = opened(path)
    for status in range(400, 600):
        journal.starting(task(status))
        error = acp.ApiException(status=status)
        journal.ended(task(status, error, run_id=run_id))
    journal.close()
    kept = enumerate(entries(path, *range(400, 600)), start=400)
    failed = [status for status, entry in kept if entry and entry.state == "failed"]
    assert failed == ([] if run_id else [400, 404, 409, 413, 415, 422])


# The file


@using(calendar=lambda: 1e9)
def test_what_was_written_is_read_again(path):
    header = b'{"acp-journal":1,"agent":"a","server":"http://h","config":"'
    assert written(path).startswith(header)
    *kept, failed = entries(path, 0, 1, 2, 4, 10**9, 3)
    assert kept == [
        Entry("starting", "digest0", "token0", "", None, 1e9),
        Entry("started", "digest1", "token1", "run1", None, 1e9),
        Entry("done", "digest2", "token2", "run2", RESULT, 1e9),
        *(None, None),
    ]
    assert failed is not None and failed.state == "failed" and failed.run_id == "run3"
    assert str(failed.outcome) == str(failure())
    with contextlib.closing(opened(path)) as journal:  # a failed input can begin again
        journal.starting(task(3, client_token="token3b"))
    assert entries(path, 3) == [Entry("starting", "digest3", "token3b", "", None, 1e9)]


def test_another_agent_server_or_config_is_a_mismatch(path):
    before = written(path)
    for field in ("agent", "server", "config"):
        other = dataclasses.replace(HEADER, **{field: "other"}, batch="another")
        words = "is of another config" if field == "config" else f"of the {field} .*, not other"
        with pytest.raises(acp.JournalMismatch, match=f"{words}; use another file") as caught:
            opened(path, other)
        assert caught.value.index is None
        assert path.read_bytes() == before
    # The lock was given back, and the mark of the batch is that of the file.
    with contextlib.closing(opened(path, dataclasses.replace(HEADER, batch="another"))) as journal:
        assert journal.header.batch == "b1"


def test_an_error_of_a_journal_pickles():
    for error in (acp.JournalDamaged("m", line=7), acp.JournalMismatch("m", index=7)):
        other = pickle.loads(pickle.dumps(error))
        assert type(other) is type(error) and vars(other) == vars(error) and str(other) == "m"


def test_a_torn_last_line_is_cut_wherever_it_is_torn(path):
    whole = written(path)
    header, *lines, last = whole.splitlines(keepends=True)
    head = b"".join((header, *lines))
    for length in range(len(last) - 1):
        path.write_bytes(head + last[:length])
        (entry,) = entries(path, 3)
        assert path.read_bytes() == head
        assert entry is not None and entry.state == "started"
    torn = [(header[:n], header) for n in range(len(header) - 1)]
    for content, left in ((whole + bytes(4096), whole), *torn):
        path.write_bytes(content)
        opened(path).close()
        assert path.read_bytes() == left


def test_a_last_line_that_lacks_its_line_feed_alone_is_kept(path):
    whole = written(path)
    lines = whole.splitlines(keepends=True)
    for count in range(1, len(lines) + 1):
        kept = b"".join(lines[:count])
        path.write_bytes(kept[:-1])
        for _ in range(2):
            opened(path).close()
            assert path.read_bytes() == kept
    path.write_bytes(lines[0] + lines[1][:-1])
    (entry,) = entries(path, 0)
    assert entry is not None and (entry.state, entry.client_token) == ("starting", "token0")


def test_a_byte_order_mark_of_an_editor_is_read_past(path):
    whole = written(path)
    expected = entries(path, 0, 1, 2, 4)
    for content in (whole + b"torn", whole[:9]):
        path.write_bytes(BOM_UTF8 + content)
        found = entries(path, 0, 1, 2, 4)
        assert found == (expected if content > whole else [None] * 4)
        opened(path).close()
        assert path.read_bytes().count(BOM_UTF8) == 1


STARTING = {"starting": 0, "input": "d", "token": "t", "key": "k"}
FAILURE = encode_failure(failure())
STARTED = HEADER_LINE + encode_line(STARTING)
NEWER = encode_line({"acp-journal": 2, "other": "names"}) + encode_line({"other": "lines"})


def nested(first: bytes) -> bytes:
    body = first + b"[" * 200_000 + b"]" * 200_000
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def after_starting(record: dict[str, Any]) -> bytes:
    return STARTED + encode_line(record)


def failed(**error: Any) -> bytes:
    return after_starting({"failed": 0, "run": "r", "error": {**FAILURE, **error}})


def test_damage_is_named_and_the_file_is_left_alone(path):
    """A checksum is no signature: whoever made the file has computed it, too."""
    cases: tuple[tuple[bytes, int | None, str], ...] = (
        *(
            (content, None, "{} is not a journal of a batch; choose another name for the journal$")
            for content in (b"no newline", b"{}", b"text\n", b"\n", bytes(100), b'{"n": 1}\n')
        ),
        (NEWER, None, "the journal {} is of version 2, which .* cannot read: install a newer rel"),
        (b'{"acp-journal": 1}\n', 1, "has no checksum"),
        (b'{"acp-journal":1,' + b" " * 99_999 + b"\n", 1, "has no checksum"),
        (HEADER_LINE.replace(b'"a"', b'"b"'), 1, "does not match its checksum"),
        (encode_line({**HEADER_RECORD, "batch": 5}), 1, "the header is incomplete"),
        *(
            (HEADER_LINE + encode_line(record), 2, "is not about an input")
            for record in ({"other": 1}, {"done": -1}, {"done": "x"}, {"x": 1, "done": 1})
        ),
        (HEADER_LINE.replace(b"\n", b"\r\n"), 1, "it ends in CRLF, not in LF;"),
        (HEADER_LINE + b"\n", 2, "has no checksum"),
        (HEADER_LINE + b"{}\n" + encode_line(STARTING), 2, "has no checksum"),
        (HEADER_LINE + encode_line({"started": 0, "run": "r"}), 2, "no line that starts it"),
        (HEADER_LINE + encode_line({"starting": 0}), 2, ""),
        (HEADER_LINE + encode_line({**STARTING, "token": 7}), 2, "a text is missing"),
        (after_starting({"started": 0, "run": ["r"]}), 3, "a text is missing"),
        (after_starting({"started": 0, "run": "r"})[:-2] + b"\n", 3, "has no checksum"),
        (HEADER_LINE + encode_line(STARTING)[5:] + encode_line(STARTING), 2, "does not match"),
        (after_starting({"done": 0, "run": "r"}), 3, ""),
        (after_starting({"done": 0, "run": "r", "result": [1]}), 3, "not a JSON object"),
        (after_starting({"failed": 0, "run": "r"}), 3, ""),
        (after_starting({"failed": 0, "run": "r", "error": "no"}), 3, ""),
        (after_starting({"failed": 0, "run": "r", "error": {}}), 3, ""),
        (failed(state={}), 3, ""),
        (failed(state=[1]), 3, ""),
        (failed(args=1), 3, ""),
        (failed(state={"headers": "x"}), 3, ""),
        (nested(b'{"acp-journal":'), 1, ""),
        (STARTED + nested(b'{"done":0,"run":"r","result":'), 3, "no batch writes such a line"),
    )
    for content, line, words in cases:
        path.write_bytes(content)
        with pytest.raises(acp.JournalError) as caught:
            entries(path, 0)
        if line is None:
            assert type(caught.value) is acp.JournalError
            assert re.match(words.format(path), str(caught.value))
        else:
            assert isinstance(caught.value, acp.JournalDamaged) and caught.value.line == line
            left = "the file was left as it is: repair the line, or use another file"
            assert re.match(f"line {line} .*{words}.*{left}", str(caught.value))
        assert path.read_bytes() == content


def test_an_index_far_ahead_takes_no_memory(path):
    far = [{**STARTING, "starting": 999_999 * n} for n in range(1, 6000)]
    path.write_bytes(HEADER_LINE + b"".join(map(encode_line, far)))
    tracemalloc.start()
    journal = opened(path)
    assert tracemalloc.get_traced_memory()[1] < 6000 * 600
    tracemalloc.stop()
    found = journal.entry(59 * 999_999)
    assert found is not None and found.client_token == STARTING["token"]
    assert journal.entry(59 * 999_999 + 1) is None
    journal.close()


def test_each_bound_of_a_journal_is_the_one_that_was_chosen():
    assert (_journal._BLOCK, _journal._LONGEST_WRITE) == (16, 2.0)


def test_a_path_that_cannot_be_opened_is_named(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/null")
    for path, words in (
        (tmp_path / "fifo", f"{tmp_path}/fifo is not a regular file"),
        (tmp_path / "link", f"{tmp_path}/link is not a regular file"),
        ("/dev/zero", "/dev/zero is not a regular file"),
        # Linux lets it be opened, but not be read.
        ("/proc/self/mem", "/proc/self/mem cannot be read: Input/output error; choose another"),
        ("", "'' cannot be opened: Is a directory"),
        (f"{tmp_path}/.", "cannot be opened: Is a directory"),
        (f"{tmp_path}/a\0b", "cannot be opened: .*embedded null"),
        (f"{tmp_path}/none/journal", "none/journal' cannot be opened: there is no folder .*none"),
        (f"{tmp_path}/{'x' * 300}", "cannot be opened: File name too long"),
    ):
        with pytest.raises(acp.JournalError, match=words):
            Journal(path, HEADER, durable=False)


def test_a_journal_is_for_its_owner_only(path):
    opened(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)  # which is the user's word
    opened(path).close()
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_journal_tells_its_age_which_is_never_below_0(path):
    path.write_bytes(written(path) + b"torn")
    for age, told in ((1000, 1000), (0, 0), (-1000, 0)):
        last = time.time() - age
        os.utime(path, (last, last))
        with contextlib.closing(opened(path)) as journal:
            assert told <= journal.written_ago < told + 100
            assert age >= 0 or not journal.written_ago
    with contextlib.closing(opened(path.with_name("new"))) as journal:
        assert journal.written_ago == math.inf


def test_one_batch_at_a_time_has_a_journal(path):
    journal = opened(path)
    with pytest.raises(acp.JournalLocked, match="in use by another batch"):
        opened(path)
    child = in_a_child(lambda: opened(path))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    journal.close()
    opened(path).close()


def test_a_file_system_without_locks_is_no_other_batch(path, monkeypatch):
    def flock(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(acp.JournalError, match="cannot be locked: No locks available") as caught:
        opened(path)
    assert type(caught.value) is acp.JournalError


def test_a_forked_process_keeps_no_lock(path):
    journal = opened(path)
    (go_on, hold), (forked, ready) = os.pipe(), os.pipe()

    def work() -> None:
        os.close(hold)
        os.write(ready, b"x")
        os.read(go_on, 1)  # until the parent is done

    child = in_a_child(work)
    os.read(forked, 1)
    journal.close()
    opened(path).close()
    for fd in (hold, go_on, forked, ready):
        os.close(fd)
    os.waitpid(child, 0)


def test_a_closed_journal_takes_no_line(path):
    journal = opened(path)
    journal.close()
    journal.close()
    with pytest.raises(acp.JournalError, match="is closed"):
        journal.started(task(0))


def test_lines_of_many_threads_do_not_mix(path):
    def write(index: int) -> None:
        text = "d" * random.randrange(1, 2000)
        journal.starting(task(index, digest=text))

    with contextlib.closing(opened(path)) as journal, ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(400)))
    assert all(entries(path, *range(400)))


def test_a_full_disk_leaves_whole_lines(path, monkeypatch):
    journal = opened(path)
    whole = path.read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[: len(data) // 2]))
    with pytest.raises(OSError, match=r"only \d+ of \d+ bytes could be written"):
        journal.started(task(0))
    assert path.read_bytes() == whole
    journal.close()


def test_durable_syncs_every_line(path, monkeypatch):
    synced: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(fd), sync(fd)))
    journal = opened(path, durable=True)
    before = len(synced)
    assert before == 2  # the header, and the name in its folder
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(synced[1])  # the folder is closed again
    journal.starting(task(0))
    journal.started(task(0))
    assert len(synced) == before + 2
    journal.close()
    journal = opened(path.with_name("other"), durable=False)
    journal.starting(task(0))
    assert len(synced) == before + 2
    journal.close()


def test_a_file_is_not_closed_in_the_middle_of_a_write(path, monkeypatch):
    """Another file could get the descriptor, and then the line."""
    journal, write = opened(path), os.write
    writing, closing, descriptors = threading.Event(), threading.Event(), list[int]()

    def write_slowly(fd: int, line: bytes) -> int:
        writing.set()
        assert closing.wait(20)
        descriptors.append(os.open(path.with_name("other"), os.O_RDWR | os.O_CREAT))
        return write(fd, line)

    monkeypatch.setattr(os, "write", write_slowly)
    with ThreadPoolExecutor(2) as pool:
        written = pool.submit(journal.starting, task(0))
        assert writing.wait(20)
        closed = pool.submit(journal.close)
        time.sleep(0.1)
        closing.set()
        closed.result()
        written.result()
    os.close(descriptors[0])
    assert path.with_name("other").read_bytes() == b""
    (entry,) = entries(path, 0)
    assert entry is not None and entry.state == "starting"


def test_a_write_that_does_not_end_keeps_the_file_but_not_who_closes_it(path, monkeypatch):
    """Here the thread that closes is the one that writes, as in a garbage collection."""
    monkeypatch.setattr(_journal, "_LONGEST_WRITE", 0.05)
    journals, write = [opened(path)], os.write

    def write_and_close(fd: int, line: bytes) -> int:
        journals[0].close()
        return write(fd, line)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write_and_close)
        journals[0].starting(task(0))
    with pytest.raises(acp.JournalLocked):
        opened(path)
    journals.clear()
    gc.collect()
    assert entries(path, 0) != [None]
