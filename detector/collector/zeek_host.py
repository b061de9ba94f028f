"""Makes snapshots of one host of a network's Zeek log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from detector.collector.log_lines import LoggedSnapshot, parsed_address
from detector.collector.log_order import LONGEST_SILENCE, Waiting
from detector.domain import ConnectionCount, ConnectionKey, Direction, Losses, Outcome, Protocol, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from detector.collector.log_lines import Tally
    from detector.collector.zeek import Connection

NOT_OF_HOST = "of other hosts"
NO_OPEN = "no active open (backscatter, or begun before the log)"
NOT_ACCEPTED = "inbound, and not accepted"
OTHER_PROTOCOL = "of other protocols than TCP, UDP and ICMP"
LATE = "too late: their interval was given out when they came"

ROOM = 100_000
"""Keys and intervals that wait to be put into order, about 500 bytes each."""

_PROTOCOLS = {"tcp": Protocol.TCP, "udp": Protocol.UDP, "icmp": Protocol.ICMP}
_OUTCOMES = tuple(Outcome)

_Place = tuple[Direction, str, str | None, int | None]


class _Interval:
    """What a host did in one interval: for each key attempts, and outcomes in the order of `Outcome`."""

    __slots__ = ("folded", "numbers", "rows")

    def __init__(self) -> None:
        self.numbers: dict[_Place, list[int]] = {}
        self.rows = 0
        self.folded = 0

    def __len__(self) -> int:
        return len(self.numbers)


def of_networks(networks: Sequence[IPv4Network | IPv6Network]) -> Callable[[str], bool]:
    """Whether an address is in one of the networks."""

    @lru_cache(maxsize=65_536)
    def inside(address: str) -> bool:
        parsed = parsed_address(address)
        return any(parsed in network for network in networks)

    return inside


class HostLog:
    """The connections of one host, as snapshots in the order of time, one for each interval."""

    def __init__(
        self,
        connections: Iterable[Connection],
        tally: Tally,
        *,
        host: str,
        own: Callable[[str], bool],
        interval_seconds: int,
        room: int = ROOM,
    ) -> None:
        """`own` says which addresses are the host's; `room` is how many keys and intervals wait for others."""
        self._connections, self._tally = connections, tally
        self._host, self._own, self._seconds = host, own, interval_seconds
        self._waiting: Waiting[int, _Interval] = Waiting(_Interval, room)
        self._given: int | None = None

    def snapshots(self) -> Iterator[LoggedSnapshot]:
        """Each interval from the first to the last, those in which nothing happened included.

        Raises:
            LogError: see `zeek.read_connections`.
        """
        for each in self._connections:
            if self._add(each):
                for number, interval in self._waiting.ripe():
                    yield from self._given_out(number, interval)
        for number, interval in self._waiting.rest():
            yield from self._given_out(number, interval)

    @property
    def waiting(self) -> int:
        """How many intervals are yet to be given out."""
        return len(self._waiting)

    def _add(self, each: Connection) -> bool:
        """Whether there may be something to give out."""
        out, into = self._own(each.orig), self._own(each.resp)
        reason = self._reason(each, out=out, into=into)
        number = int(each.at // self._seconds)
        if reason is None and self._given is not None and number <= self._given:
            reason = LATE
        if reason is not None:
            self._tally.left_out[reason] += 1
            return False
        interval = self._waiting.at(number)
        interval.rows += 1
        outcome = each.outcome if each.protocol == "tcp" else None
        port = None if each.protocol == "icmp" else each.port
        if out:
            self._count(interval, (Direction.OUTBOUND, each.protocol, each.resp, port), outcome)
        # Live capture sees of the connects of others those that were accepted.
        if into and outcome in (None, Outcome.ESTABLISHED):
            self._count(interval, (Direction.INBOUND, each.protocol, each.orig, port), outcome)
        return True

    @staticmethod
    def _reason(each: Connection, *, out: bool, into: bool) -> str | None:
        """Why a connection is part of no snapshot; None: it is."""
        if not (out or into):
            return NOT_OF_HOST
        if each.protocol not in _PROTOCOLS:
            return OTHER_PROTOCOL
        if each.protocol == "tcp":
            outcome = each.outcome
            if outcome is None:
                return NO_OPEN
            if not out and outcome is not Outcome.ESTABLISHED:
                return NOT_ACCEPTED
        return None

    def _count(self, interval: _Interval, place: _Place, outcome: Outcome | None) -> None:
        numbers = interval.numbers.get(place)
        if numbers is None and self._waiting.full:
            # As live capture does when there are too many keys: without address and port.
            interval.folded += 1 if outcome is None else 2
            place = (*place[:2], None, None)
            numbers = interval.numbers.get(place)
        if numbers is None:
            numbers = interval.numbers[place] = [0] * (1 + len(_OUTCOMES))
            self._waiting.added()
        numbers[0] += 1
        if outcome is not None:
            numbers[1 + _OUTCOMES.index(outcome)] += 1

    def _given_out(self, number: int, interval: _Interval) -> Iterator[LoggedSnapshot]:
        if self._given is not None and (number - self._given - 1) * self._seconds <= LONGEST_SILENCE.total_seconds():
            for silent in range(self._given + 1, number):
                yield self._snapshot(silent, _Interval())
        self._given = number
        yield self._snapshot(number, interval)

    def _snapshot(self, number: int, interval: _Interval) -> LoggedSnapshot:
        start = datetime.fromtimestamp(number * self._seconds, UTC)
        counts = tuple(_counted(place, numbers) for place, numbers in interval.numbers.items())
        snapshot = Snapshot(
            host=self._host,
            start=start,
            end=start + timedelta(seconds=self._seconds),
            counts=counts,
            losses=Losses(folded=interval.folded),
        )
        return LoggedSnapshot(snapshot, interval.rows)


def _counted(place: _Place, numbers: Sequence[int]) -> ConnectionCount:
    direction, protocol, address, port = place
    attempted, established, refused, timed_out, failed = numbers
    return ConnectionCount(
        key=ConnectionKey(
            direction=direction,
            protocol=_PROTOCOLS[protocol],
            remote_address=None if address is None else parsed_address(address),
            remote_port=port if direction is Direction.OUTBOUND else None,
            local_port=port if direction is Direction.INBOUND else None,
        ),
        attempted=attempted,
        established=established,
        refused=refused,
        timed_out=timed_out,
        failed=failed,
    )
