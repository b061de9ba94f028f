"""From a connect() in the kernel to an alert in a mailbox: real programs, real kernel, real SMTP server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.notify.servers import MailServer, part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.kernel

_DETECTOR = [sys.executable, "-m", "detector"]


@pytest.fixture
def mailbox() -> Iterator[MailServer]:
    """A real SMTP server on loopback."""
    with MailServer().running() as server:
        yield server


def _until(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} after {seconds} s"
        time.sleep(0.05)  # waits for other processes, which have no other way to tell


def _json(config: Path, *arguments: str) -> list[dict[str, object]]:
    done = subprocess.run([*_DETECTOR, "--config", str(config), *arguments, "--json"], capture_output=True, check=True)
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def test_a_port_scan_with_netcat_becomes_one_alert_in_a_mailbox(tmp_path: Path, mailbox: MailServer) -> None:
    """300 ports, one alert: on the terminal, in the outbox, in the mail, and the rows behind it in the history."""
    config = tmp_path / "detector.toml"
    config.write_text(
        f"""
host = "bastion-1"
state_folder = "{tmp_path}"
[collector]
interval_seconds = 1
[[channels]]
name = "mail"
url = "{mailbox.url}"
"""
    )
    config.chmod(0o600)
    output = tmp_path / "output"
    with (
        output.open("wb") as file,
        subprocess.Popen(
            [*_DETECTOR, "--config", str(config), "run"], stdout=file, stderr=subprocess.STDOUT
        ) as service,
    ):
        try:
            _until(lambda: b"snapshot" in output.read_bytes(), 60, "snapshot")
            subprocess.run(
                ["sh", "-c", "for p in $(seq 3001 3300); do nc -z -w1 127.0.0.1 $p; done"], check=False, env=os.environ
            )
            _until(lambda: mailbox.received, 60, "mail")
            # Were there more, they would come with the next snapshots.
            seen = output.read_text().count("snapshot")
            _until(lambda: output.read_text().count("snapshot") > seen + 2, 60, "further snapshots")
        finally:
            service.terminate()
            # Were a role not to end by itself within 5 s, it would be killed, and this not 0.
            assert service.wait(60) == 0

    text = output.read_text()
    assert text.count("== [") == 1, text
    assert "Traceback" not in text
    assert "learning: 0 min of 24 h" in text
    summary = r"root, via /usr/bin/nc\.openbsd, tried (\d+) ports on 127\.0\.0\.1 .* refused"
    found = re.search(summary, text)
    assert found, text

    (message,) = mailbox.received
    assert re.search(summary, part(message, "plain").replace("\n", " "))
    assert "bastion-1" in message["subject"]

    (alert,) = _json(config, "alerts", "list")
    assert alert["ports"] == 300
    assert alert["refused"] == 300
    rows = _json(config, "query", "--exe", "*/nc.openbsd", "--limit", "1000")
    assert sorted(row["remote_port"] for row in rows) == list(range(3001, 3301))  # type: ignore[type-var]
    assert {(row["user"], row["remote_address"], row["refused"]) for row in rows} == {("root", "127.0.0.1", 1)}
