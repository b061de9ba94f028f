"""Numbers what a host's snapshots have in common, so that each of it is stored once.

A value is a tuple: the columns of its table, in their order. It is found again by its digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from detector.store import bulk
from detector.store.columns import packed, storable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Table

# SQLite accepts 32,766 bound parameters a statement (since 3.32), Postgres 65,535.
_LOOKUP_BATCH = 1000
_NOT_MET = -1


def digest(value: Iterable[object]) -> bytes:
    """16 bytes that identify a value: BLAKE2b over its parts, each with its length, None apart from empty."""
    state = blake2b(digest_size=16)
    for part in value:
        if part is None:
            state.update(b"\xff")
        else:
            raw = packed(part) if isinstance(part, IPv4Address | IPv6Address) else str(part).encode()
            state.update(len(raw).to_bytes(4, "big") + raw)
    return state.digest()


@dataclass(frozen=True, slots=True)
class Numbered:
    """What `Numbering.number` gives."""

    numbers: list[int | None]
    """One for each value; None for nothing but None."""
    digests: dict[int, bytes]
    """Of each number among them."""


class Numbering:
    """The numbers of one table's values on one host, from 1; given by the host's one collector alone.

    Numbers are remembered, so that nothing need be looked up of values that were met before.
    """

    # Values kept in memory, each about a kilobyte; of more, only the last are, and the others are looked up again.
    _REMEMBERED = 8_192

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        """`table` is keyed by host and number, and has a column `digest`; `columns` are those of the values."""
        self._table = table
        self._number = next(column for column in table.primary_key if column.name != "host_id")
        self._columns = columns
        # Of nothing but None there is nothing to store.
        self._nothing = (None,) * len(columns)
        self._known: dict[tuple[Any, ...], int | None] = {self._nothing: None}
        self._digests: dict[int, bytes] = {}

    def forget(self) -> None:
        """Drops what is remembered: the numbers may have been rolled back."""
        self._known = {self._nothing: None}
        self._digests = {}

    def number(
        self, connection: Connection, host_id: int, values: Sequence[tuple[Any, ...]], **others: Any
    ) -> Numbered:
        """Gives each of `values` its number.

        Args:
            connection: the transaction.
            host_id: whose values they are.
            values: in any order, each any number of times.
            others: what else is written of the values that are new, by column.
        """
        numbers = [self._known.get(value, _NOT_MET) for value in values]
        if _NOT_MET in numbers:
            new = dict.fromkeys(value for value, number in zip(values, numbers, strict=True) if number == _NOT_MET)
            self._meet(connection, host_id, new, others)
            numbers = [self._known[value] for value in values]
        numbered = Numbered(numbers, {number: self._digests[number] for number in numbers if number is not None})
        if len(self._known) > self._REMEMBERED:
            last = dict(zip(values[-self._REMEMBERED :], numbers[-self._REMEMBERED :], strict=True))
            self.forget()
            self._known.update(last)
            self._digests = {number: numbered.digests[number] for number in last.values() if number is not None}
        return numbered

    def _meet(
        self, connection: Connection, host_id: int, values: Iterable[tuple[Any, ...]], others: Mapping[str, Any]
    ) -> None:
        # Values that become equal when they are written out have one number.
        written: dict[bytes, tuple[Any, ...]] = {}
        alike: dict[bytes, list[tuple[Any, ...]]] = {}
        for value in values:
            storable_value = tuple(storable(part) if isinstance(part, str) else part for part in value)
            raw = digest(storable_value)
            written[raw] = storable_value
            alike.setdefault(raw, []).append(value)
        of_host = self._table.c.host_id == host_id
        for batch in _batches(list(alike)):
            # Ordered, since SQLite would else rather look at all that the host has than use the index for each digest.
            known = select(self._table.c.digest, self._number).where(
                of_host, bulk.among(connection, self._table.c.digest, batch)
            )
            known = known.order_by(self._table.c.digest)
            for found, number in connection.execute(known):
                self._known.update(dict.fromkeys(alike.pop(bytes(found)), number))
                self._digests[number] = bytes(found)
        if not alike:
            return
        first = 1 + (connection.scalar(select(func.max(self._number)).where(of_host)) or 0)
        rows = []
        for number, (raw, same) in enumerate(alike.items(), start=first):
            self._known.update(dict.fromkeys(same, number))
            self._digests[number] = raw
            rows.append((host_id, number, raw, *others.values(), *written[raw]))
        names = ("host_id", self._number.name, "digest", *others, *self._columns)
        bulk.add_any(connection, self._table, names, rows)


def _batches(values: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(values), _LOOKUP_BATCH):
        yield values[start : start + _LOOKUP_BATCH]
