"""What a worker remembers of a host's subjects from one snapshot to the next, so that it need not be read again.

A memory is a copy of one state of the store, which it knows by its mark (see `state.HostState`): whoever finds another
mark there begins with an empty one. So nothing that another worker did, that was rolled back, forgotten or restored
from a backup is overlooked.

What was not touched for a day is not kept, and is read again when it comes back. So a memory holds what the host does,
and not all that it ever did.
"""

from __future__ import annotations

from itertools import chain, compress
from typing import TYPE_CHECKING

import numpy as np

from detector.models.keys import Keys
from detector.models.layout import BLOCK, NEVER, Values, longer, record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

_NOWHERE = -1
_MOST = 131_072
"""More subjects and keys are not kept in memory, over all hosts: at most some 60 MB."""
LATELY_HOURS = 24
"""What was touched in so many observed hours is kept: most of what a host does it does every day."""
# It is not worth while for less than one subject or key in so many.
_FEW = 16


class Memory:
    """Subjects of one host, each with a number of its own for as long as the memory lasts: see `lately`."""

    def __init__(self, mark: bytes | None = None, hour: int = 0) -> None:
        self.mark = mark
        """The state of the store that this is a copy of; None while it is being changed."""
        self.hour = hour
        """The observed hour in which subjects and keys are touched."""
        self.keys = Keys()
        self.numbers: dict[bytes, int] = {}
        """By digest."""
        self._looked = hour
        self._digests: list[bytes] = []
        self._kinds: list[str] = []
        self._values = Values(0)
        self._known = np.zeros(0, dtype=bool)
        # By number the hour in which it was touched last, and the row of `_blocks` and `_places` that has it: the
        # block's number in the store, who is where in it.
        self._touched = np.zeros(0, dtype=np.int64)
        self._rows = np.zeros(0, dtype=np.int64)
        self._blocks: list[int] = []
        self._places = np.zeros((0, BLOCK), dtype=np.int64)

    @property
    def size(self) -> int:
        """How many subjects and keys there are."""
        return len(self._kinds) + len(self.keys.rows)

    @property
    def values(self) -> Values:
        """By number; to be changed in place."""
        return self._values.part(0, len(self._kinds))

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
            self._values = self._values.longer(number + 1)
            self._known = longer(self._known, len(self._values), False)
            self._touched = longer(self._touched, len(self._values), NEVER)
            self._rows = longer(self._rows, len(self._values), _NOWHERE)
        return number

    def touch(self, numbers: npt.NDArray[np.int64]) -> None:
        """Says that subjects are needed in the hour at hand."""
        self._touched[numbers] = self.hour

    def lately(self) -> Memory:
        """This, or once an hour what of it was touched lately, if that is much less; numbers are others then."""
        if self.hour == self._looked:
            return self
        self._looked = self.hour
        since, there = self.hour - LATELY_HOURS, len(self._kinds)
        # A block is written as a whole, so that all who stand in it stay together.
        needed = self._touched[:there] >= since
        rows = np.zeros(len(self._blocks) + 1, dtype=bool)
        rows[self._rows[:there][needed]] = True
        rows[_NOWHERE] = False
        kept = needed | rows[self._rows[:there]]
        keys = self.keys.touched_since(since)
        left = np.count_nonzero(kept) + np.count_nonzero(keys)
        return self if self.size - left < self.size / _FEW else self._part(kept, rows[:-1], keys)

    def _part(self, kept: npt.NDArray[np.bool_], rows: npt.NDArray[np.bool_], keys: npt.NDArray[np.bool_]) -> Memory:
        """Some subjects, with the rows in which they stand, and some keys, of which all subjects are among them."""
        part, there = Memory(self.mark, self.hour), len(self._kinds)
        part._digests = list(compress(self._digests, kept))
        part._kinds = list(compress(self._kinds, kept))
        part.numbers = {digest: number for number, digest in enumerate(part._digests)}
        # By number the new one; what stands at the end is for nobody.
        numbers = np.append(np.cumsum(kept) - 1, _NOWHERE)
        part.keys = self.keys.part(keys, numbers)
        part._values = self.values.chosen(kept)
        part._known, part._touched = self._known[:there][kept], self._touched[:there][kept]
        part._rows = np.append(np.cumsum(rows) - 1, _NOWHERE)[self._rows[:there][kept]]
        part._blocks = list(compress(self._blocks, rows))
        part._places = numbers[self._places[: len(self._blocks)][rows]]
        return part

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
            packed, chosen = np.zeros(len(flat), dtype=layout), self._values.of(flat[held])
            for name in (layout.names or ())[1:]:
                packed[name][held] = chosen[name]
            digests = b"".join(map(self._digests.__getitem__, flat[held].tolist()))
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
        first = len(self._blocks)
        self._blocks += blocks
        self._places = longer(self._places, len(self._blocks), _NOWHERE)
        self._places[first : len(self._blocks)] = places


class Memories:
    """Those of the hosts that a worker looked at last, as far as there is room."""

    def __init__(self) -> None:
        self._of_hosts: dict[int, Memory] = {}

    @property
    def size(self) -> int:
        """How many subjects and keys there are, of all hosts."""
        return sum(each.size for each in self._of_hosts.values())

    def take(self, host_id: int, mark: bytes | None, hour: int) -> Memory:
        """The memory of a host in whose store this mark was found, in an observed hour; an empty one if there is none
        of that."""
        memory = self._of_hosts.pop(host_id, None)
        if memory is None or memory.mark is None or memory.mark != mark:
            return Memory(mark, hour)
        memory.hour = hour
        return memory

    def keep(self, host_id: int, memory: Memory) -> None:
        """Keeps of one what was touched lately, for the host's next snapshot, and gives up others if there are too
        many.
        """
        self._of_hosts[host_id] = memory = memory.lately()
        room = _MOST - self.size
        for other in list(self._of_hosts):
            if room < 0:
                room += self._of_hosts.pop(other).size
