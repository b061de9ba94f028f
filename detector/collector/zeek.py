"""Reads the connection log of Zeek (conn.log), as tab-separated values and as JSON lines.

Nothing is asked of the order of columns, and columns that are not needed may hold anything.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from detector.collector.log_lines import LineError, parsed_address, shown
from detector.domain import Outcome
from detector.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from detector.collector.log_files import LogFile
    from detector.collector.log_lines import Tally

# Seconds since 1970: from then to the end of the century. Beyond lie milliseconds, and damage.
_LAST_SECOND = 4_102_444_800.0
_MAX_PORT = 65_535
_REQUIRED = ("ts", "id.orig_h", "id.resp_h", "id.resp_p", "proto", "conn_state", "history")
_HEADER = "#fields"
# Who labels logs appends these, some under the second name, some all in the last column, with three spaces between.
_LABEL, _DETAILED_LABEL = ("label",), ("detailed-label", "detailedlabel")
_JOINED = "   "
_ESCAPED = re.compile(r"\\x([0-9a-fA-F]{2})")

OUTCOMES = {
    **dict.fromkeys(("SF", "S1", "S2", "S3", "RSTO", "RSTR"), Outcome.ESTABLISHED),
    "REJ": Outcome.REFUSED,
    "S0": Outcome.TIMED_OUT,
    **dict.fromkeys(("RSTOS0", "SH"), Outcome.FAILED),
}
"""How a TCP connect ended, by Zeek's conn_state. All others (OTH, RSTRH, SHR …) begin in the middle."""


class Connection(NamedTuple):
    """A row of a conn.log: what is read of it, checked."""

    at: float
    """Seconds since 1970."""
    protocol: str
    orig: str
    """Address of the end that began, in its one canonical form."""
    resp: str
    port: int
    """Of the end that answered; for ICMP a code."""
    state: str
    history: str
    label: str = ""
    """What somebody called it ("Malicious"); of logs that are labelled."""
    detailed_label: str = ""

    @property
    def outcome(self) -> Outcome | None:
        """How a TCP connect ended; None for what is none: backscatter, and connections that began before the log.

        The log holds its first packet, or the answer to it, and the originator is not one that Zeek turned round ("^").
        """
        history = self.history
        if history.startswith("^") or not ("S" in history or "h" in history):
            return None
        return OUTCOMES.get(self.state)


class _Row(msgspec.Struct):
    """A connection as a JSON object; some senders have no dots in their names."""

    ts: float | str
    proto: str
    orig_h: str | None = msgspec.field(default=None, name="id.orig_h")
    resp_h: str | None = msgspec.field(default=None, name="id.resp_h")
    resp_p: int | None = msgspec.field(default=None, name="id.resp_p")
    id_orig_h: str | None = None
    id_resp_h: str | None = None
    id_resp_p: int | None = None
    conn_state: str | None = None
    history: str | None = None
    # Not of Zeek: they may hold anything.
    label: object = None
    detailed_label: object = msgspec.field(default=None, name="detailed-label")
    detailedlabel: object = None


def read_connections(files: Sequence[LogFile], tally: Tally) -> Iterator[Connection]:
    """The connections of the files, one after another; what is no connection is refused in the tally.

    Raises:
        LogError: a file cannot be read to its end, or is the log of something else.
    """
    for file in files:
        reader = _Reader(file.name)
        for number, line in file.lines(tally):
            try:
                connection = reader.read(line)
            except LineError as fault:
                tally.refuse(file.name, number, str(fault))
            else:
                if connection is not None:
                    tally.rows += 1
                    yield connection


