"""A batch without a journal: items, order, drawing, questions, time, progress, arguments."""

from __future__ import annotations

import contextlib
import gc
import io
import itertools
import json
import os
import pickle
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from support.batches import (
    answer,
    beside,
    creates,
    in_a_child,
    numbers,
    obedient,
    threads_of_batches,
    until,
    wait_for,
)
from support.forks import printed_by
from support.parts import Interruptible
from support.timing import using
from tqdm import tqdm

import acp_client_v0_1 as acp
from acp_client_v0_1.testing import AgentDefinition, Fault


def test_each_input_has_one_item(agent, server):
    assert list(agent.map([])) == [] and server.requests == ()
    items = list(agent.map(numbers(20), config={"c": 1}, metadata={"m": 2}))
    assert sorted(item.index for item in items) == list(range(20))
    for item in items:
        assert item.result() == {"n": item.index, "answers": [], "c": 1}
        assert (item.key, item.outcome) == (str(item.index), item.result())
    assert len({item.run_id for item in items}) == 20
    sent = creates(server)
    assert len(sent) == 20 and len(server.requests) == 40
    tokens = {body["metadata"]["acp-client-token"] for body in sent}
    assert len(tokens) == 20 and all(re.fullmatch("[0-9a-f]{32}", token) for token in tokens)
    polls = [request for request in server.requests if request.path.endswith("/output")]
    assert {request.query for request in polls} == {"block_timeout=30"}
    assert len({body["metadata"]["acp-batch"] for body in sent}) == 1
    assert all(body["metadata"]["m"] == 2 for body in sent)
    assert threads_of_batches() == []


def test_an_input_may_be_none_or_a_model_or_dataclass(server, agent):
    @dataclass
    class OfData:
        n: int

    class OfModel(BaseModel):
        n: int

    schema = {"type": "object", "required": ["n"], "properties": {"n": {"maximum": 7}}}
    agent_id = server.register(obedient, name="strict", input=schema)
    strict = acp.AgentHandle(agent_id, agent.runs.api_client)
    inputs = [OfData(7), OfModel(n=7), OfData(8), None]
    *items, refused, empty = strict.map(inputs, check=True, ordered=True)
    assert [item.result()["n"] for item in items] == [7, 7]
    assert [item.input for item in items] == [{"n": 7}, {"n": 7}]
    assert [type(item.error) for item in (refused, empty)] == [acp.SchemaMismatch] * 2
    assert len(creates(server)) == 2
    assert [item.result()["n"] for item in agent.map([None])] == [None]


def spoil(value: Any) -> None:
    """Change all that can be changed in a value, as deep as it goes."""
    for inner in [*value.values()] if isinstance(value, dict) else [*value]:
        if isinstance(inner, (dict, list)):
            spoil(inner)
    if isinstance(value, dict):
        value["n"] = "spoilt"
    else:
        value.append("spoilt")


DEEP: dict[str, Any] = {"p": {"x": [1, None, {"y": "é"}]}, "q": [[], {}]}


@pytest.mark.parametrize("concurrency", [1, 4])
def test_what_a_caller_changes_later_changes_nothing(agent, server, executor, path, concurrency):
    """Results, items and journal are of the values at the call, whatever changes and when."""
    inputs = [{**deepcopy(DEEP), "n": n, "ask": 1} for n in range(3)]
    later, config, metadata = deepcopy(inputs), deepcopy(DEEP), deepcopy(DEEP)
    shared: dict[str, Any] = {}

    def changing() -> Iterator[dict[str, Any]]:
        for each in inputs:
            shared.clear()
            shared.update(each)
            yield shared
            spoil(shared)

    def reply(question: acp.PendingInterrupt) -> dict[str, Any]:
        spoil(config)
        spoil(question.payload)
        question.payload["is"] = DEEP
        return question.payload

    options: Any = {"concurrency": concurrency, "executor": executor, "on_interrupt": reply}
    batch = agent.map(changing(), config=config, metadata=metadata, journal=path, **options)
    spoil(config)
    spoil(metadata)
    items = sorted(batch, key=lambda item: item.index)
    answers = [{"number": 0, "n": "spoilt", "is": DEEP}]
    expected = [{"n": n, "answers": answers, **DEEP} for n in range(3)]
    assert [item.input for item in items] == later
    assert [item.result() for item in items] == expected
    made = sorted(creates(server), key=lambda body: body["input"]["n"])
    assert [body["input"] for body in made] == later
    assert all(body["config"] == DEEP for body in made)
    assert all(body["metadata"].items() >= DEEP.items() for body in made)
    again = agent.map(later, config=DEEP, journal=path, ordered=True)
    assert [item.outcome for item in again] == expected and len(creates(server)) == 3


