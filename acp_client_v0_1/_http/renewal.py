"""Asks the functions of the user's that give credentials, such as a token that expires.

Strategy: one thread of a client asks at a time. The others wait in a line (`Slots`), and take what
was given while they waited. So threads that need a new token at the same time get the same one, and
a function that keeps its token needs no lock.

Invariants: no lock is held while a function runs. A thread waits for another one until the deadline
of its call, and no longer. A call that a function makes by the same client asks for nothing: it has
only the credentials that no function gives. If a function raises an exception, only the call that
has asked gets it, and the next thread of the line asks again.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from dataclasses import replace

from acp_client_v0_1._deadline import Deadline
from acp_client_v0_1._errors import calling_function
from acp_client_v0_1._http.call import Call
from acp_client_v0_1._http.headers import Asking, CredentialSource, checked_headers
from acp_client_v0_1._http.slots import Slot, Slots
from acp_client_v0_1.exceptions import ApiTimeoutError


class Renewal:
    """The credentials that the functions of one client give. Threads can share it."""

    def __init__(self) -> None:
        # The line of each process. A fork may leave threads of the parent in the parent's line.
        self._lines: dict[int, Slots] = {}
        # What was given last, and by which configuration. A new object each time, so that a thread
        # sees whether there was another one meanwhile.
        self._last: tuple[CredentialSource | None, Mapping[str, str]] = None, {}

    def prepared(
        self, call: Call, asking: Asking, refused: Mapping[str, str] | None = None
    ) -> Call:
        """Return a call with new credentials, which another thread may have asked for.

        ``refused`` are the credentials that a 401 has refused.
        """
        given = self.ask(asking.source, call.deadline, refused)
        if given is None:
            within = f"within the call's {call.timeout.total:.5g} s"
            reason = f"no credentials {within}: a function that gives them runs in another thread"
            raise ApiTimeoutError(reason=reason, method=call.method, url=call.target.url)
        headers = checked_headers(asking.write(given))
        return replace(call, headers=headers, asking=replace(asking, given=given))

    def ask(
        self,
        source: CredentialSource,
        deadline: Deadline,
        refused: Mapping[str, str] | None = None,
    ) -> Mapping[str, str] | None:
        """Return the credentials of ``source``, or None if the deadline passes before.

        After a 401, these are other credentials than those that it has ``refused``, if there are.
        """
        line = self._lines.setdefault(os.getpid(), Slots(1))
        before, slot = self._last, Slot()
        ref = weakref.ref(slot)
        try:
            if not line.enter(slot):
                if line.is_nested(slot):
                    return source.auth_headers(ask=False)
                if not line.wait(slot, deadline):
                    return None
            last = self._last
            meanwhile = last is not before if refused is None else last[1] != refused
            if last[0] is source and meanwhile:
                return last[1]
            self._last = last = source, _asked(source, forget=refused is not None)
            return last[1]
        finally:
            # A traceback may keep this frame alive. It must not keep the place in the line.
            del slot
            line.leave(ref)


def _asked(source: CredentialSource, *, forget: bool) -> Mapping[str, str]:
    with calling_function():
        if forget:
            source.forget_credentials()
        return checked_headers(source.auth_headers())
