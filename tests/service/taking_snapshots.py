"""Takes snapshots and has them stored, until it is killed: `taking_snapshots.py URL SPOOL TAKEN [HOST]`.

Each is one key, attempted as often as its number in the line says. The number is appended to TAKEN when `put` has
returned, which promises that the snapshot is stored or on disk.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from detector.collector.spool import Spool
from detector.domain import ConnectionCount, ConnectionKey, Direction, Protocol, Snapshot
from detector.service import storing as service

if TYPE_CHECKING:
    from detector.domain import SnapshotRef


class _Silent:
    def snapshot(self, ref: SnapshotRef, snapshot: Snapshot) -> None:
        """Says nothing."""

    def fault(self, message: str) -> None:
        """Says nothing."""


def main() -> None:
    """Never returns."""
    url, spool, taken, *named = sys.argv[1:]
    host = named[0] if named else "bastion-1"
    path = Path(taken)
    number = int((path.read_text().split() or ["0"])[-1]) + 1000 if path.exists() else 1
    # Half of them are spooled although the database is well.
    service._SOON_SECONDS = 0.004
    storing = service.Storing(url, host, Spool(Path(spool), 10_000_000), _Silent(), interval_seconds=1)
    storing.start()
    key = ConnectionKey(direction=Direction.OUTBOUND, protocol=Protocol.TCP, remote_address=None)
    while True:
        end = datetime.now(UTC)
        counts = (ConnectionCount(key=key, attempted=number),)
        storing.put(Snapshot(host=host, start=end - timedelta(seconds=1), end=end, counts=counts))
        with path.open("a") as file:
            file.write(f"{number}\n")
        number += 1


main()
