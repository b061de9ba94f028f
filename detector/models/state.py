"""What the models have learnt of a host, read and written within the caller's transaction.

The cost of a snapshot depends on what is in it: only the state of the subjects that it touches is read and written,
never the history.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import Connection, select

from detector.models import blocks
from detector.models.layout import NEVER, Values, later, record
from detector.models.memory import Memory
from detector.store import bulk
from detector.store.tables import detection_cursors, model_hosts

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

LONGEST_SNAPSHOT_SECONDS = 3600.0
"""The longest interval that can be configured: a clock that jumps in the middle of a snapshot is not time observed."""

_ADMITTED_EVERY_HOURS = 24
_MARK_BYTES = 16

Part = str | bytes | int | None
"""What a subject is named by: text, a packed address or network, a port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """How much of a host was taken in."""

    observed_seconds: float = 0.0
    """Sum of the lengths of its snapshots: the clock of everything that is learnt."""
    admitted_hour: int = NEVER
    """The last observed hour with something suspicious that calibration took in; -1: none."""
    mark: bytes | None = None
    """Stands for all that was ever written of its subjects; None: nothing was. Whoever changes them changes it."""

    def admits(self, hour: int) -> bool:
        """Whether calibration takes in what is suspicious in an observed hour: of a day only one."""
        return self.admitted_hour in (NEVER, hour) or hour - self.admitted_hour >= _ADMITTED_EVERY_HOURS


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
    """The state of the subjects that one snapshot touches.

    Number the subjects, `load` them, read and change `values` by number, `touch` what was active, `save`.
    More may be numbered and loaded later; earlier numbers and changes stay.
    """

    def __init__(self, connection: Connection, host_id: int, memory: Memory | None = None) -> None:
        """`memory`: what is remembered of the host; it stands for nothing until it is saved. None: nothing is."""
        self.memory = Memory() if memory is None else memory
        """All subjects that are in memory: those of this snapshot, and others."""
        self._mark, self.memory.mark = self.memory.mark, None
        self._connection = connection
        self._host_id = host_id
        self._numbers: dict[tuple[Part, ...], int] = {}
        self._unread: list[int] = []
        # The subjects of this snapshot in the order in which they came up, those that are new to it since the last
        # load, and what they were.
        self._met: list[npt.NDArray[np.int64]] = []
        self._loaded: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
        self._is_loaded = np.zeros(0, dtype=bool)
        self._named = 0

    @property
    def values(self) -> Values:
        """By number."""
        return self.memory.values

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Which of them the store knew."""
        return self.memory.known

    @property
    def mark(self) -> bytes | None:
        """That of the store, as it was at first, or as it is once they are saved."""
        return self._mark

    def number(self, kind: str, *parts: Part) -> int:
        """The number of a subject; `kind` and `parts` together name it."""
        name = (kind, *parts)
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = self.number_of(kind, _digest(name))
        return number

    def number_of(self, kind: str, digest: bytes) -> int:
        """The number of a subject that is named by its digest."""
        number = self.memory.numbers.get(digest)
        if number is None:
            number = self.memory.add(kind, digest)
            self._unread.append(number)
        return number

    def meet(self, numbers: npt.NDArray[np.int64]) -> None:
        """Says which subjects that were numbered for an earlier snapshot are touched by this one as well."""
        self._met.append(numbers.ravel())

    def load(self) -> None:
        """Reads the state of the subjects that came up since the last load; unknown ones are all zero."""
        if self._unread:
            blocks.read(self._connection, self._host_id, self.memory, self._unread)
            self._unread = []
        self._met.append(np.array(list(self._numbers.values())[self._named :], dtype=np.int64))
        self._named = len(self._numbers)
        before, self._is_loaded = self._is_loaded, np.zeros(len(self.values), dtype=bool)
        self._is_loaded[: len(before)] = before
        fresh = np.zeros_like(self._is_loaded)
        for numbers in self._met:
            fresh[numbers] = True
        new = np.flatnonzero(fresh & ~self._is_loaded)
        self._is_loaded |= fresh
        self.memory.touch(np.flatnonzero(fresh))
        self._loaded.append((new, self.values.words[:, new]))

    def touch(self, numbers: npt.NDArray[np.int64], *, hour: int, now_seconds: float) -> None:
        """Says that subjects were active in an observed hour; each hour counts once."""
        active = np.zeros(len(self.values), dtype=bool)
        active[numbers] = True
        fresh = np.flatnonzero(active & (self.values["last_hour"] != hour))
        new = fresh[self.values["last_hour"][fresh] == NEVER]
        self.values["first_seconds"][new] = now_seconds
        self.values["hours"][fresh] += 1
        self.values["last_hour"][fresh] = hour

    def save(self) -> None:
        """Writes the subjects whose state has changed since it was read; then memory is as the store is."""
        words = self.values.words
        changed = np.concatenate(
            [numbers[(words[:, numbers] != before).any(axis=0)] for numbers, before in self._loaded]
        )
        if len(changed):
            new = np.zeros(len(self.values), dtype=bool)
            new[self.memory.homeless(changed)] = True
            met = np.concatenate(self._met)
            met = met[new[met]]
            # In the order in which they came up, whatever is in memory beside them.
            homeless = met[np.sort(np.unique(met, return_index=True)[1])]
            state = blake2b(self._mark or b"", digest_size=_MARK_BYTES)
            for content in blocks.write(self._connection, self._host_id, self.memory, changed, homeless):
                state.update(content)
            self._mark = state.digest()
        self.memory.mark = self._mark


def put_back(connection: Connection, host_id: int, kept: Iterable[tuple[str, bytes, float]]) -> None:
    """Has the store know subjects as they were, as if it were a while ago.

    Args:
        connection: the transaction.
        host_id: whose they are.
        kept: kind, what was known as `Memory.records` gives it, and how many seconds ago.
    """
    # Held, so that detection changes nothing meanwhile of what is read here.
    cursor = detection_cursors.c
    connection.execute(select(cursor.seq).where(cursor.host_id == host_id).with_for_update())
    host = load_host(connection, host_id)
    subjects, found = Subjects(connection, host_id, Memory(host.mark)), []
    for kind, content, seconds in kept:
        then = np.frombuffer(content, dtype=record(kind)).copy()
        later(then, seconds)
        found.append((subjects.number_of(kind, then["subject"][0].tobytes()), then))
    subjects.meet(np.array([number for number, _ in found], dtype=np.int64))
    subjects.load()
    for number, then in found:
        for name in (then.dtype.names or ())[1:]:
            subjects.values[name][number] = then[name][0]
    subjects.save()
    save_host(connection, host_id, replace(host, mark=subjects.mark))


def _digest(name: tuple[Part, ...]) -> bytes:
    return blake2b(b"".join(map(_written, name)), digest_size=16).digest()


# Most parts are of many names. By type as well: True and 1 are equal.
@lru_cache(maxsize=4096, typed=True)
def _written(part: Part) -> bytes:
    # Each part with its type and length: no choice of names can make two subjects one.
    content = part if isinstance(part, bytes) else b"" if part is None else str(part).encode()
    return f"{type(part).__name__}:{len(content)}:".encode() + content
