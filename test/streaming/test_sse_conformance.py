"""The parser does with every stream of the table what the standard says, however it is cut."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import pytest
from conformance_cases import CASES, Case
from reference_parser import ReferenceParser

from acp_client_v0_1.streaming import ServerSentEvent, SSEParser

SEED = 20_260_101


def outcome(chunks: Iterable[bytes]) -> tuple[tuple[ServerSentEvent, ...], str, int | None]:
    parser = SSEParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    parser.close()
    return tuple(events), parser.last_event_id, parser.retry


def random_chunks(stream: bytes, generator: random.Random) -> Iterator[bytes]:
    begin = 0
    while begin < len(stream):
        size = generator.choice((0, 1, 1, 2, 3, 5, 8, 13, 40, 200))
        yield stream[begin : begin + size]
        begin += size


every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_the_table_is_large_and_its_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES) > 300


@every_case
def test_whole(case: Case) -> None:
    assert outcome([case.stream]) == (case.events, case.last_id, case.retry)


@every_case
def test_byte_by_byte(case: Case) -> None:
    chunks = [bytes([byte]) for byte in case.stream]
    assert outcome(chunks) == (case.events, case.last_id, case.retry)


@every_case
def test_every_split_point(case: Case) -> None:
    stream = case.stream
    for split in range(len(stream) + 1):
        chunks = [stream[:split], stream[split:]]
        assert outcome(chunks) == (case.events, case.last_id, case.retry), split


@every_case
def test_random_chunks(case: Case) -> None:
    generator = random.Random(SEED)
    for _ in range(20):
        chunks = list(random_chunks(case.stream, generator))
        assert outcome(chunks) == (case.events, case.last_id, case.retry), chunks


@every_case
def test_the_reference_agrees(case: Case) -> None:
    reference = ReferenceParser()
    for byte in case.stream:
        reference.push(byte)
    assert tuple(reference.events) == case.events
    assert reference.last_event_id == case.last_id
    assert reference.reconnection_time == case.retry


@pytest.mark.parametrize("first", CASES[::7], ids=lambda case: case.name)
def test_one_parser_after_another_shares_nothing(first: Case) -> None:
    assert outcome([first.stream]) == outcome([first.stream])
    assert outcome([b"data: a\n\n"]) == ((ServerSentEvent("message", "a", ""),), "", None)
