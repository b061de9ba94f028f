"""Reads rows as `detector query --json` prints them, one object a line, and makes snapshots of them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from detector.collector.log_lines import LineError, LoggedSnapshot, parsed_address, shown
from detector.collector.log_order import LONGEST_SILENCE, Waiting
from detector.config_wording import nearest
from detector.domain import ConnectionCount, ConnectionKey, Direction, IPAddress, Protocol, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detector.collector.log_files import LogFile
    from detector.collector.log_lines import Tally

LATE = "too late: a later snapshot of their host was given out when they came"

ROOM = 50_000
"""Rows and snapshots that wait to be put into order, about a kilobyte each."""

MOST_HOSTS = 1000
# No name is longer: what a longer one may have been meant for takes long to say.
_LONGEST_KEY = 60
_LONGEST = timedelta(days=1)
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)

_Text = Annotated[str, msgspec.Meta(max_length=8192)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]
_Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
_Session = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
# So many in one snapshot that their sums still are numbers of the databases.
_Number = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
_Microseconds = Annotated[int, msgspec.Meta(ge=0, le=4 * 10**9)]


class Row(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One key in one snapshot, under the names of the design. What is left out is unknown, or 0."""

    host: _Name
    start: _Moment
    end: _Moment
    # What hours and days of roll-ups are made of cannot be told any more.
    resolution: Literal["snapshot"] = "snapshot"
    snapshots: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    direction: Direction
    protocol: Protocol
    executable: _Text | None = None
    script: _Text | None = None
    command: _Text | None = None
    parent_executable: _Text | None = None
    user: _Text | None = None
    login_user: _Text | None = None
    login_address: _Text | None = None
    login_source: _Text | None = None
    session: _Session | None = None
    unit: _Text | None = None
    container: _Text | None = None
    remote_address: _Text | None = None
    remote_port: _Port | None = None
    remote_name: _Text | None = None
    remote_name_source: _Text | None = None
    remote_country: _Text | None = None
    remote_network: _Text | None = None
    local_port: _Port | None = None
    attempted: _Number = 0
    established: _Number = 0
    refused: _Number = 0
    timed_out: _Number = 0
    failed: _Number = 0
    handshake_us_mean: _Microseconds | None = None
    handshake_us_max: _Microseconds | None = None
    # What the store and detection find out by themselves: checked, and left.
    first_seen: _Moment | None = None
    score: float | None = None
    surprise: float | None = None
    unusual: bool | None = None
    channel: _Text | None = None
    novelty: _Text | None = None
    p_novelty: float | None = None
    p_actor: float | None = None
    p_volume: float | None = None
    p_host_volume: float | None = None
    p_failures: float | None = None
    p_fan_out: float | None = None
    p_port_sweep: float | None = None
    p_beacon: float | None = None
    p_hour: float | None = None
    p_evidence: float | None = None
    p_forest: float | None = None
    explanation: _Text | None = None


_ADDRESSES = ("login_address", "remote_address")
_KEY_TEXTS = tuple(
    each.name for each in fields(ConnectionKey) if each.name not in {"direction", "protocol", "remote_address"}
)
_SAME = ("login_source", "remote_name", "remote_name_source", "remote_country", "remote_network")
_NUMBERS = ("attempted", "established", "refused", "timed_out", "failed")
# How JSON writes NUL, which no database holds; a backslash before it makes it a text like any other.
_NUL = b"u0000"

_Place = tuple[datetime, datetime, str]
_Counts = dict[tuple[ConnectionKey, int], ConnectionCount]