def test_what_was_given_is_sent_though_it_changes_during_a_pause(agent, server, set_timing):
    def sleep(seconds: float, stop: threading.Event | None) -> bool:
        spoil(values)
        time.sleep(seconds)
        return False

    set_timing(sleep=sleep)
    known = {"x": {"y": [1]}}
    calls: list[Callable[..., Any]] = [agent.start, agent.run, agent.conversation().start]
    for call in [*calls, lambda input, **more: list(agent.map([input], **more))]:
        server.faults.add(Fault(method="POST", path="/runs", status=429, retry_after=0.1))
        values = {name: json.loads(json.dumps(known)) for name in ("input", "config", "metadata")}
        with suppress(acp.ApiException):  # the agent has no threads
            call(values["input"], **{name: values[name] for name in ("config", "metadata")})
        limited, sent = creates(server)[-2:]
        assert limited == sent and sent["input"] == sent["config"] == known
        assert sent["metadata"]["x"] == known["x"]


OF_EACH_KIND: list[Any] = [{"n": 0}, {"n": 1, "fail": True}, {"n": 2, "ask": 1}, "text", {1: {2}}]


def test_failures_are_values_and_each_item_pickles_and_is_a_record_of_json(agent, server):
    items = list(agent.map(OF_EACH_KIND, ordered=True))
    assert items[0].ok and items[0].error is None and items[0].result()["n"] == 0
    kinds = [acp.RunFailed, acp.RunInterrupted, acp.ApiTypeError, acp.ApiValueError]
    for item, kind in zip(items[1:], kinds, strict=True):
        assert isinstance(item.outcome, kind)
        assert not item.ok and item.error is item.outcome
        with pytest.raises(kind) as caught:
            item.result()
        assert caught.value is item.outcome
        again = pickle.loads(pickle.dumps(item))
        assert isinstance(again, acp.BatchItem)
        assert (again.index, str(again.error)) == (item.index, str(item.error))
    assert pickle.loads(pickle.dumps(items[0])) == items[0]
    failed = items[1].outcome
    assert isinstance(failed, acp.RunFailed) and failed.errcode == 7
    assert failed.run_id == items[1].run_id
    assert len(creates(server)) == 3 and items[3].run_id == ""
    assert str(items[3].outcome).startswith("input 3 must be a JSON object (dict), not str; is it")
    assert str(items[4].outcome) == "input 4: keys must be str, got int 1"
    records = [item.to_dict() for item in items]
    statuses = ["success", "error", "interrupted", None, None]
    assert [record["status"] for record in records] == statuses
    assert [record["index"] for record in records] == [0, 1, 2, 3, 4]
    assert records[2]["run_id"] == items[2].run_id and "type" in records[2]["interrupt"]
    assert records[4] == {
        "index": 4, "key": "4", "run_id": "", "status": None, "error": str(items[4].error),
    }  # fmt: skip
    assert [json.loads(item.to_json()) for item in items] == records
    strange = acp.BatchItem(0, "ß", "r", {}, {"half": "\ud800"})
    assert strange.to_json().encode().startswith('{"index":0,"key":"ß"'.encode())
    assert json.loads(strange.to_json()) == strange.to_dict()
    with pytest.raises(ValueError, match="not JSON"):
        acp.BatchItem(0, "0", "r", {}, {"n": float("nan")}).to_json()
    # The error of a callback may have such an attribute, which is not about the run.
    vars(own := OSError("disk full"))["status_name"] = "success"
    assert acp.BatchItem(0, "0", "r", {}, own).to_dict()["error"] == "disk full"


