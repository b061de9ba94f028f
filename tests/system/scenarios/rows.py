"""What is expected of a scenario, and what was seen, in the same words."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from unittest.mock import ANY

from detector.domain import Direction

if TYPE_CHECKING:
    from detector.domain import ConnectionCount


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table: who, to (or from) where, and how it ended. `ANY` where the scenario does not decide."""

    executable: str | None
    address: str | None
    port: int | None = None
    """The remote port of outbound rows, the local one of inbound rows."""
    direction: str = "outbound"
    protocol: str = "tcp"
    script: str | None = None
    parent_executable: str | None = field(default_factory=lambda: ANY)
    user: str | None = "root"
    login_user: str | None = None
    login_address: str | None = None
    remote_name: str | None = None
    attempted: int = 1
    established: int = 0
    refused: int = 0
    failed: int = 0


def program(name: str) -> str:
    """The file that runs under this name, behind all links."""
    found = shutil.which(name)
    assert found, f"{name} is missing: packaging/prepare-machine test installs it"
    return os.path.realpath(found)


def seen(count: ConnectionCount) -> Row:
    """A row as the collector gave it."""
    key = count.key
    return Row(
        executable=key.executable,
        address=None if key.remote_address is None else str(key.remote_address),
        port=key.local_port if key.direction is Direction.INBOUND else key.remote_port,
        direction=key.direction.value,
        protocol=key.protocol.value,
        script=key.script,
        parent_executable=key.parent_executable,
        user=key.user,
        login_user=key.login_user,
        login_address=None if count.login_address is None else str(count.login_address),
        remote_name=count.remote_name,
        attempted=count.attempted,
        established=count.established,
        refused=count.refused,
        failed=count.failed,
    )