class RowLog:
    """Rows of any number of hosts, as snapshots; those of one host in the order of time."""

    def __init__(self, files: Sequence[LogFile], tally: Tally, *, host: str | None = None, room: int = ROOM) -> None:
        """`host` takes the place of the one name that the lines have; `room` is how many rows wait for others."""
        self._files, self._tally, self._host, self._room = files, tally, host, room
        self._waiting: Waiting[_Place, _Counts] = Waiting(dict, room)
        self._decode = msgspec.json.Decoder(Row).decode
        # The end of what was given out of each host.
        self._given: OrderedDict[str, datetime | None] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many snapshots are yet to be given out."""
        return len(self._waiting)

    def snapshots(self) -> Iterator[LoggedSnapshot]:
        """The snapshots of the files' rows.

        Raises:
            LogError: a file cannot be read to its end.
        """
        for file in self._files:
            for number, line in file.lines(self._tally):
                try:
                    self._add(line)
                except LineError as fault:
                    self._tally.refuse(file.name, number, str(fault))
                for place, counts in self._waiting.ripe():
                    yield from self._given_out(place, counts)
        for place, counts in self._waiting.rest():
            yield from self._given_out(place, counts)

    def _add(self, line: bytes) -> None:
        row = self._parsed(line)
        given = self._given.get(row.host)
        if row.host not in self._given:
            self._new_host(row.host)
        if given is not None and row.start < given:
            self._tally.left_out[LATE] += 1
        else:
            count = count_of(row)
            counts = self._waiting.at((row.start, row.end, row.host))
            if (count.key, count.session) in counts:
                raise LineError("the same key stands in this snapshot before; leave one of the two lines out")
            if self._waiting.full:
                raise LineError(f"more than {self._room:,} rows in one snapshot; leave some out")
            counts[count.key, count.session] = count
            self._waiting.added()
        self._tally.rows += 1

    def _new_host(self, name: str) -> None:
        if self._host is not None and self._given:
            first = next(iter(self._given))
            raise LineError(f"of host {shown(name)}, the first was of {shown(first)}; leave --host out to keep names")
        if len(self._given) == MOST_HOSTS:
            raise LineError(f"of more than {MOST_HOSTS:,} hosts; import the rows of fewer at a time")
        self._given[name] = None

    def _parsed(self, line: bytes) -> Row:
        if line[:1] in (b"[", b"]"):
            raise LineError("part of a JSON list; write one object a line: jq -c '.[]'")
        try:
            row = self._decode(line)
        except UnicodeDecodeError:
            raise LineError("not UTF-8; write what is not text as JSON escapes") from None
        except msgspec.ValidationError as fault:
            raise LineError(_explained(str(fault))) from None
        except (msgspec.DecodeError, RecursionError) as fault:
            raise LineError(f"not a JSON object ({shown(str(fault))}); write one object a line: jq -c '.[]'") from None
        if _NUL in line and any("\x00" in text for text in msgspec.structs.astuple(row) if isinstance(text, str)):
            raise LineError("a text holds NUL; write it out as \\\\x00")
        if row.start < _FIRST or row.end > _LAST:
            raise LineError("start or end is not between 1970 and 2100; write the snapshot's two ends")
        if not timedelta(0) < row.end - row.start <= _LONGEST:
            raise LineError("end is not after start, or more than a day; write the snapshot's two ends")
        return row

    def _given_out(self, place: _Place, counts: _Counts) -> Iterator[LoggedSnapshot]:
        start, end, host = place[0].astimezone(UTC), place[1].astimezone(UTC), place[2]
        given = self._given[host]
        if given is not None and start < given:
            # Within another snapshot, which began before.
            self._tally.left_out[LATE] += len(counts)
            return
        self._given[host] = end
        name = host if self._host is None else self._host
        if given is not None and timedelta(0) < start - given <= LONGEST_SILENCE:
            # Snapshots in which nothing happened have no rows.
            yield LoggedSnapshot(Snapshot(host=name, start=given, end=start, counts=()), 0)
        yield LoggedSnapshot(Snapshot(host=name, start=start, end=end, counts=tuple(counts.values())), len(counts))


def count_of(row: Row) -> ConnectionCount:
    """What the row counts.

    Raises:
        LineError: an address is none.
    """
    addresses = {name: _address(name, getattr(row, name)) for name in _ADDRESSES}
    values = {name: getattr(row, name) for name in _KEY_TEXTS}
    key = ConnectionKey(
        direction=row.direction, protocol=row.protocol, remote_address=addresses["remote_address"], **values
    )
    return ConnectionCount(
        key=key,
        session=row.session or 0,
        login_address=addresses["login_address"],
        **{name: getattr(row, name) for name in (*_SAME, *_NUMBERS)},
        # The mean is what was printed of the total.
        handshake_us_total=(row.handshake_us_mean or 0) * row.established,
        handshake_us_max=row.handshake_us_max or 0,
    )


def _address(name: str, text: str | None) -> IPAddress | None:
    if text is None:
        return None
    try:
        return parsed_address(text)
    except ValueError:
        raise LineError(f"{name} {shown(text)} is not an address; write IPv4 or IPv6 without a zone") from None


def _explained(fault: str) -> str:
    """msgspec's sentence, and what to write instead."""
    if "unknown field" in fault:
        written = fault.partition("`")[2].rpartition("`")[0]
        return f"unknown key {shown(written)}; {nearest(written[:_LONGEST_KEY], Row.__struct_fields__)}"
    return f"{fault}; write what detector query --json prints"