def test_ordered_draws_on_while_the_first_is_slow_and_past_items_that_have_their_outcomes(agent):
    """Up to twice the concurrency; each that a journal has took half a second."""
    for concurrency, unsent, drawn in ((4, 0, 8), (6, 7, 12)):
        inputs = [{"n": 0, "seconds": 0.8}, *({"n": object()} for _ in range(unsent))]
        inputs += numbers(100 - len(inputs))
        with agent.map(iter(inputs), ordered=True, concurrency=concurrency) as batch:
            assert next(batch).index == 0
            assert batch.counts.drawn == drawn
            assert [item.index for item in batch] == list(range(1, 100))


@pytest.mark.parametrize("concurrency", [1, 3, 40])
def test_no_input_is_drawn_before_it_is_needed(agent, path, concurrency):
    drawn = delivered = 0

    def inputs() -> Iterator[dict[str, Any]]:
        nonlocal drawn
        for n in range(60):
            drawn += 1
            assert drawn - delivered <= concurrency
            yield {"n": n}

    batch = agent.map(inputs(), concurrency=concurrency, journal=path)
    assert drawn == 0
    for _ in batch:
        delivered += 1
    assert (drawn, delivered) == (60, 60)
    drawn = delivered = 0
    with agent.map(inputs(), concurrency=concurrency, journal=path) as again:
        assert next(again).ok and drawn == 1


@pytest.mark.parametrize(("concurrency", "threads"), [(32, 32), (33, 25), (40, 25)])
def test_a_small_batch_has_a_thread_a_run_and_a_large_one_25(agent, server, concurrency, threads):
    counted: list[int] = []
    batch = agent.map(numbers(concurrency, seconds=30), concurrency=concurrency)

    def count() -> None:
        wait_for(lambda: len(creates(server)) == concurrency)
        counted.append(len(threads_of_batches()))
        batch.close()

    with beside(count):
        assert list(batch) == []
    assert counted == [threads]


def test_an_input_that_is_run_again_is_checked_too(server, agent, path):
    for options, checked in (({}, False), ({"retry_failed": True, "check": True}, True)):
        list(agent.map([{"fail": True}], journal=path, **options))  # type: ignore[arg-type]
        assert any(each.path.endswith("/descriptor") for each in server.requests) is checked
    assert len(creates(server)) == 2


def test_key_names_an_item(agent):
    items = list(agent.map(numbers(3), key=lambda value: f"number {value['n']}", ordered=True))
    assert [item.key for item in items] == ["number 0", "number 1", "number 2"]
    with pytest.raises(acp.ApiTypeError, match="key must return a str, not int"):
        list(agent.map(numbers(3), key=lambda value: value["n"]))
    with pytest.warns(UserWarning, match="inputs 0 and 1 have the same key, 'a'") as warned:
        assert len(list(agent.map(numbers(3), key=lambda value: "a"))) == 3
    assert len(warned) == 1


# Questions


def test_a_question_that_is_not_answered_is_the_outcome_of_its_run_alone(agent, server):
    def refuse(question: acp.PendingInterrupt) -> None:
        raise LookupError(question.type)

    server.faults.add(Fault(method="POST", path="/runs/*", status=405, times=None))
    for callback, kind, words in (
        (refuse, LookupError, "number"),
        (lambda question: None, acp.RunInterrupted, "gave None"),
        (answer, acp.ApiException, "405"),
    ):
        inputs = [{"n": 0, "ask": 1}, {"n": 1}]
        first, second = agent.map(inputs, ordered=True, on_interrupt=callback)
        with pytest.raises(kind, match=words):
            first.result()
        assert second.result()["n"] == 1


