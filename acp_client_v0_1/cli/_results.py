"""The file of ``--results``, to which a batch appends its outcomes.

A batch that continues by its journal gives all its outcomes again. So with a journal, a line is not
written again if the file has the same outcome. Two outcomes are the same if their index, key, run
and status are equal. The run differs if another batch has written to the same file. The status
differs if the earlier outcome was not final.

A batch that was killed can leave a part of a line. With a journal, this part is cut off.

Anything else in the file is somebody's own work. So a file with any other line is refused before
anything is sent.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from argparse import Namespace
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, BinaryIO

from acp_client_v0_1._contract import FINAL
from acp_client_v0_1._text import HARMLESS_ID
from acp_client_v0_1.cli._arguments import WrongUsage

# This matches the line of a final outcome, up to its status. The rest of the line does not count,
# because an error may have other words when it comes from the journal. A line that does not match
# counts as a whole. For example, a run may be interrupted twice, with two questions. A question may
# have a status of its own, so only the first status of a line counts.
_STATUS = f'"({"|".join(sorted(FINAL))}|gone)"|null'
_FINAL = re.compile(rf'\{{"index":((?!,"status":).)*,"status":({_STATUS})'.encode())


class Results(io.FileIO):
    """The file. With a journal, it takes each line once. It is not buffered."""

    def __init__(self, options: Namespace, inputs: BinaryIO) -> None:
        if options.format in ("json", "text"):
            raise WrongUsage("--results needs --format jsonl or id, which can be appended")
        if options.results == "-":
            raise WrongUsage("--results names a file; without it, results are printed")
        # Results may be private, so only the owner may read a file that is made here.
        try:
            super().__init__(options.results, "a", opener=partial(os.open, mode=0o600))
        except OSError as error:
            raise WrongUsage(f"{options.results} cannot be opened: {error.strerror}") from error
        self._has_journal = options.journal is not None
        # The digests of the lines that the file has, 8 bytes each, sorted.
        self._written = array("Q")
        ours, others = os.fstat(self.fileno()), {"the inputs": os.fstat(inputs.fileno())}
        if options.journal and os.path.exists(options.journal):
            others["--journal"] = os.stat(options.journal)
        for name, other in others.items():
            if stat.S_ISREG(ours.st_mode) and os.path.samestat(ours, other):
                self.close()
                raise WrongUsage(f"--results and {name} are the same file: name another")
        # With a journal, the last record may be torn, because the batch writes it again.
        form = rb'\{"index":|\{"?i?n?d?e?x?"?\Z' if options.journal else rb'\{"index":.*\n'
        if options.format == "id":
            form = HARMLESS_ID.pattern.encode() + (rb"(\n|\Z)" if options.journal else rb"\n")
        with open(self.name if stat.S_ISREG(ours.st_mode) else os.devnull, "rb") as lines:
            if not all(map(re.compile(form).match, lines)):
                self.close()
                raise WrongUsage(f"{self.name} has other lines than results: name another file")

    def after_journal(self, outcomes: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield outcomes, and read the file before the first one.

        By then the batch has locked its journal. So no other batch with this journal writes to the
        file.
        """
        for number, outcome in enumerate(outcomes):
            if number == 0 and self._has_journal and os.path.isfile(self.name):
                self._read_written()
            yield outcome

    def _read_written(self) -> None:
        """Remember the lines that the file has, and cut off a torn last line."""
        digests: list[int] = []
        with open(self.name, "rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    digests.append(_digest(line))
                else:
                    self.truncate(lines.tell() - len(line))
        self._written = array("Q", sorted(digests))

    def write(self, line: Any) -> int:
        digest = _digest(line)
        at = bisect_left(self._written, digest)
        if self._written[at : at + 1] == array("Q", [digest]):
            return len(line)
        return super().write(line)


def _digest(line: bytes) -> int:
    final = _FINAL.match(line)
    outcome = final[0] if final else line
    return int.from_bytes(hashlib.blake2b(outcome, digest_size=8).digest(), "big")
