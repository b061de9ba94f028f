"""A network of its own for a test: nothing that others do on this machine is seen or answered there."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLE = "10.99.0.2"
"""An address on each island that swallows what it is sent, as do all others of 10.99.0.0/24."""


@contextmanager
def island(purpose: str) -> Iterator[list[str]]:
    """A network namespace with loopback and `HOLE`, for as long; gives the command prefix to run in it."""
    name = f"detector-{purpose}-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for command in (
            ["link", "set", "lo", "up"],
            ["link", "add", "hole", "type", "veth", "peer", "name", "void"],
            ["link", "set", "void", "up"],
            ["address", "add", "10.99.0.1/24", "dev", "hole"],
            ["link", "set", "hole", "up"],
            # The neighbour must be known, or the SYN never leaves and the kernel answers "no route".
            ["neighbour", "add", HOLE, "lladdr", "02:00:00:00:00:01", "dev", "hole"],
        ):
            subprocess.run(["ip", "-n", name, *command], check=True)
        yield ["ip", "netns", "exec", name]
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