# Time


@pytest.mark.slow
def test_a_run_has_its_time_to_the_end_and_is_not_polled_in_a_hot_loop(agent, server):
    """Polls that end early, also when more of the time is over than is left."""
    server.faults.add(Fault(path="/runs/*/output", block="never", times=None))
    (item,) = agent.map([{"n": 0, "seconds": 1.2}], timeout=2.6)
    assert item.result()["n"] == 0
    assert len(server.requests) < 12


def test_a_full_long_poll_is_followed_by_the_next_without_a_pause(agent, server, set_timing):
    slept: list[float] = []
    set_timing(window=1, sleep=lambda seconds, stop: bool(slept.append(seconds)))
    (item,) = agent.map([{"n": 0, "seconds": 1.3}])
    assert item.ok and len(server.requests) >= 3 and slept == []


@pytest.mark.slow
def test_after_an_answer_the_time_of_an_output_begins_again(agent):
    def answer_late(question: acp.PendingInterrupt) -> dict[str, Any]:
        time.sleep(1.7)
        return {"to": 1}

    (item,) = agent.map([{"n": 0, "ask": 1}], timeout=1.5, on_interrupt=answer_late)
    assert item.result()["answers"] == [{"to": 1}]


@pytest.mark.slow
def test_a_run_out_of_its_own_time_or_deleted(server, agent):
    brief = AgentDefinition(function=obedient, name="brief", timeout=0.2)
    server.register(brief)
    (item,) = acp.AgentHandle.find("brief", agent.runs.api_client).map([{"n": 0, "seconds": 30}])
    assert isinstance(item.outcome, acp.RunTimedOut)

    def delete() -> None:
        wait_for(lambda: len(pending(agent)) == 1)
        agent.runs.delete_run(pending(agent)[0].run_id)

    with beside(delete):
        (item,) = agent.map([{"n": 0, "seconds": 30}])
    assert isinstance(item.outcome, acp.RunGone)


# Progress


def test_progress_is_told_every_change(agent):
    told: list[acp.BatchCounts] = []
    inputs = [{"n": 0}, {"n": 1, "fail": True}, {"n": 2}]
    batch = agent.map(inputs, progress=told.append)
    list(batch)
    assert told[-1] == batch.counts == acp.BatchCounts(3, 3, 0, done=2, failed=1, duplicates=0)
    assert all(counts.drawn - counts.in_flight == counts.done + counts.failed for counts in told)
    assert {counts.total for counts in told} == {3}
    assert len(set(told)) == len(told)


def test_the_total_may_be_unknown_or_given(agent):
    inputs: Any
    for inputs, total, expected in (
        *((iter([]), None, None), (iter([]), 5, 5)),
        *(([{}, {}], None, 2), ([{}, {}], 5, 5)),
    ):
        with agent.map(inputs, total=total) as batch:
            assert batch.counts.total == expected
    batch = acp.Batch(agent, iter([{"n": 1}]))  # as `map` makes it
    assert repr(batch) == "<Batch: 0 done, 0 failed, 0 in flight>"
    list(batch)
    assert batch.counts.total == 1
    assert repr(batch) == "<Batch: 1 done, 0 failed, 0 in flight of 1>"


@pytest.mark.slow
@using(backoff=(0.05, 0.1), search=0.5)
def test_an_outage_is_a_bars_to_show_and_no_change_for_a_function(agent, server, capsys):
    told: list[acp.BatchCounts] = []
    bar = agent.map(numbers(2), concurrency=1, progress=True)
    function = agent.map(numbers(2), concurrency=1, progress=told.append)
    with bar, function:
        next(bar)
        next(function)
        server.faults.add(Fault(status=502, times=None))
        with beside(server.faults.clear, after=2.5), ThreadPoolExecutor(1) as pool:
            other = pool.submit(next, function)
            assert next(bar).ok and other.result().ok
    assert re.search(r"server fails for=[1-9] s", capsys.readouterr().err)
    assert told and len(set(told)) == len(told)