class _Reader:
    """Reads the lines of one file. Headers may come again, where logs were put together."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._decode = msgspec.json.Decoder(_Row).decode
        self._separator, self._unset, self._empty = "\t", "-", "(empty)"
        self._width = 0
        self._columns: tuple[int, ...] = ()
        self._labels: tuple[int | None, int | None] = (None, None)
        self._joined = False

    def read(self, line: bytes) -> Connection | None:
        """None for a line of a header."""
        if line.startswith(b"{"):
            return self._from_json(line)
        text = line.decode("utf-8", "backslashreplace")
        if text.startswith("#"):
            self._header(text)
            return None
        if not self._columns:
            raise LineError("neither a JSON object nor below a line of #fields; name a conn.log of Zeek")
        cells = text.split(self._separator)
        if len(cells) != self._width:
            raise LineError(f"{len(cells)} columns, #fields has {self._width}; is the line cut?")
        ts, orig, resp, port, protocol, state, history = [cells[column] for column in self._columns]
        labels = () if self._labels == (None, None) else self._labelled(cells)
        return _connection(ts, orig, resp, port, protocol, self._plain(state), self._plain(history), *labels)

    def _labelled(self, cells: list[str]) -> Iterator[str]:
        if self._joined:
            cells = [*cells[:-1], *cells[-1].split(_JOINED)]
        for column in self._labels:
            yield self._plain(cells[column]) if column is not None and column < len(cells) else ""

    def _plain(self, text: str) -> str:
        return "" if text in (self._unset, self._empty) else text

    def _header(self, text: str) -> None:
        """#separator, #fields, #path …; other remarks are passed over."""
        if text.startswith("#separator"):
            separator = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text.partition(" ")[2])
            if not separator:
                raise LineError(r"#separator names none; write #separator \x09")
            self._separator = separator
            return
        name, _, value = text.partition(self._separator)
        if name == "#unset_field":
            self._unset = value
        elif name == "#empty_field":
            self._empty = value
        elif name == "#path" and value != "conn":
            raise LogError(
                f"{self._name}: this is Zeek's log of {shown(value)}, not of connections", hint="name a conn.log"
            )
        elif name == _HEADER:
            fields = value.split(self._separator)
            if missing := [each for each in _REQUIRED if each not in fields]:
                raise LogError(
                    f"{self._name}: #fields lacks {', '.join(missing)}", hint="name a conn.log that holds these columns"
                )
            self._columns, self._width = tuple(fields.index(each) for each in _REQUIRED), len(fields)
            *others, last = fields
            names = [*others, *last.split(_JOINED)]
            self._labels, self._joined = (_place(names, _LABEL), _place(names, _DETAILED_LABEL)), _JOINED in last

    def _from_json(self, line: bytes) -> Connection:
        try:
            row = self._decode(line)
        except UnicodeDecodeError:
            raise LineError("not UTF-8; write what is not text as JSON escapes") from None
        except msgspec.ValidationError as fault:
            raise LineError(f"{fault}; write the fields as Zeek's conn.log has them") from None
        except (msgspec.DecodeError, RecursionError) as fault:
            raise LineError(f"not a JSON object ({shown(str(fault))}); is the line cut?") from None
        orig, resp = row.orig_h or row.id_orig_h, row.resp_h or row.id_resp_h
        port = row.id_resp_p if row.resp_p is None else row.resp_p
        if orig is None or resp is None or port is None:
            raise LineError("no id.orig_h, id.resp_h or id.resp_p; write the fields as Zeek's conn.log has them")
        detailed = row.detailed_label or row.detailedlabel
        labels = [each if isinstance(each, str) else "" for each in (row.label, detailed)]
        return _connection(row.ts, orig, resp, port, row.proto, row.conn_state or "", row.history or "", *labels)


def _place(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((names.index(each) for each in wanted if each in names), None)


def _connection(
    ts: float | str,
    orig: str,
    resp: str,
    port: int | str,
    protocol: str,
    state: str,
    history: str,
    label: str = "",
    detailed_label: str = "",
) -> Connection:
    at = ts if isinstance(ts, float) else _seconds(ts)
    # False of what is not a number as well.
    if not 0 <= at < _LAST_SECOND:
        raise LineError(f"ts {shown(str(ts))} is not between 1970 and 2100; write seconds since 1970")
    if isinstance(port, str):
        if not (port.isascii() and port.isdecimal() and len(port) <= len(str(_MAX_PORT))):
            raise LineError(f"id.resp_p {shown(port)} is not a port; write 0 to {_MAX_PORT}")
        port = int(port)
    if not 0 <= port <= _MAX_PORT:
        raise LineError(f"id.resp_p {shown(str(port))} is not a port; write 0 to {_MAX_PORT}")
    ends = _address("id.orig_h", orig), _address("id.resp_h", resp)
    return Connection(at, protocol, *ends, port, state, history, label, detailed_label)


def _address(name: str, text: str) -> str:
    try:
        return _canonical(text)
    except ValueError:
        raise LineError(f"{name} {shown(text)} is not an address; write IPv4 or IPv6 without a zone") from None


def _seconds(text: str) -> float:
    """A time as Zeek writes it: seconds since 1970, or ISO 8601 with its zone (JSON alone)."""
    try:
        if "T" in text:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is not None:
                return moment.timestamp()
        elif "_" not in text:
            return float(text)
    except (ValueError, OverflowError):
        pass
    raise LineError(f"ts {shown(text)} is not a time; write seconds since 1970")


@lru_cache(maxsize=65_536)
def _canonical(text: str) -> str:
    return str(parsed_address(text))


def common_ends(connections: Iterable[Connection], most: int = 100_000) -> tuple[set[str], dict[str, int]]:
    """The addresses that are an end of every connection, and how many rows the busiest addresses have.

    Counts no more than `most` addresses at once: of more, those seen least are dropped, so that the numbers of the
    rare ones are too low.
    """
    common: set[str] | None = None
    rows: dict[str, int] = {}
    for each in connections:
        ends = {each.orig, each.resp}
        common = ends if common is None else common & ends
        for end in ends:
            rows[end] = rows.get(end, 0) + 1
        if len(rows) > most:
            busiest = sorted(rows, key=rows.__getitem__, reverse=True)[: most // 2]
            rows = {end: rows[end] for end in busiest}
    return common or set(), dict(sorted(rows.items(), key=lambda item: (-item[1], item[0])))
