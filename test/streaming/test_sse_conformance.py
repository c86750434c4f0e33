"""The parser does with every stream of the table what the standard says, however it is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from conformance_cases import CASES, Case

from acp_client_v0_1.streaming import ServerSentEvent, SSEParser

# The events, the last id and the reconnection time.
Outcome = tuple[tuple[ServerSentEvent, ...], str, int | None]


def outcome(chunks: Iterable[bytes]) -> Outcome:
    parser = SSEParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    parser.close()
    return tuple(events), parser.last_event_id, parser.retry


def unlike_the_table(attempts: Callable[[Case], Iterable[tuple[object, Outcome]]]) -> list[str]:
    """The cases of which some attempt had another outcome than the table says: one item for all."""
    return [
        f"{case.name}, {how}: {found}"
        for case in CASES
        for how, found in attempts(case)
        if found != (case.events, case.last_id, case.retry)
    ]


def test_streams_that_come_byte_by_byte_are_parsed_alike() -> None:
    assert unlike_the_table(lambda case: [("bytes", outcome(map(bytes, zip(case.stream))))]) == []


def test_streams_are_parsed_alike_at_every_split_point() -> None:
    def attempts(case: Case) -> Iterator[tuple[object, Outcome]]:
        for split in range(len(case.stream) + 1):
            yield split, outcome([case.stream[:split], case.stream[split:]])

    assert unlike_the_table(attempts) == []
