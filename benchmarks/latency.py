"""From a connect in the kernel to the message in the mailbox, at snapshots of one second."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from tests.notify.servers import MailServer

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONNECTS = 40
_FIRST_PORT = 41_000
_DETECTOR = [sys.executable, "-m", "detector"]
# One alert for each port.
_RULE = """
title: Any connect to a port of the benchmark
id: 5f3c1f0e-6e0b-4a55-9a5e-0b7d8f6f2c11
name: any_connect
level: high
logsource: {category: network_connection, product: linux}
detection:
  here: {DestinationPort|gte: 41000, DestinationPort|lte: 41100}
  condition: here
x-detector: {group_by: [DestinationPort]}
"""


def measure() -> Iterator[Figure]:
    """Single connects at uneven moments, each an alert of its own."""
    with tempfile.TemporaryDirectory() as folder, MailServer().running() as mailbox:
        config = _configure(Path(folder), mailbox.url)
        subprocess.run([*_DETECTOR, "--config", str(config), "db", "upgrade"], check=True, capture_output=True)
        with subprocess.Popen(
            [*_DETECTOR, "--config", str(config), "run"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as detector:
            try:
                took = _seconds(mailbox)
            finally:
                detector.terminate()
                detector.wait(30)
    took.sort()
    note = f"{len(took)} of {_CONNECTS} connects; median {median(took):.2f} s, longest {took[-1]:.2f} s"
    yield Figure("from connect to message in the mailbox, p95", took[int(0.95 * len(took))], "s", note)


def _configure(folder: Path, mailbox: str) -> Path:
    rules = folder / "rules"
    rules.mkdir()
    (rules / "any_connect.yml").write_text(_RULE)
    config = folder / "detector.toml"
    config.write_text(
        f'host = "bench"\nstate_folder = "{folder}"\n[collector]\ninterval_seconds = 1\n'
        f'[rules]\nfolders = ["{rules}"]\n'
        f'[[channels]]\nname = "mail"\nurl = "{mailbox}"\nmessages_per_minute = 0\nmessages_per_hour = 0\n'
    )
    config.chmod(0o600)
    return config


def _seconds(mailbox: MailServer) -> list[float]:
    """How long each message took."""
    # Until one arrives nothing is measured: the programs are being loaded.
    deadline = time.monotonic() + 120
    while not mailbox.received:
        assert time.monotonic() < deadline, "no message has come"
        _connect(_FIRST_PORT)
        time.sleep(1)
    took = []
    for number in range(1, _CONNECTS + 1):
        began = time.monotonic()
        _connect(_FIRST_PORT + number)
        wanted = re.compile(rf"\b{_FIRST_PORT + number}\b")
        while not any(wanted.search(mail.as_string()) for mail in mailbox.received):
            assert time.monotonic() - began < 60, f"no message of connect {number}"
            time.sleep(0.01)
        took.append(time.monotonic() - began)
        # Not in step with the snapshots.
        time.sleep(0.37)
    return took


def _connect(port: int) -> None:
    with socket.socket() as client:
        client.connect_ex(("127.0.0.1", port))