def test_progress_true_draws_a_bar_a_few_times_a_second(agent, capsys, executor):
    list(agent.map(numbers(3), progress=True, executor=executor))
    drawn = capsys.readouterr()
    assert drawn.out == "" and "3/3" in drawn.err and "in flight=0, failed=0" in drawn.err
    assert not re.search("fails for|duplicates", drawn.err) and drawn.err.endswith("\n")
    list(agent.map(numbers(3), progress=False))
    assert capsys.readouterr().err == ""
    inputs: Any = ["is no JSON object"] * 300
    assert len(list(agent.map(inputs, progress=True, executor=executor))) == 300
    shown = capsys.readouterr().err
    assert shown.count("\r") < 150 and "failed=300" in shown


@pytest.mark.parametrize("how", ["none", "closed", "full", "no reader", "the reader goes"])
def test_a_stderr_that_cannot_be_written_ends_no_batch(agent, monkeypatch, how):
    if how == "full" and not Path("/dev/full").exists():
        pytest.skip("needs a device that is always full")
    reader, writer = os.pipe()
    if how == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), writer)
    stream: Any = os.fdopen(writer, "w", buffering=1)
    if how == "closed":
        stream.close()
    if how != "the reader goes":
        os.close(reader)
    monkeypatch.setattr(sys, "stderr", None if how == "none" else stream)
    done = 0
    for item in agent.map(numbers(20), progress=True):
        done += item.ok
        if done == 5 and how == "the reader goes":
            os.close(reader)
    assert done == 20
    # Another thread can still show a bar.
    other = threading.Thread(target=tqdm(file=io.StringIO()).refresh, daemon=True)
    other.start()
    other.join(20)
    assert not other.is_alive()
    with contextlib.suppress(OSError):
        stream.close()


def test_a_missing_package_is_named_by_the_call_that_needs_it(agent, monkeypatch):
    for name in ("tqdm", "tqdm.auto", "jsonschema_rs"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(acp.ApiValueError, match=r"acp-client-v0-1\[cli\]"):
        agent.map(numbers(3), progress=True)
    with ThreadPoolExecutor(1) as pool:  # whose processes may have other packages
        agent.map(numbers(3), executor=pool, check=True).close()
    agent.map(numbers(3)).close()


# Ending


@pytest.mark.parametrize(("on_stop", "left"), [("leave", 20), ("cancel", 0)])
def test_leaving_early_ends_threads_and_leaves_or_deletes_the_runs(agent, server, on_stop, left):
    inputs = [*numbers(20, seconds=30), {"n": 20}]
    with agent.map(inputs, concurrency=40, on_stop=on_stop) as batch:
        assert next(batch).index == 20
        wait_for(lambda: len(creates(server)) == 21)
    assert threads_of_batches() == []
    assert batch.counts.in_flight == 20
    assert len(pending(agent)) == left
    batch.close()
    assert next(batch, None) is None


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [4, 40])
def test_close_awaits_threads_and_gives_a_create_a_moment(agent, server, set_timing, concurrency):
    """The run of a create that was interrupted would be unknown, and continue."""
    looks, closing = itertools.count(), list[float]()
    set_timing(grace=60, threads=60, now=lambda: time.monotonic() + 0 * next(looks))
    set_timing(short_window=30)
    inputs = [*numbers(concurrency), *numbers(concurrency, seconds=60)]
    batch = agent.map(inputs, concurrency=concurrency, on_stop="cancel")
    create: dict[str, Any] = {"method": "POST", "path": "/runs"}
    server.faults.add(Fault(**create, times=2 * concurrency - 1), Fault(**create, delay=0.7))

    def close() -> None:  # by a thread that holds no poll
        wait_for(lambda: len(creates(server)) == 2 * concurrency)
        closing.append(time.monotonic())
        batch.close()

    with beside(close):
        assert len(list(batch)) <= concurrency
    assert time.monotonic() - closing[0] < 20  # a long poll takes 30 s
    assert threads_of_batches() == [] and pending(agent) == []
    assert next(looks) < 2000  # it has waited without a hot loop


