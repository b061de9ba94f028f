"""Makes single rows again of what is packed, less those of which is known without unpacking that nobody wants them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from detector.store import bulk, past
from detector.store.candidates import OBSERVED, Reader
from detector.store.extent import Asked, extent
from detector.store.packing import COUNT_COLUMNS
from detector.store.tables import connection_counts, observations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Connection

    from detector.store.candidates import Candidates
    from detector.store.extent import Span

# Some 5 MB.
_ROWS_AT_ONCE = 20_000
_PLACE = ("host_id", "seq", "key_id", "session")


class Seeking(Protocol):
    """What tells, of rows that are packed, that they do not matter; see `ruleset.sought.Sought`."""

    @property
    def of_key(self) -> ColumnElement[bool]:
        """A condition on `connection_keys`, beside `hosts`."""

    @property
    def of_hour(self) -> ColumnElement[bool]:
        """A condition on `hourly_counts`, beside `connection_keys`, `login_origins`, `destination_names`, `hosts`."""

    @property
    def hours_say_more(self) -> bool:
        """Whether the second asks for more than the first."""

    @property
    def asks_words(self) -> bool:
        """Whether it matters what an observation says in words, and whether it is unusual."""

    def may_say(self, connection: Connection, channel: str | None, novelty: str | None, unusual: bool | None) -> bool:
        """Whether an observation that says this may matter."""


def refill(connection: Connection, host_id: int, span: Span, seeking: Seeking) -> Iterator[Span]:
    """Brings the rows of a span that may matter, of which none is there, with what detection says of them.

    Returns:
        The spans of those that have come, one after another.
    """
    whole = extent(connection, host_id, None, None, span)
    if whole is None:
        return
    reader = Reader(
        connection=connection,
        host_id=host_id,
        columns=COUNT_COLUMNS,
        said=OBSERVED,
        may_say=partial(seeking.may_say, connection) if seeking.asks_words else None,
        most_rows=_ROWS_AT_ONCE,
        told=lambda _: None,
    )
    asked = Asked(
        host_id=host_id,
        of_key=seeking.of_key,
        of_hour=seeking.of_hour,
        hours_say_more=seeking.hours_say_more,
        crowd=None,
    )
    for part in past.choose(connection, asked, whole):
        for found in reader.read(part):
            _add(connection, host_id, found)
            yield found.span


def _add(connection: Connection, host_id: int, found: Candidates) -> None:
    seqs = found.seqs.tolist()
    columns: dict[str, list[Any]] = {name: found.columns[name].tolist() for name in COUNT_COLUMNS}
    places = list(zip(seqs, columns["key_id"], columns["session"], strict=True))
    for name in ("origin_id", "name_id"):
        columns[name] = [number or None for number in columns[name]]
    counts = ((host_id, *row) for row in zip(seqs, *columns.values(), strict=True))
    bulk.add(connection, connection_counts, ("host_id", "seq", *COUNT_COLUMNS), counts)
    observed = zip(places, found.said or (), strict=False)
    said = ((host_id, *place, *values) for place, values in observed if any(value is not None for value in values))
    bulk.add(connection, observations, (*_PLACE, *OBSERVED), said)
