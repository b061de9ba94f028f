"""Processor time that a connect takes over loopback, and how much more with the programs attached.

Client and server are one process on one processor: nothing waits for anything, and nothing but connecting takes time.
Each figure is compared with nobody watching right before and right after it.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from contextlib import contextmanager
from statistics import fmean, median, quantiles
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from benchmarks.nothing import attach_nothing
from detector.bpf.capture import Capture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

_ROUNDS = 31
_CONNECTS = 2000
_MICROSECONDS = 1e6
# A closing socket resets the connection: no TIME_WAIT, so that local ports do not run out.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@contextmanager
def _all_programs() -> Iterator[None]:
    with Capture(map_entries=32_768):
        yield


@contextmanager
def _no_second_program() -> Iterator[None]:
    """Inexact: what happens in an interrupt while the first one is at work is missed."""
    with Capture(map_entries=32_768) as capture:
        for name in [each for each in capture._fds if each.startswith("attachment:rescue_state_change")]:
            os.close(capture._fds.pop(name))
        yield


@contextmanager
def _empty_program() -> Iterator[None]:
    descriptors = attach_nothing()
    try:
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


_WATCHED: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "all programs": _all_programs,
    "all but the one that rescues": _no_second_program,
    "an empty program": _empty_program,
}


def measure() -> Iterator[Figure]:
    """Medians, with the quarter and three quarters of them: whatever interrupts a connect is counted with it."""
    bare: list[float] = []
    more: dict[str, list[float]] = {name: [] for name in _WATCHED}
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
            _per_connect(server)
            for _ in range(_ROUNDS):
                for name, watched in _WATCHED.items():
                    first = _per_connect(server)
                    with watched():
                        seen = _per_connect(server)
                    last = _per_connect(server)
                    bare += [first, last]
                    more[name].append(seen - fmean((first, last)))
    finally:
        os.sched_setaffinity(0, before)
    yield Figure("bare", median(bare), "µs", f"median of {len(bare)}")
    for name, measured in more.items():
        low, middle, high = quantiles(measured)
        yield Figure(f"with {name}: more", middle, "µs", f"median of {_ROUNDS}, {low:.2f} to {high:.2f}")
        yield Figure(f"with {name}: of the bare rate", median(bare) / (median(bare) + middle), "")


def _per_connect(server: socket.socket) -> float:
    """Microseconds of this process, those of the kernel on its behalf included."""
    address = server.getsockname()
    started = time.process_time()
    for _ in range(_CONNECTS):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            client.connect(address)
            server.accept()[0].close()
    return (time.process_time() - started) * _MICROSECONDS / _CONNECTS
