"""What a worker remembers of a host's subjects from one snapshot to the next, so that it need not be read again.

A memory is a copy of one state of the store, which it knows by its mark (see `state.HostState`): whoever finds another
mark there begins with an empty one. So nothing that another worker did, that was rolled back, forgotten or restored
from a backup is overlooked.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.models.layout import BLOCK, record, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    import numpy.typing as npt

_NOWHERE = -1
_DIGEST_BYTES = 16
_MOST = 131_072
"""More subjects and keys are not kept in memory, over all hosts: at most some 60 MB."""


class Memory:
    """Subjects of one host, each with a number of its own for as long as the memory lasts."""

    def __init__(self, mark: bytes | None = None) -> None:
        self.mark = mark
        """The state of the store that this is a copy of; None while it is being changed."""
        self.facts: dict[tuple[int, datetime], int] = {}
        """By number and first appearance of a key, the row of `of_keys` that holds what never changes of it."""
        self.of_keys: npt.NDArray[np.int64] | None = None
        """See `facts`."""
        self.numbers: dict[bytes, int] = {}
        """By digest."""
        self._digests: list[bytes] = []
        self._kinds: list[str] = []
        self._values = unknown(0)
        self._known = np.zeros(0, dtype=bool)
        # By number the row of `_blocks` and `_places` that has it: the block's number in the store, who is where in it.
        self._rows = np.zeros(0, dtype=np.int64)
        self._blocks: list[int] = []
        self._places = np.zeros((0, BLOCK), dtype=np.int64)

    @property
    def size(self) -> int:
        """How many subjects and keys there are."""
        return len(self._kinds) + len(self.facts)

    @property
    def values(self) -> npt.NDArray[Any]:
        """Of dtype SUBJECT, by number; to be changed in place."""
        return self._values[: len(self._kinds)]

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """By number, whether the store has it."""
        return self._known[: len(self._kinds)]

    def add(self, kind: str, digest: bytes) -> int:
        """Gives a subject a number; nothing is known of it yet."""
        number = self.numbers[digest] = len(self._kinds)
        self._digests.append(digest)
        self._kinds.append(kind)
        if number >= len(self._values):
            more = max(1024, number)
            self._values = np.concatenate([self._values, unknown(more)])
            self._known = np.concatenate([self._known, np.zeros(more, dtype=bool)])
            self._rows = np.concatenate([self._rows, np.full(more, _NOWHERE)])
        return number

    def digest(self, number: int) -> bytes:
        """What stands for a subject in the store."""
        return self._digests[number]

    def records(self, numbers: npt.NDArray[np.int64]) -> Iterator[tuple[bytes, str, bytes]]:
        """Subjects one by one: digest, kind, and what is known as it would be stored."""
        for number in numbers.tolist():
            kind, one = self._kinds[number], np.zeros(1, dtype=record(self._kinds[number]))
            for name in (one.dtype.names or ())[1:]:
                one[name] = self._values[name][number]
            one["subject"] = np.frombuffer(self._digests[number], dtype="V16")
            yield self._digests[number], kind, one.tobytes()

    def fill(self, kind: str, blocks: Sequence[int], contents: Sequence[bytes]) -> None:
        """Takes in blocks of one kind, as they are stored."""
        layout = record(kind)
        records = np.frombuffer(b"".join(contents), dtype=layout)
        numbers = np.array([self._number(kind, each) for each in records["subject"].tolist()], dtype=np.int64)
        there = numbers != _NOWHERE
        self._known[numbers[there]] = True
        for name in (layout.names or ())[1:]:
            self._values[name][numbers[there]] = records[name][there]
        self._settle(numbers, [len(content) // layout.itemsize for content in contents], blocks)

    def settle(self, numbers: npt.NDArray[np.int64], first: int) -> int:
        """Gives subjects that have none a place in the store, with others of their kind; those of a kind in order.

        Args:
            numbers: these subjects.
            first: the number of the first block that is free.

        Returns:
            How many blocks that takes.
        """
        by_kind: dict[str, list[int]] = {}
        for number in numbers.tolist():
            by_kind.setdefault(self._kinds[number], []).append(number)
        sizes = [min(BLOCK, len(some) - at) for _, some in sorted(by_kind.items()) for at in range(0, len(some), BLOCK)]
        ordered = np.array([*chain.from_iterable(some for _, some in sorted(by_kind.items()))], dtype=np.int64)
        self._settle(ordered, sizes, range(first, first + len(sizes)))
        self._known[ordered] = True
        return len(sizes)

    def homeless(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Those that have no place in the store."""
        without: npt.NDArray[np.int64] = numbers[self._rows[numbers] == _NOWHERE]
        return without

    def places(self, numbers: npt.NDArray[np.int64]) -> list[int]:
        """Where subjects stand in the store: the number of the block times BLOCK, and the place in it."""
        rows = self._rows[numbers]
        within = (self._places[rows] == numbers[:, np.newaxis]).argmax(axis=1)
        return [self._blocks[row] * BLOCK + place for row, place in zip(rows.tolist(), within.tolist(), strict=True)]

    def blocks(self, numbers: npt.NDArray[np.int64]) -> Iterator[tuple[int, str, int, bytes]]:
        """The blocks in which subjects stand, as they are to be stored: number, kind, how many places, content."""
        rows = np.unique(self._rows[numbers])
        by_kind: dict[str, list[int]] = {}
        for row, some in zip(rows.tolist(), self._places[rows].max(axis=1).tolist(), strict=True):
            by_kind.setdefault(self._kinds[some], []).append(row)
        for kind, of_kind in by_kind.items():
            places, layout = self._places[of_kind], record(kind)
            sizes = BLOCK - (places[:, ::-1] != _NOWHERE).argmax(axis=1)
            flat = places[np.arange(BLOCK) < sizes[:, np.newaxis]]
            held = flat != _NOWHERE
            packed, chosen = np.zeros(len(flat), dtype=layout), self._values[flat[held]]
            for name in (layout.names or ())[1:]:
                packed[name][held] = chosen[name]
            digests = b"".join([self._digests[number] for number in flat[held].tolist()])
            packed["subject"][held] = np.frombuffer(digests, dtype="V16")
            raw, at = packed.tobytes(), 0
            for row, size in zip(of_kind, sizes.tolist(), strict=True):
                yield self._blocks[row], kind, size, raw[at : at + size * layout.itemsize]
                at += size * layout.itemsize

    def _number(self, kind: str, digest: bytes) -> int:
        if not any(digest):
            # Of one that was forgotten.
            return _NOWHERE
        number = self.numbers.get(digest)
        return self.add(kind, digest) if number is None else number

    def _settle(self, numbers: npt.NDArray[np.int64], sizes: Sequence[int], blocks: Sequence[int]) -> None:
        """Notes that subjects stand in blocks of such sizes, one after another."""
        places = np.full((len(sizes), BLOCK), _NOWHERE)
        there = np.arange(BLOCK) < np.array(sizes, dtype=np.int64).reshape(-1, 1)
        places[there] = numbers
        rows = np.repeat(np.arange(len(sizes)) + len(self._blocks), sizes)
        self._rows[numbers[numbers != _NOWHERE]] = rows[numbers != _NOWHERE]
        self._blocks += blocks
        self._places = np.concatenate([self._places, places])


class Memories:
    """Those of the hosts that a worker looked at last, as far as there is room."""

    def __init__(self) -> None:
        self._of_hosts: dict[int, Memory] = {}

    def take(self, host_id: int, mark: bytes | None) -> Memory:
        """The memory of a host in whose store this mark was found; an empty one if there is none of that."""
        memory = self._of_hosts.pop(host_id, None)
        return Memory(mark) if memory is None or memory.mark is None or memory.mark != mark else memory

    def keep(self, host_id: int, memory: Memory) -> None:
        """Keeps one for the host's next snapshot, and gives up others if there are too many."""
        self._of_hosts[host_id] = memory
        room = _MOST - sum(each.size for each in self._of_hosts.values())
        for other in list(self._of_hosts):
            if room < 0:
                room += self._of_hosts.pop(other).size
