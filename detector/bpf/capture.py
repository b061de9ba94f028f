"""Holds the kernel programs attached and takes the counts out of the kernel, without losing any."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Self

from detector.bpf import syscall
from detector.bpf.program import PROGRAMS, Sizes
from detector.domain import Losses
from detector.errors import CaptureError

if TYPE_CHECKING:
    from types import TracebackType

# struct connection_key, connection_value, path, image of connections.bpf.c
_KEY = struct.Struct("=16sQIIIIHHBBH16s")
_VALUE = struct.Struct("=7Q")
_PATH_BYTES = 512
_PATH_CUT = b"\x01"
_NUMBER = struct.Struct("=I")
_IMAGE_BYTES = 16
_LOSS = struct.Struct("=Q")

_RawKey = tuple[bytes, int, int, int, int, int, int, int, int, int, int, bytes]

# In the order of enum loss in connections.bpf.c, and after them what was rescued of the events that were missed.
_LOSS_KINDS = tuple(field.name for field in fields(Losses) if field.name != "missed")
UNKNOWN_ID = 0xFFFFFFFF

# The kernel's table of paths holds twice as many; at this point the names are taken over and it starts anew.
_PATHS_KEPT = 8192
_LOAD_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class KernelCount:
    """Counts of one key as the kernel numbers it. Addresses are 16 bytes, IPv4 mapped; UNKNOWN_ID means none.

    `executable` is a path; one that is longer than the kernel side keeps begins with "…/". None if unknown.
    """

    remote_address: bytes
    cgroup: int
    uid: int
    login_uid: int
    session: int
    executable: str | None
    remote_port: int
    local_port: int
    inbound: bool
    protocol: int
    command: str
    attempted: int
    established: int
    refused: int
    timed_out: int
    failed: int
    handshake_ns_total: int
    handshake_ns_max: int


@dataclass(frozen=True, slots=True)
class Drained:
    """What was counted, and lost, since the last drain."""

    counts: tuple[KernelCount, ...]
    losses: Losses


class Capture:
    """The attached programs. Use as a context manager, or call `close`; the kernel cleans up after a crash.

    Args:
        map_entries: distinct keys that one drain can hold; what finds no room is counted as lost.
        pending_entries: attempts under way at once; default as many as keys.

    Raises:
        CaptureError: the programs cannot be loaded; see preflight for the usual reasons.
    """

    def __init__(self, *, map_entries: int, pending_entries: int | None = None) -> None:
        sizes = Sizes(counts=map_entries, pending=pending_entries or map_entries)
        self._fds = _load_apart(sizes)
        self._in_use = 0
        self._lost = Losses()
        self._names: dict[int, str] = {}
        self._names_before: dict[int, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Detaches everything."""
        while self._fds:
            os.close(self._fds.popitem()[1])

    def drain(self) -> Drained:
        """Everything counted since the last call. Nothing is lost in between, and nothing counted twice.

        Raises:
            CaptureError: the kernel refuses.
        """
        maps = (self._fds["map:counts_a"], self._fds["map:counts_b"])
        full = maps[self._in_use]
        self._in_use = 1 - self._in_use
        # Returns when no program uses the old map any more: from here on it is ours alone.
        syscall.update(self._fds["map:active"], b"\0\0\0\0", _NUMBER.pack(maps[self._in_use]))
        raw = [
            (key, value)
            for keys, values in syscall.entries(full, _KEY.size, _VALUE.size, remove=True)
            for key, value in zip(_KEY.iter_unpack(keys), _VALUE.iter_unpack(values), strict=True)
        ]
        losses = self._new_losses()
        self._learn_names({key[5] for key, _ in raw if key[5]}, table_full=losses.unnamed > 0)
        return Drained(counts=tuple(self._count(key, value) for key, value in raw), losses=losses)

    def program_statistics(self) -> dict[str, tuple[int, int, int]]:
        """For each program, by its tracepoint: see `syscall.program_statistics`."""
        return {each: syscall.program_statistics(self._fds[f"program:{each}"]) for each in (*PROGRAMS, "rescue")}

    def _count(self, key: _RawKey, value: tuple[int, ...]) -> KernelCount:
        address, cgroup, uid, login_uid, session, number, remote_port, local_port, inbound, protocol, _, command = key
        return KernelCount(
            address, cgroup, uid, login_uid, session, self._name(number), remote_port, local_port, bool(inbound),
            protocol, _text(command.partition(b"\0")[0]), *value,
        )  # fmt: skip

    def _name(self, number: int) -> str | None:
        return self._names.get(number) or self._names_before.get(number)

    def _learn_names(self, numbers: set[int], *, table_full: bool) -> None:
        if not table_full and all(number in self._names or number in self._names_before for number in numbers):
            return
        self._read_names(remove=False)
        if table_full or len(self._names) >= _PATHS_KEPT:
            # A table that only grows could be filled on purpose, and then nothing new would be named. The counts at
            # hand and the attempts under way still refer to old numbers, so those names live for one more turn.
            self._names_before, self._names = self._names, {}
            self._read_names(remove=True)
            self._names_before |= self._names
            self._names = {}
            for _ in syscall.entries(self._fds["map:images"], _IMAGE_BYTES, _NUMBER.size, remove=True):
                pass

    def _read_names(self, *, remove: bool) -> None:
        for paths, numbers in syscall.entries(self._fds["map:paths"], _PATH_BYTES, _NUMBER.size, remove=remove):
            for index, (number,) in enumerate(_NUMBER.iter_unpack(numbers)):
                path = paths[index * _PATH_BYTES : (index + 1) * _PATH_BYTES].lstrip(b"\0")
                self._names[number] = "…/" + _text(path[1:]) if path[:1] == _PATH_CUT else _text(path)

    def _new_losses(self) -> Losses:
        read = {
            kind: _LOSS.unpack(syscall.lookup(self._fds["map:counters"], _NUMBER.pack(index), _LOSS.size))[0]
            for index, kind in enumerate((*_LOSS_KINDS, "rescued"))
        }
        # What was rescued is read before what was missed, and both only grow; kernels before 6.7 do not count the
        # latter.
        missed = max(0, self._missed() - read.pop("rescued"), self._lost.missed)
        total = Losses(**read, missed=missed)
        new, self._lost = total - self._lost, total
        return new

    def _missed(self) -> int:
        return sum(statistics[2] for name, statistics in self.program_statistics().items() if name != "rescue")


