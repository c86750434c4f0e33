"""The file of ``--results``, to which a batch appends its outcomes.

A batch that continues by its journal gives all its outcomes again, and a killed one can leave a
part of a line. So with a journal, an outcome that the file has is not written again: an outcome is
its index, key, run and status. The run tells batches apart that share a file, and the status an
outcome that was final from one that was not.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from argparse import Namespace
from array import array
from bisect import bisect_left
from typing import BinaryIO

import acp_client_v0_1 as acp

# A final outcome up to its status, as `_commands` writes it: the words of an error may differ when
# they come from the journal. Of any other line all counts, as a run may ask another question.
_FINAL = re.compile(rb'\{"index":.*?,"status":(?:"success"|"error"|"timeout"|"gone"|null)')


def opened_results(options: Namespace, inputs: BinaryIO) -> BinaryIO:
    """Open the file, which must be neither the journal nor the inputs."""
    if options.format == "json" or (options.format == "text" and options.journal):
        wanted = "jsonl or id" if options.journal else "jsonl, text or id"
        raise acp.ApiValueError(
            f"--results needs --format {wanted}, whose outcomes can be appended"
        )
    # Results may be private. Unbuffered, so that a record that fails can be taken back.
    file = open(options.results, "ab", 0, opener=lambda path, flags: os.open(path, flags, 0o600))  # noqa: SIM115
    ours, others = os.fstat(file.fileno()), {"the inputs": os.fstat(inputs.fileno())}
    if options.journal and os.path.exists(options.journal):
        others["--journal"] = os.stat(options.journal)
    for name, other in others.items():
        if stat.S_ISREG(ours.st_mode) and os.path.samestat(ours, other):
            file.close()
            raise acp.ApiValueError(f"--results and {name} are the same file: use another one")
    return file


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Written:
    """The outcomes that a file has, as 8 bytes each. A torn last line is cut off.

    Only whoever has the journal may make it: another batch may be writing that line.
    """

    def __init__(self, path: str) -> None:
        digests: list[int] = []
        if os.path.isfile(path):
            with open(path, "r+b") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        file.truncate(file.tell() - len(line))
                        break
                    digests.append(_digest(line))
        self._digests = array("Q", sorted(digests))

    def __contains__(self, line: bytes) -> bool:
        digest = _digest(line)
        at = bisect_left(self._digests, digest)
        return at < len(self._digests) and self._digests[at] == digest


def _digest(line: bytes) -> int:
    final = _FINAL.match(line)
    outcome = final[0] if final else line
    return int.from_bytes(hashlib.blake2b(outcome, digest_size=8).digest(), "big")