def test_a_thread_may_drop_its_attempt_while_the_end_of_the_batch_looks_at_it(agent, monkeypatch):
    reads = itertools.count()

    def attempt(calls: Interruptible) -> Any:
        ends = threading.current_thread() is threading.main_thread()
        return None if ends and next(reads) == 1 else vars(calls)["attempt"]

    def keep(calls: Interruptible, attempt: Any) -> None:
        vars(calls)["attempt"] = attempt

    batch = agent.map([{"n": 0, "seconds": 30}, {"n": 1}])
    assert next(batch).index == 1
    monkeypatch.setattr(Interruptible, "attempt", property(attempt, keep), raising=False)
    batch.close()
    assert next(reads) > 1 and threads_of_batches() == []


@using(pace=(30, 30))
def test_a_batch_that_is_closed_while_requests_wait_for_their_turn_raises_nothing(agent, server):
    server.faults.add(Fault(method="POST", path="/runs", status=429, times=1))
    batch = agent.map(numbers(6), concurrency=2)
    with beside(batch.close, after=0.6):
        assert all(item.ok for item in batch)


@using(grace=0.3)
def test_a_large_batch_that_is_closed_begins_nothing_more(agent, server, path):
    server.faults.add(Fault(method="POST", path="/runs", delay=1, times=None))
    batch = agent.map(numbers(40), concurrency=40, journal=path)
    with beside(batch.close, after=0.3):
        assert list(batch) == []
    assert path.read_bytes().count(b'"starting"') <= 24


def test_a_batch_that_nobody_closes_keeps_no_program_from_ending(server):
    script = (
        "from acp_client_v0_1 import *\n"
        f"client = ApiClient(Configuration(host={server.url!r}))\n"
        "batch = AgentHandle.find('obedient', client).map([{}, {'seconds': 60}])\n"
        "print(next(batch).ok)\n"
    )
    assert printed_by(script) == "True\n"


def test_a_batch_may_begin_in_a_thread_after_the_end_of_the_main_thread(server):
    script = (
        "import sys, threading; before = {*sys.modules}; from acp_client_v0_1 import *\n"
        "client = ApiClient(Configuration(host=sys.argv[1]))\n"
        "def work():\n"
        "    threading.main_thread().join()\n"
        "    agent = AgentHandle.find('obedient', client)\n"
        "    done = [item.ok for item in agent.map([{}, {}])]\n"
        "    print(done, 'multiprocessing' in sys.modules.keys() - before)\n"
        "threading.Thread(target=work).start()\n"
    )
    command = [sys.executable, "-c", script, server.url]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=50)
    if "can't create new thread at interpreter shutdown" in ended.stderr:
        pytest.skip("this CPython, such as 3.12.1, starts no thread then")
    assert ended.stdout == "[True, True] False\n", ended.stderr


def test_a_batch_that_is_interrupted_says_what_it_has_done(agent, path):
    def until_interrupted() -> Iterator[dict[str, Any]]:
        yield from ({"n": 0}, {"n": 1, "fail": True})
        raise KeyboardInterrupt

    said = "^stopped after 2 of 2 drawn inputs; 0 runs are still in flight"
    for journal, more in ((None, "$"), (path, ": the same again continues with the journal")):
        with pytest.raises(KeyboardInterrupt, match=said + more):
            list(agent.map(until_interrupted(), concurrency=1, journal=journal))
    words = "stopped after 0 of 0 drawn inputs; 0 runs are still in flight$"
    with pytest.raises(KeyboardInterrupt, match=words), agent.map([{}]):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt, match=r"^mine") as mine, agent.map([{}]):
        raise KeyboardInterrupt("mine")
    assert mine.value.args == ("mine",)
    if sys.version_info >= (3, 11):
        assert mine.value.__notes__[0].startswith("stopped after 0 of 0")
    words = "; 1 run is still in flight on the server: with a journal, the same again would"
    # The long run comes first, so that both inputs are drawn before the first item is there.
    inputs = [{"n": 0, "seconds": 30}, {"n": 1}]
    with pytest.raises(KeyboardInterrupt, match=words), agent.map(inputs) as batch:
        next(batch)
        wait_for(lambda: len(pending(agent)) == 1)
        raise KeyboardInterrupt


