"""A collector on the real kernel, asked for rows after each scenario."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from detector.bpf.capture import Capture
from detector.collector.listeners import listening
from detector.collector.live import LiveCollector
from detector.collector.names import Names
from detector.collector.resolvers import Resolvers
from detector.domain import Direction
from tests.system.scenarios.rows import Row, seen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from detector.domain import ConnectionCount


@contextmanager
def watching(resolv_conf: Path) -> Iterator[Watch]:
    """Collects as `detector collect` does; the name servers of this resolv.conf(5) are believed."""
    with (
        Capture(map_entries=65_536) as capture,
        LiveCollector(capture, "test-host", names=Names(100, Resolvers(resolv_conf))) as live,
    ):
        capture.add_listeners(listening())
        yield Watch(live)


class Watch:
    """Gives what was counted since it was last asked."""

    def __init__(self, live: LiveCollector) -> None:
        self._live = live

    def forget(self) -> None:
        """Leaves out what was counted so far."""
        self._live.take()

    def take(self) -> tuple[ConnectionCount, ...]:
        """What was counted since the last time: all of it, and nothing lost."""
        snapshot = self._live.take()
        assert snapshot.losses.nonzero() == {}
        return snapshot.counts

    def outbound(self, *addresses: str | None) -> list[Row]:
        """What went to these addresses since the last time, ordered by address, protocol and port."""
        return self._chosen(Direction.OUTBOUND, addresses)

    def inbound(self, *addresses: str | None) -> list[Row]:
        """What came from these addresses since the last time, ordered by address, protocol and port."""
        return self._chosen(Direction.INBOUND, addresses)

    def _chosen(self, direction: Direction, addresses: Collection[str | None]) -> list[Row]:
        rows = [seen(count) for count in self.take() if count.key.direction is direction]
        return sorted((row for row in rows if row.address in addresses), key=_order)


def _order(row: Row) -> tuple[str, str, int]:
    return (row.address or "", row.protocol, row.port or 0)
