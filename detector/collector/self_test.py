"""Proves for every snapshot that what happens on this host is counted: by a connect of our own that must be there."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from detector.bpf.capture import Drained, KernelCount

_ADDRESS = "127.0.0.1"
_MAPPED = bytes(10) + b"\xff\xff" + socket.inet_aton(_ADDRESS)


class SelfTest:
    """Connects to a port of this host on which nobody listens, and sends it a datagram if `datagrams` are counted.

    Holds the port, so that nobody else can listen there. Close it in the end.
    """

    def __init__(self, *, datagrams: bool) -> None:
        self._reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._reserved.bind((_ADDRESS, 0))
        except OSError:
            # No loopback to test with: this namespace has none, or it is down.
            self._port = 0
        else:
            self._port = self._reserved.getsockname()[1]
        self._wanted = {socket.IPPROTO_TCP, *([socket.IPPROTO_UDP] if datagrams else [])}
        self._executable = str(Path("/proc/self/exe").readlink())
        self._made = False

    def close(self) -> None:
        """Gives the port back."""
        self._reserved.close()

    def begin(self) -> None:
        """Makes the connect; to be followed by a drain."""
        self._made = bool(self._port) and all(self._send(protocol) for protocol in self._wanted)

    def _send(self, protocol: int) -> bool:
        kind = socket.SOCK_STREAM if protocol == socket.IPPROTO_TCP else socket.SOCK_DGRAM
        # The socket, too: a process may have no more files left.
        try:
            with socket.socket(socket.AF_INET, kind) as client:
                client.setblocking(False)
                if kind == socket.SOCK_DGRAM:
                    client.sendto(b"", (_ADDRESS, self._port))
                else:
                    with suppress(ConnectionRefusedError, BlockingIOError):
                        client.connect((_ADDRESS, self._port))
        except OSError:
            return False
        return True

    def end(self, drained: Drained) -> tuple[tuple[KernelCount, ...], bool | None]:
        """The counts without our own, and whether all of ours were there; None if the connect could not be made."""
        if not self._port:
            return drained.counts, None
        seen: set[int] = set()
        others = tuple(self._without_own(drained.counts, seen))
        if not self._made:
            return others, None
        # Ours may be among those that found no room: it was counted nevertheless.
        no_room = drained.losses.folded or drained.losses.attempted
        return others, bool(seen >= self._wanted or no_room)

    def _without_own(self, counts: Iterable[KernelCount], seen: set[int]) -> Iterable[KernelCount]:
        for count in counts:
            if not self._is_own(count):
                yield count
                continue
            seen.add(count.protocol)
            # Whatever else this process did at the same address is not ours to hide.
            if count.attempted > 1:
                yield replace(count, attempted=count.attempted - 1, refused=max(0, count.refused - 1))

    def _is_own(self, count: KernelCount) -> bool:
        process = count.process
        return (
            count.remote_port == self._port
            and count.remote_address == _MAPPED
            and not count.inbound
            and count.protocol in self._wanted
            and (process is None or (process.uid == os.geteuid() and process.executable in {None, self._executable}))
        )
