"""Capture says what it does not see, on the real kernel."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from detector.bpf.btf import _MEMBER_WORDS, _TYPE_WORDS, KERNEL_TYPES, KernelTypes
from detector.bpf.capture import Capture
from detector.collector.live import LiveCollector

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kernel


def test_each_snapshot_proves_by_a_connect_of_its_own_that_it_saw(live: LiveCollector) -> None:
    """The proof itself is not in the snapshot."""
    for _ in range(3):
        snapshot = live.take()
        assert snapshot.health.self_test_passed is True
        assert snapshot.health.blind_since is None
        assert live._self_test._port not in {count.key.remote_port for count in snapshot.counts}


@pytest.mark.parametrize(
    "functions", [{"count_state_change", "rescue_state_change"}, {"count_sent", "count_send_call"}]
)
def test_programs_that_were_detached_are_noticed_in_the_next_snapshot(functions: set[str]) -> None:
    """Blind since the last snapshot that was proven, whichever of what is proven fails."""
    with Capture(map_entries=1024) as capture, LiveCollector(capture, "test-host") as live:
        before = live.take()
        for name in list(capture._fds):
            kind, function, *_ = name.split(":")
            if kind == "attachment" and function in functions:
                os.close(capture._fds.pop(name))
        for _ in range(2):
            health = live.take().health
            assert (health.self_test_passed, health.blind_since) == (False, before.end)


def test_what_came_too_late_is_said(live: LiveCollector) -> None:
    """The caller knows when the snapshot was due."""
    assert live.take(late_seconds=12.5).health.late_seconds == 12.5


def test_without_type_information_connects_are_counted_and_what_is_unknown_is_said() -> None:
    """Address, port, user and command need none of it; the executable and why a connect failed do."""
    started = datetime.now(UTC)
    with (
        Capture(map_entries=1024, use_types=False) as capture,
        LiveCollector(capture, "test-host") as live,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        port = server.getsockname()[1]
        for wanted in (port, 29):
            subprocess.run(["nc", "-z", "127.0.0.1", str(wanted)], check=False)
        snapshot = live.take()
    counts = {count.key.remote_port: count for count in snapshot.counts if count.key.remote_port}
    reached, refused = counts[port], counts[29]
    assert (reached.attempted, reached.established, refused.attempted, refused.failed) == (1, 1, 1, 1)
    assert (reached.key.command, reached.key.user, reached.key.executable) == ("nc", "root", None)
    assert snapshot.health.self_test_passed is True
    assert snapshot.start >= started
    assert any("why connects fail" in each for each in snapshot.health.unseen)
    assert "UDP, ICMP, raw and packet sockets" in snapshot.health.unseen


_COUNT_ONE = """
import json, socket
from detector.bpf.capture import Capture
from detector.collector.live import LiveCollector
with Capture(map_entries=1024) as capture, LiveCollector(capture, "test-host") as live:
    socket.socket().connect_ex(("127.0.0.1", 31))
    snapshot = live.take()
counted = sum(count.attempted for count in snapshot.counts if count.key.remote_port == 31)
print(json.dumps([counted, snapshot.health.self_test_passed, snapshot.health.unseen]))
"""


def test_a_kernel_that_is_laid_out_otherwise_than_it_is_read_is_counted_all_the_same(tmp_path: Path) -> None:
    """The kernel refuses the programs, as one to come may: TCP is counted without what they read, and that is said."""
    described = tmp_path / "vmlinux"
    described.write_bytes(_misleading(KERNEL_TYPES.read_bytes()))
    inside = f'mount --bind {described} {KERNEL_TYPES} && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", inside, "sh", sys.executable, "-P", "-c", _COUNT_ONE]
    counted, passed, unseen = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert (counted, passed) == (1, True)
    assert any("why connects fail" in each and "loading the kernel program" in each for each in unseen)


def _misleading(raw: bytes) -> bytes:
    """The same types, but css_set.dfl_cgrp, a pointer, is where a number is."""
    types = KernelTypes(raw)
    number = types.offsets([("css_set", "nr_tasks")])["css_set", "nr_tasks"]
    assert number
    changed = bytearray(raw)
    words = memoryview(changed)[: len(raw) // 4 * 4].cast("I")
    (owner,) = (each for each in types._named(set(types._places("css_set"))) if types._entries(each))
    first = types._types[owner] + _TYPE_WORDS
    for at in range(first, first + _MEMBER_WORDS * types._entries(owner), _MEMBER_WORDS):
        if types._is(words[at], b"dfl_cgrp"):
            words[at + 2] = 8 * number
    return bytes(changed)