@pytest.mark.parametrize("fault", [{"status": 403}, {"cut": "stall"}], ids=str)
@using(cancel=0.5)
def test_a_run_that_cannot_be_deleted_is_counted(agent, server, caplog, fault):
    server.faults.add(Fault(method="DELETE", times=None, **fault))
    batch = agent.map([{"n": 0, "seconds": 30}, {"n": 1}], on_stop="cancel")
    with pytest.raises(KeyboardInterrupt, match="; 1 run is still in flight"), batch:
        next(batch)
        wait_for(lambda: len(pending(agent)) == 1)
        raise KeyboardInterrupt
    assert sum("could not be deleted" in words for words in caplog.messages) == 1


def test_a_batch_is_iterated_over_once(agent, server):
    batch = agent.map(numbers(3))
    assert next(batch).ok
    assert len(list(batch)) == 2  # one iteration goes on
    with pytest.raises(acp.ApiValueError, match=r"is over: AgentHandle.map\(\) makes another"):
        list(batch)
    assert next(batch, None) is None and len(creates(server)) == 3


def test_a_batch_that_is_dropped_without_having_run_warns(agent, server):
    with pytest.warns(RuntimeWarning, match="nothing starts until you iterate over it") as told:
        agent.map(numbers(3))
        gc.collect()
    assert [one.filename for one in told] == [__file__]  # the line that has dropped it
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        agent.map(numbers(3)).close()
        with agent.map(numbers(3)):
            pass
        for _ in agent.map([{"n": 0}, {"n": 1, "seconds": 30}]):
            break
        gc.collect()
        assert threads_of_batches() == []
    assert [str(one.message) for one in caught if one.category is RuntimeWarning] == []


def test_the_journal_is_opened_by_the_first_next(agent, path):
    batch = agent.map(numbers(2), journal=path)
    assert batch.counts.in_flight == 0 and not path.exists()
    agent.map(numbers(2), journal=path).close()
    assert not path.exists()
    assert next(batch).ok and path.exists() and len(list(batch)) == 1


@pytest.mark.parametrize("closer", ["progress", "inputs", "on_interrupt", "thread"])
def test_a_batch_that_is_closed_during_next_ends(agent, closer):
    def close(*_: Any) -> None:
        batch.close()

    def close_when_all_are_drawn() -> None:
        wait_for(lambda: batch.counts.drawn == 3)
        close()

    def inputs() -> Iterator[dict[str, Any]]:
        yield {"n": 0, "seconds": 30, "ask": 1}
        # The question comes after all inputs are drawn.
        yield {"n": 1, "ask": 1, "seconds": 0.3}
        if closer == "inputs":
            close()
        yield {"n": 2, "seconds": 30}

    batch = agent.map(
        inputs(),
        progress=(lambda counts: counts.drawn == 3 and close()) if closer == "progress" else None,
        on_interrupt=close if closer == "on_interrupt" else lambda question: {},
    )
    with beside(close_when_all_are_drawn if closer == "thread" else bool):
        assert 0 not in [item.index for item in batch]
    assert batch.counts.drawn == (2 if closer == "inputs" else 3)


@using(grace=0.3)
def test_a_run_that_asks_is_cancelled_too(server, agent):
    """The batch ends while a look at the run, before its question is asked, has no response."""
    look = Fault(method="GET", path="/runs/*", cut="stall", times=1)
    server.faults.add(look)
    inputs = [{"n": 0, "ask": 1}, {"n": 1, "seconds": 0.5}]
    with agent.map(inputs, on_stop="cancel") as batch:
        assert next(batch).index == 1
        wait_for(lambda: any(request.fault is look for request in server.requests))
    assert [run["status"] for run in server.runs] == ["success"]


