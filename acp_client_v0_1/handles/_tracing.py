"""The span of a run: its start or the first wait begins it, the awaited outcome ends it.

Invariant: without an observer, no function here does more than look for one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from acp_client_v0_1._http.observer import RunSpan
    from acp_client_v0_1.handles._link import RunLink
    from acp_client_v0_1.handles.agent import AgentHandle
    from acp_client_v0_1.handles.run import RunHandle

__all__ = ["awaited", "end_run", "in_run", "keep_span", "new_run"]

H = TypeVar("H", bound="RunHandle")
P = ParamSpec("P")
T = TypeVar("T")

_NOTHING: AbstractContextManager[None] = nullcontext()


def new_run(
    agent: AgentHandle, thread_id: str | None = None
) -> AbstractContextManager[RunSpan | None]:
    """Begin the span of a run around its create, which ends the span if it fails."""
    observer = agent.runs.api_client.rest_client.observer
    if observer is None:
        return _NOTHING
    about = agent._agent.known  # pyright: ignore[reportPrivateUsage]
    return _creating(observer.run(agent.agent_id, thread_id or "", agent=about))


@contextmanager
def _creating(span: RunSpan) -> Generator[RunSpan]:
    with span.active():
        try:
            yield span
        except BaseException as error:
            span.end(error)
            raise


def in_run(link: RunLink, *, waits: bool = False) -> AbstractContextManager[object]:
    """Make requests in the ``with`` block children of a run's span.

    With ``waits``, a run without a span gets one.
    """
    observer = link.runs.api_client.rest_client.observer
    if observer is None:
        return _NOTHING
    if link.span is None and waits:
        linked = link.traceparent
        keep_span(link, observer.run(link.agent_id, link.thread_id, linked=linked))
    return _NOTHING if link.span is None else link.span.active()


def keep_span(link: RunLink, span: RunSpan) -> None:
    """Begin to use a span for a run."""
    span.started(link.run_id)
    link.span, link.traceparent = span, span.traceparent


def end_run(link: RunLink, outcome: object) -> None:
    """End the span of a run, if it has one.

    The outcome is a result, a `RunOutput`, an exception, or the name of a status, "" for none.
    """
    span = link.span
    if span is not None and not span.end(outcome):
        link.span = None


def awaited(method: Callable[Concatenate[H, P], T]) -> Callable[Concatenate[H, P], T]:
    """End the span of a handle's run with the outcome of a method."""

    @functools.wraps(method)
    def wait(self: H, /, *args: P.args, **kwargs: P.kwargs) -> T:
        link = self._link  # pyright: ignore[reportPrivateUsage]
        if link.runs.api_client.rest_client.observer is None:
            return method(self, *args, **kwargs)
        with in_run(link, waits=True):
            try:
                outcome = method(self, *args, **kwargs)
            except BaseException as error:
                end_run(link, error)
                raise
        end_run(link, outcome)
        return outcome

    return wait
