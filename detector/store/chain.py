"""A host's snapshots are a hash chain: each has a hash over what it says, and over that of the one before.

Whoever changes, takes out or puts in one of them has to write anew the hashes of all that follow. What others remember
of these is not in reach (see docs/security.md): detection of where it stands, people of what they wrote down.

What is lost is left out, since it may become more: of a snapshot that could not be read, or that had to go unseen.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BEGIN = bytes(32)
"""Before the first snapshot of a host."""
SEALED = (
    *("seq", "start", "end", "self_test_passed", "blind_since", "late_seconds", "clock_step_seconds"),
    *("suspended_seconds", "gap_seconds", "unseen", "waited_seconds", "stopped", "mark"),
)
"""The columns of a snapshot that its hash is made of."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class BreakKind(StrEnum):
    """In what way snapshots are not those that were written."""

    MISSING = "missing"
    """They are not there, and have not expired."""
    CHANGED = "changed"
    """One does not fit to the one before it: its counts, what these are of, or its times are others, or it took the
    place of another.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """Where a host's chain does not hold."""

    host_id: int
    host: str
    kind: BreakKind
    first_seq: int
    last_seq: int
    after: datetime | None
    """The end of the last snapshot before it that is there; None: there is none."""
    until: datetime | None
    """The end of the changed one; of what is missing, the start of the next that is there; None: there is none."""


def content_hash(content: bytes, named: Iterable[Mapping[int, bytes]]) -> bytes:
    """32 bytes of a snapshot's counts.

    Args:
        content: as they are packed; empty when there are none.
        named: what the numbers in them stand for, by number: the digests of keys, of origins and of names.
    """
    state = blake2b(content, digest_size=32)
    for digests in named:
        state.update(struct.pack("<q", len(digests)))
        for number in sorted(digests):
            state.update(struct.pack("<q", number) + digests[number])
    return state.digest()


def chain_hash(before: bytes, host: str, snapshot: Mapping[str, Any], content: bytes) -> bytes:
    """32 bytes of a snapshot and all before it: BLAKE2b over its parts, each with its length.

    Args:
        before: the hash of the snapshot before, or `BEGIN`.
        host: the name of the host.
        snapshot: at least `SEALED`.
        content: see `content_hash`.
    """
    state = blake2b(digest_size=32)
    for part in (before, content, host, *(snapshot[name] for name in SEALED)):
        raw = _written(part)
        state.update(struct.pack("<q", len(raw)) + raw)
    return state.digest()


def _written(value: Any) -> bytes:
    """Each value of a column as bytes; none is those of another type, since the columns have one each."""
    match value:
        case None:
            return b"\xff"
        case bytes() | memoryview():
            return bytes(value)
        case str():
            return value.encode()
        case float():
            return struct.pack("<d", value)
        case datetime():
            return struct.pack("<q", (value - _EPOCH) // _MICROSECOND)
        case _:
            return struct.pack("<q", int(value))