def test_a_fork_leaves_the_runs_of_its_parent_alone(agent, server):
    def interrupt() -> None:
        with pytest.raises(KeyboardInterrupt, match=r"; 0 runs are still in flight$"), batch:
            raise KeyboardInterrupt
        with pytest.raises(acp.ApiValueError, match="belongs to another process"):
            next(batch)
        assert len(list(fresh)) == 1 and threads_of_batches() == []

    # The child may iterate over a batch that its parent has not begun to iterate over.
    fresh = agent.map(numbers(1))
    with agent.map([{"n": 0, "seconds": 30}, {"n": 1}], on_stop="cancel") as batch:
        assert next(batch).index == 1
        child = in_a_child(interrupt)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(pending(agent)) == 1
    assert pending(agent) == []
    fresh.close()


def pending(agent: acp.AgentHandle) -> list[Any]:
    return agent.runs.search_runs({"status": "pending", "limit": 1000})


# Arguments


def test_what_cannot_be_is_refused_at_once(agent, server):
    for arguments, kind, words in (
        ({"concurrency": 0}, acp.ApiValueError, "concurrency must be at least 1, not 0"),
        ({"timeout": -1}, acp.ApiValueError, "timeout"),
        ({"on_stop": "wait"}, acp.ApiValueError, "on_stop must be"),
        ({"unclear": "stop"}, acp.ApiValueError, 'unclear must be "raise" or "start"'),
        ({"retry_failed": True}, acp.ApiValueError, "retry_failed is for .* pass journal="),
        ({"connect": lambda: None}, acp.ApiValueError, "pass executor="),
        ({"progress": "bar"}, acp.ApiTypeError, "progress must be True, for a bar, or a function"),
        ({"config": "{}"}, acp.ApiTypeError, "config must be a JSON object .* json.loads"),
        ({"config": {"a": object()}}, acp.ApiValueError, r"config\['a'\]: object is not JSON"),
    ):
        with pytest.raises(kind, match=words):
            agent.map([], **arguments)  # type: ignore[arg-type]
    assert server.requests == ()


# A batch that is cancelled and cannot write its journal


def test_a_full_disk_prevents_no_deletion_and_is_raised(agent, server, executor, path, monkeypatch):
    """There are more runs than threads that delete them, or tasks that have not begun."""
    write = os.write

    def inputs() -> Iterator[dict[str, Any]]:
        yield from numbers(30, seconds=60)
        wait_for(lambda: len(creates(server)) == (30 if executor is None else 8))
        monkeypatch.setattr(os, "write", write_if_there_is_room)
        raise LookupError("no more")

    def write_if_there_is_room(fd: int, data: bytes) -> int:
        if bytes(data).startswith(b'{"starting"'):
            raise OSError(28, "No space left on device")
        return write(fd, data)

    batch = agent.map(inputs(), journal=path, concurrency=31, executor=executor, on_stop="cancel")
    with pytest.raises(OSError, match="No space left"):
        next(batch)
    assert len(creates(server)) == (30 if executor is None else 8) and pending(agent) == []


@pytest.mark.parametrize("concurrency", [2, 40])
@using(grace=0.2)
def test_a_run_whose_create_was_interrupted_is_said_to_be_maybe_started(agent, server, concurrency):
    """The server has made the run, and its response is slow."""
    server.faults.add(Fault(method="POST", path="/runs", after_wire_bytes=0, cut="stall", times=1))
    inputs = until(lambda: len(server.runs) == 1, [{"seconds": 60}], KeyboardInterrupt())
    began = time.monotonic()
    words = "; 0 runs are still in flight, and 1 more may have been started on the server: with a"
    with pytest.raises(KeyboardInterrupt, match=words):
        next(agent.map(inputs, concurrency=concurrency))
    assert time.monotonic() - began < 20  # a call may wait for 60 s
    assert threads_of_batches() == []
