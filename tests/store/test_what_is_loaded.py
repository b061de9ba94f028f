"""What a process loads to use the store."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from detector.store.engine import open_store
from detector.store.migrating import upgrade

if TYPE_CHECKING:
    from pathlib import Path

_SCRIPT = """
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from detector.domain import ConnectionCount, ConnectionKey, Direction, Protocol, Snapshot
from detector.service import collecting
from detector.store.engine import open_store, writing
from detector.store.snapshots import SnapshotWriter

key = ConnectionKey(
    direction=Direction.OUTBOUND, protocol=Protocol.TCP, remote_address=ip_address("10.0.0.1"), remote_port=22,
    executable="/usr/bin/ssh", command="ssh", user="alice", login_user="alice",
)
start = datetime(2026, 3, 2, tzinfo=UTC)
snapshot = Snapshot(
    host="bastion-1", start=start, end=start + timedelta(seconds=10), counts=(ConnectionCount(key=key, attempted=1),)
)
engine = open_store(sys.argv[1])
with writing(engine) as connection:
    SnapshotWriter("bastion-1").write(connection, snapshot)
print(sorted(each for each in sys.modules if each.startswith(("sqlalchemy.dialects.postgresql", "psycopg"))))
"""


def test_a_collector_with_sqlite_loads_nothing_of_postgres(tmp_path: Path) -> None:
    """Snapshots are written into a file without what only a server needs: 3 MB in each collector."""
    url = f"sqlite:///{tmp_path}/detector.db"
    engine = open_store(url)
    upgrade(engine)
    engine.dispose()

    loaded = subprocess.run([sys.executable, "-c", _SCRIPT, url], capture_output=True, text=True, check=False)

    assert (loaded.stdout, loaded.stderr) == ("[]\n", "")
