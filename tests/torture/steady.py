"""Connects at a steady rate until it is told to end, and writes down what it did:  steady.py LEDGER PORT HOLE

Five times a second a batch of connects, under a command name of its own, so that each can be found again in the store,
even where counts were folded: to 127.0.0.1 and ::1 on PORT, where somebody accepts, to port 1, where nobody does, and
to HOLE, which never answers and is given up. Every sixth second one more, to port 2, under the name of a mark, of which
a rule is to make an alert of its own.

A line of the ledger: the name, and how many of its connects were established, refused, and given up.
"""

from __future__ import annotations

import ctypes
import signal
import socket
import struct
import sys
import time
from threading import Event

EVERY_SECONDS = 0.2
"""Between two batches."""
_BATCHES_TO_A_MARK = 30
_ACCEPTED, _REFUSED = 3, 3
# A closing socket resets the connection: no TIME_WAIT, so that local ports do not run out.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_PR_SET_NAME = 15
_libc = ctypes.CDLL(None)


def _connect(address: str, port: int, *, blocking: bool = True) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        client.setblocking(blocking)
        client.connect_ex((address, port))


def _batch(port: int, hole: str) -> tuple[int, int, int]:
    for address in ("127.0.0.1", "::1"):
        for _ in range(_ACCEPTED):
            _connect(address, port)
    for _ in range(_REFUSED):
        _connect("127.0.0.1", 1)
    _connect(hole, 9, blocking=False)
    return 2 * _ACCEPTED, _REFUSED, 1


def main(ledger: str, port: int, hole: str) -> None:
    """See above."""
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    number, due = 0, time.monotonic()
    with open(ledger, "w", encoding="ascii") as file:  # noqa: PTH123  without pathlib it starts sooner
        while not stop.is_set():
            number += 1
            name = f"batch-{number:07d}"
            _libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
            print(name, *_batch(port, hole), file=file, flush=True)
            if number % _BATCHES_TO_A_MARK == 0:
                name = f"mark-{number // _BATCHES_TO_A_MARK:05d}"
                _libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
                _connect("127.0.0.1", 2)
                print(name, 0, 1, 0, file=file, flush=True)
            due = max(due + EVERY_SECONDS, time.monotonic())
            stop.wait(due - time.monotonic())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
