"""What the models have learnt of a host, read and written within the caller's transaction.

The cost of a snapshot depends on what is in it: only the state of the subjects that it touches is read and written,
never the history.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Connection, select

from detector.store import bulk
from detector.store.tables import model_hosts, model_subjects

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

# SQLite accepts 32,766 bound parameters a statement (since 3.32), Postgres 65,535.
_LOOKUP_BATCH = 1000

LONGEST_SNAPSHOT_SECONDS = 3600.0
"""The longest interval that can be configured: a clock that jumps in the middle of a snapshot is not time observed."""

SUBJECT = np.dtype(
    [
        ("first_seconds", "f8"),
        ("hours", "i8"),
        ("last_hour", "i8"),
        ("surprise", "f8"),
        ("surprise_seconds", "f8"),
        ("weight", "f8"),
        ("mean", "f8"),
        ("hour_mean", "f8"),
        ("recent", "f8"),
        ("recent_seconds", "f8"),
    ]
)
"""The state of one subject; the columns of the table `model_subjects`."""

_NEVER = -1  # no observed hour has this number
_COLUMNS = SUBJECT.names or ()

Part = str | bytes | int | None
"""What a subject is named by: text, a packed address or network, a port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """How much of a host was taken in."""

    observed_seconds: float = 0.0
    """Sum of the lengths of its snapshots: the clock of everything that is learnt."""


def load_host(connection: Connection, host_id: int) -> HostState:
    """The host's state; that of a host never seen when there is none."""
    seconds = connection.scalar(select(model_hosts.c.observed_seconds).where(model_hosts.c.host_id == host_id))
    return HostState() if seconds is None else HostState(observed_seconds=seconds)


def save_host(connection: Connection, host_id: int, host: HostState) -> None:
    """Replaces the host's state."""
    bulk.upsert(connection, model_hosts, ("host_id", "observed_seconds"), [(host_id, host.observed_seconds)])


class Subjects:
    """The state of the subjects that one snapshot touches, as one array.

    Number the subjects, `load` them, read and change `values` by number, `touch` what was active, `save`.
    More may be numbered and loaded later; earlier numbers and changes stay.
    """

    def __init__(self, connection: Connection, host_id: int) -> None:
        self._connection = connection
        self._host_id = host_id
        self._numbers: dict[tuple[Part, ...], int] = {}
        self._digests: list[bytes] = []
        self._loaded = _unknown(0)
        self.values: npt.NDArray[Any] = _unknown(0)
        """Structured array of dtype SUBJECT, one element for each loaded subject."""
        self.known: npt.NDArray[np.bool_] = np.zeros(0, dtype=bool)
        """Which of them the store knew."""

    def number(self, kind: str, *parts: Part) -> int:
        """The number of a subject in this snapshot; `kind` and `parts` together name it."""
        name = (kind, *parts)
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._numbers)
        return number

    def load(self) -> None:
        """Reads the state of the subjects numbered since the last load; unknown ones are all zero."""
        names = list(self._numbers)[len(self.values) :]
        if not names:
            return
        digests = [_digest(name) for name in names]
        found = self._read(digests)
        values = _unknown(len(digests))
        known = np.zeros(len(digests), dtype=bool)
        for position, digest in enumerate(digests):
            if (row := found.get(digest)) is not None:
                values[position] = row
                known[position] = True
        self._digests += digests
        self._loaded = np.concatenate([self._loaded, values])
        self.values = np.concatenate([self.values, values])
        self.known = np.concatenate([self.known, known])

    def touch(self, numbers: npt.NDArray[np.int64], *, hour: int, now_seconds: float) -> None:
        """Says that subjects were active in an observed hour; each hour counts once."""
        fresh = np.unique(numbers)
        fresh = fresh[self.values["last_hour"][fresh] != hour]
        new = fresh[self.values["last_hour"][fresh] == _NEVER]
        self.values["first_seconds"][new] = now_seconds
        self.values["hours"][fresh] += 1
        self.values["last_hour"][fresh] = hour

    def save(self) -> None:
        """Writes the subjects whose state has changed since it was read."""
        changed = np.flatnonzero(self.values != self._loaded)
        if not len(changed):
            return
        kinds = [name[0] for name in self._numbers]
        rows = [
            (self._host_id, self._digests[number], kinds[number], *row)
            for number, row in zip(changed.tolist(), self.values[changed].tolist(), strict=True)
        ]
        bulk.upsert(self._connection, model_subjects, ("host_id", "subject", "kind", *_COLUMNS), rows)

    def _read(self, digests: Sequence[bytes]) -> dict[bytes, tuple[Any, ...]]:
        found: dict[bytes, tuple[Any, ...]] = {}
        columns = [model_subjects.c[name] for name in _COLUMNS]
        for start in range(0, len(digests), _LOOKUP_BATCH):
            rows = self._connection.execute(
                select(model_subjects.c.subject, *columns).where(
                    model_subjects.c.host_id == self._host_id,
                    bulk.among(self._connection, model_subjects.c.subject, digests[start : start + _LOOKUP_BATCH]),
                )
            )
            found.update({bytes(digest): tuple(state) for digest, *state in rows})
        return found


def _unknown(length: int) -> npt.NDArray[Any]:
    values = np.zeros(length, dtype=SUBJECT)
    values["last_hour"] = _NEVER
    return values


def _digest(name: tuple[Part, ...]) -> bytes:
    # Each part with its type and length: no choice of names can make two subjects one.
    raw = bytearray()
    for part in name:
        content = part if isinstance(part, bytes) else b"" if part is None else str(part).encode()
        raw += f"{type(part).__name__}:{len(content)}:".encode() + content
    return blake2b(raw, digest_size=16).digest()
