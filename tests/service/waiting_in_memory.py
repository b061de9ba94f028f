"""Has large snapshots wait for a database that is away: `waiting_in_memory.py SPOOL`.

Prints the proportional memory of this process, in kB, when three of them wait, and when thirty do.
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from detector.collector.spool import Spool
from detector.domain import ConnectionCount, ConnectionKey, Direction, Protocol, Snapshot
from detector.service.memory import give_back, settle
from detector.service.storing import Storing

if TYPE_CHECKING:
    from detector.domain import SnapshotRef

_KEYS = 10_000


class _Silent:
    def snapshot(self, ref: SnapshotRef, snapshot: Snapshot) -> None:
        """Says nothing."""

    def fault(self, message: str) -> None:
        """Says nothing."""


def _snapshot(number: int) -> Snapshot:
    end = datetime.now(UTC)
    keys = (
        ConnectionKey(
            direction=Direction.OUTBOUND,
            protocol=Protocol.TCP,
            remote_address=IPv4Address(0x0A000000 + number * _KEYS + row),
            remote_port=443,
            executable=f"/usr/bin/tool{row}",
        )
        for row in range(_KEYS)
    )
    counts = tuple(ConnectionCount(key=key, attempted=1) for key in keys)
    return Snapshot(host="bastion-1", start=end - timedelta(seconds=1), end=end, counts=counts)


def main() -> None:
    """Takes seconds."""
    spool = Spool(Path(sys.argv[1]), 100_000_000)
    storing = Storing("postgresql://nobody@127.0.0.1:1/none", "bastion-1", spool, _Silent(), interval_seconds=1)
    storing.start()
    settle()
    for number in range(1, 31):
        storing.put(_snapshot(number))
        give_back()
        if number in {3, 30}:
            found = re.search(r"^Pss:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
            assert found
            print(found[1])


main()
