"""The promises that every call keeps, whatever the server shows of a run.

Each function checks one promise, and says where nobody can keep it: a run is told from another one
by what the server shows, and some servers show nothing.
"""

from __future__ import annotations

import math
from typing import Any

from simulation.world import SEARCH, World, check

import acp_client_v0_1 as acp


def shows_nothing(world: World) -> bool:
    """Tell whether what the server shows may make one run look like another one."""
    character = world.character
    # A token says nothing of the values of its run.
    tells_apart = character.marks_others if world.by_token else character.tells_apart
    if not tells_apart and (character.mixes or (character.counts and world.is_restarted)):
        # The response to a create is believed if it hides its mark and shows no other values, and
        # so is a run that has the id now.
        return True
    # A replica that lags may answer the control, and so may a server that has just restarted. Then
    # the server seems to compare metadata.
    stale = any(one.name == SEARCH and one.fault == "stale" for one in world.sent)
    lags = stale or world.is_restarted
    return lags and not character.compares and not character.marks_others


def is_doubted(world: World) -> bool:
    """Tell whether the response to a create may seem to be of another run."""
    character = world.character
    rewrites = character.quirks.echo_input in ("converted", "masked")
    return bool(character.mixes) or (rewrites and not character.shows)


def nobody_can_tell(world: World, number: int, at: float = math.inf) -> bool:
    """Tell whether the run of an input may be taken for another one that has its id.

    ``at`` is when the client did so.
    """
    # A run of this client is read again only after a request about it was lost or not sent.
    ours = [run for run in world.all if run.ours and run.number == number]
    noticed = [when for run in ours for when in run.failures if when >= world.restarted_at]
    comes_again = world.character.counts and world.is_restarted
    return shows_nothing(world) or (comes_again and min(noticed, default=math.inf) >= at)


def check_result(world: World, number: int, result: object) -> None:
    """No call returns the output of the run of another input."""
    fits = result == {"n": number} or nobody_can_tell(world, number)
    check(fits, f"the result of another run: {result}, not {number}")


def check_handle(world: World, number: int, handle: acp.RunHandle) -> None:
    """No call takes the run of another input for its own."""
    ours = world.is_of(handle.run_id, number)
    # A run that was forgotten before the call ended has given its id away.
    check(ours or nobody_can_tell(world, number), f"{handle.run_id} is not of input {number}")


def check_others(world: World) -> None:
    """Nothing of others is deleted or answered."""
    for run in world.all:
        if not run.ours and run.touched_at < math.inf:
            # Only a run of ours that has the same id was meant.
            meant = {one.number for one in world.all if one.ours and one.run_id == run.run_id}
            mistaken = any(nobody_can_tell(world, number, run.touched_at) for number in meant)
            mistaken = mistaken or shows_nothing(world)
            check(mistaken, f"the run of somebody else was touched: {run.run_id}")


def check_made(world: World, number: int, most: int = 1) -> None:
    """A call makes at most one run of an input."""
    made = world.made_for(number)
    check(len(made) <= most, f"{len(made)} runs were created for input {number}")


def check_open(world: World, client: Any, number: int, error: acp.ApiException) -> None:
    """The token of an error that leaves a create open finds its run, or says that nobody can."""
    made = world.made_for(number)
    check(bool(error.token) or not made, f"a run was made, and the error has no token: {error}")
    if not error.token:
        return
    world.recover()
    try:
        found = acp.RunHandle.from_token(error.token, client)
    except acp.RunStartAmbiguous as ambiguous:
        there = [run.run_id for run in made if run.is_there(world.now)]
        check(not (there and world.character.finds), f"{there} is there: {ambiguous}")
        return
    check_handle(world, number, found)
