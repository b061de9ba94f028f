"""What the models have learnt of a host, read and written within the caller's transaction.

The cost of a snapshot depends on what is in it: only the state of the subjects that it touches is read and written,
never the history.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Connection, select

from detector.store import bulk
from detector.store.tables import model_hosts, model_subjects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

# SQLite accepts 32,766 bound parameters a statement (since 3.32), Postgres 65,535.
_LOOKUP_BATCH = 1000

BIN_SECONDS = 300.0
"""The length of the periods that a pair's activity is counted by: see `rhythm`."""

LONGEST_SNAPSHOT_SECONDS = 3600.0
"""The longest interval that can be configured: a clock that jumps in the middle of a snapshot is not time observed."""

_NEWNESS = ("surprise", "surprise_seconds", "last_seconds", "flagged")
_VOLUME = ("weight", "mean", "hour_mean", "recent", "recent_seconds", "earlier")
_RHYTHM = ("bins", "last_bin", "interval", "interval_spread", "intervals")
_OUTCOMES = ("failed_recent", "ended_recent", "outcome_seconds")
_TOTALS = ("failed", "ended")
_SPREAD = ("new_minute", "new_hour", "new_day", "spread_seconds")
_EVIDENCE = ("evidence", "evidence_seconds")

SUBJECT = np.dtype(
    [
        ("first_seconds", "f8"),
        ("hours", "i8"),
        ("last_hour", "i8"),
        *(
            (name, "f8")
            for part in (_NEWNESS, _VOLUME, _RHYTHM, _OUTCOMES, _TOTALS, _SPREAD, _EVIDENCE)
            for name in part
        ),
    ]
)
"""The state of one subject. What of it a kind of subject has is in `LAYOUT`; the rest is 0."""
_MOMENTS = tuple(name for name in SUBJECT.names or () if name.endswith("_seconds"))

LAYOUT: Mapping[str, tuple[str, ...]] = {
    # Each by the file that learns it: novelty and ageing, baseline, rhythm, failures, spread, evidence, actors.
    "pair": (*_NEWNESS, *_VOLUME, *_RHYTHM),
    "destination": (*_NEWNESS, *_OUTCOMES, *_TOTALS, *_SPREAD, *_EVIDENCE),
    "port": (*_OUTCOMES, *_SPREAD),
    "host": (*_VOLUME, *_TOTALS),
    "traffic": _VOLUME,
    "executable": _NEWNESS,
    "user": _NEWNESS,
    "executable_destination": _NEWNESS,
    "user_destination": _NEWNESS,
    "population": ("weight",),
    "habit": ("weight",),
}
"""What is stored of each kind beside `first_seconds`, `hours` and `last_hour`, in this order, as little-endian
doubles in the column `state`. Kinds that are not named have nothing more."""

_ADMITTED_EVERY_HOURS = 24
_NEVER = -1  # no observed hour has this number

Part = str | bytes | int | None
"""What a subject is named by: text, a packed address or network, a port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """How much of a host was taken in."""

    observed_seconds: float = 0.0
    """Sum of the lengths of its snapshots: the clock of everything that is learnt."""
    admitted_hour: int = -1
    """The last observed hour with something suspicious that calibration took in; -1: none."""

    def admits(self, hour: int) -> bool:
        """Whether calibration takes in what is suspicious in an observed hour: of a day only one."""
        return self.admitted_hour in (_NEVER, hour) or hour - self.admitted_hour >= _ADMITTED_EVERY_HOURS


_HOST_COLUMNS = tuple(field.name for field in fields(HostState))


def load_host(connection: Connection, host_id: int) -> HostState:
    """The host's state; that of a host never seen when there is none."""
    columns = model_hosts.c
    row = connection.execute(
        select(*(columns[name] for name in _HOST_COLUMNS)).where(columns.host_id == host_id)
    ).first()
    return HostState() if row is None else HostState(**row._mapping)


