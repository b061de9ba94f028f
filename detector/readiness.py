"""Tells the service manager how this process is: sd_notify(3), a datagram to the socket that it names.

Without a manager that asks for it nothing is said.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from threading import Event

SOCKET = "NOTIFY_SOCKET"
"""The environment variable that names the socket."""
# A sign is given so many times within the time after which the manager would end the process.
_SIGNS = 4
_MICROSECONDS = 1_000_000


def begun() -> Watchdog:
    """Says that what is needed is there, and the work begins; returns what gives signs of life from now on."""
    _say("READY=1")
    return Watchdog()


def stopping() -> None:
    """The end has begun, because somebody asked for it."""
    _say("STOPPING=1")


class Watchdog:
    """The sign of life of the loop that does the work: where that hangs, the manager ends the process and starts it
    again.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Reads from the environment whether signs are wanted of this process, and how often."""
        wanted = environ.get("WATCHDOG_USEC", "")
        # Of this process, not of one that started it.
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._every = int(wanted) / _MICROSECONDS / _SIGNS if wanted.isdecimal() and ours else None
        self._given_at = -float("inf")

    def wait(self, stop: Event, seconds: float) -> bool:
        """Waits for so long, or until `stop`, which it returns; gives a sign when it is time for one."""
        until = time.monotonic() + seconds
        while True:
            self._sign()
            left = max(0.0, until - time.monotonic())
            wait = left if self._every is None else min(left, self._every)
            if stop.wait(wait) or left <= wait:
                return stop.is_set()

    def _sign(self) -> None:
        now = time.monotonic()
        if self._every is not None and now - self._given_at >= self._every:
            self._given_at = now
            _say("WATCHDOG=1")


def _say(what: str) -> None:
    address = os.environ.get(SOCKET, "")
    if not address.startswith(("/", "@")):
        return
    # "@": in the abstract namespace, whose names begin with a zero byte.
    address = f"\0{address[1:]}" if address.startswith("@") else address
    # A manager that does not listen any more is no reason to stop counting; it will miss the sign of life.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
        told.setblocking(False)
        told.connect(address)
        told.send(what.encode())