def _text(raw: bytes) -> str:
    # Names are bytes to the kernel; what is not UTF-8 becomes visible, and can be stored anywhere.
    return raw.decode("utf-8", errors="backslashreplace")


def _load_apart(sizes: Sizes) -> dict[str, int]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, tempfile.TemporaryFile() as said:
        with theirs:
            loader = subprocess.Popen(  # noqa: S603  our own module
                [sys.executable, "-P", "-m", "detector.bpf.program", str(theirs.fileno()), json.dumps(asdict(sizes))],
                pass_fds=[theirs.fileno()],
                # Ctrl-C is for the process that waits for it.
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        ours.settimeout(_LOAD_TIMEOUT_SECONDS)
        try:
            message, fds, _, _ = socket.recv_fds(ours, 65536, 64)
        except TimeoutError:
            loader.kill()
            raise CaptureError(f"loading the kernel programs took over {_LOAD_TIMEOUT_SECONDS:.0f} s") from None
        finally:
            loader.wait()
        said.seek(0)
        explanation = _text(said.read()[-4000:]).strip()
    answer = json.loads(message) if message else {"error": "the loader of the kernel programs ended without a word"}
    if "error" in answer:
        raise CaptureError(answer["error"], hint=f"the compiler and kernel said:\n{explanation}" if explanation else "")
    return dict(zip(answer["names"], fds, strict=True))