def save_host(connection: Connection, host_id: int, host: HostState) -> None:
    """Replaces the host's state."""
    bulk.upsert(connection, model_hosts, ("host_id", *_HOST_COLUMNS), [(host_id, *astuple(host))])


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
        by_kind: dict[str, list[int]] = {}
        for position, digest in enumerate(digests):
            if digest in found:
                known[position] = True
                by_kind.setdefault(names[position][0], []).append(position)  # type: ignore[arg-type]
        for kind, positions in by_kind.items():
            _unpack(kind, values, positions, [found[digests[position]] for position in positions])
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
        kinds = [str(name[0]) for name in self._numbers]
        by_kind: dict[str, list[int]] = {}
        for number in changed.tolist():
            by_kind.setdefault(kinds[number], []).append(number)
        rows = [
            (self._host_id, self._digests[number], kind, *stored)
            for kind, numbers in by_kind.items()
            for number, stored in zip(numbers, _pack(kind, self.values, numbers), strict=True)
        ]
        names = ("host_id", "subject", "kind", "first_seconds", "hours", "state")
        bulk.upsert(self._connection, model_subjects, names, rows)

    def stored(self, numbers: npt.NDArray[np.int64]) -> list[StoredSubject]:
        """What the store has of subjects; those that it does not know are left out."""
        names = list(self._numbers)
        by_kind: dict[str, list[int]] = {}
        for number in np.unique(numbers[self.known[numbers]]).tolist():
            by_kind.setdefault(str(names[number][0]), []).append(number)
        return [
            StoredSubject(self._digests[number], kind, *stored)
            for kind, of_kind in by_kind.items()
            for number, stored in zip(of_kind, _pack(kind, self._loaded, of_kind), strict=True)
        ]

    def _read(self, digests: Sequence[bytes]) -> dict[bytes, _Stored]:
        found: dict[bytes, _Stored] = {}
        columns = model_subjects.c
        for start in range(0, len(digests), _LOOKUP_BATCH):
            rows = self._connection.execute(
                select(columns.subject, columns.first_seconds, columns.hours, columns.state).where(
                    columns.host_id == self._host_id,
                    bulk.among(self._connection, columns.subject, digests[start : start + _LOOKUP_BATCH]),
                )
            )
            found.update({bytes(digest): (first, hours, bytes(state)) for digest, first, hours, state in rows})
        return found


_Stored = tuple[float, int, bytes]
"""The columns `first_seconds`, `hours` and `state` of a subject."""


@dataclass(frozen=True, slots=True)
class StoredSubject:
    """A subject as the store has it."""

    subject: bytes
    kind: str
    first_seconds: float
    hours: int
    state: bytes

    def later(self, seconds: float) -> StoredSubject:
        """The same as it would be had all of it happened so much later."""
        values = _unknown(1)
        _unpack(self.kind, values, [0], [(self.first_seconds, self.hours, self.state)])
        for name in _MOMENTS:
            values[name] += seconds
        values["last_bin"] += seconds // BIN_SECONDS
        return StoredSubject(self.subject, self.kind, *_pack(self.kind, values, [0])[0])


def put_back(connection: Connection, host_id: int, subjects: Sequence[StoredSubject]) -> None:
    """Has the store know subjects as they were."""
    names = ("host_id", "subject", "kind", "first_seconds", "hours", "state")
    bulk.upsert(connection, model_subjects, names, [(host_id, *astuple(each)) for each in subjects])


@cache
def _record(kind: str) -> np.dtype[Any]:
    return np.dtype([("last_hour", "<i8"), *((name, "<f8") for name in LAYOUT.get(kind, ()))])


def _pack(kind: str, values: npt.NDArray[Any], numbers: Sequence[int]) -> list[_Stored]:
    record = _record(kind)
    chosen = values[list(numbers)]
    packed = np.empty(len(chosen), dtype=record)
    for name in record.names or ():
        packed[name] = chosen[name]
    raw, size = packed.tobytes(), record.itemsize
    states = (raw[start : start + size] for start in range(0, len(raw), size))
    return list(zip(chosen["first_seconds"].tolist(), chosen["hours"].tolist(), states, strict=True))


def _unpack(kind: str, values: npt.NDArray[Any], positions: Sequence[int], stored: Sequence[_Stored]) -> None:
    record = _record(kind)
    packed = np.frombuffer(b"".join(state for _, _, state in stored), dtype=record)
    where = list(positions)
    values["first_seconds"][where] = [first for first, _, _ in stored]
    values["hours"][where] = [hours for _, hours, _ in stored]
    for name in record.names or ():
        values[name][where] = packed[name]


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
