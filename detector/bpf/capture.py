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
from typing import TYPE_CHECKING, Any, Self

from detector.bpf import syscall
from detector.bpf.answers import DnsAnswer, read_answers
from detector.bpf.hooks import HookState
from detector.bpf.processes import KernelProcess, Listener, Processes
from detector.bpf.sizes import Sizes
from detector.domain import Losses
from detector.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from types import TracebackType

# struct connection_key and connection_value of common.bpf.c
_KEY = struct.Struct("=16sIHHBBBB")
_VALUE = struct.Struct("=7Q")
_NUMBER = struct.Struct("=I")
_COUNTER = struct.Struct("=Q")
_INBOUND = 1
_KEY_ADDRESS_UNKNOWN = 2

# In the order of enum counter in common.bpf.c.
_COUNTERS = tuple(field.name for field in fields(Losses) if field.name != "missed")

# Processes whose counts found no room, each with one entry in which they are put together.
_FOLDED_ENTRIES = 4096
_NAMED_ENTRIES = 16_384
CACHE = "/var/cache/detector"
"""Where compiled programs are kept, so that a start takes no compiler."""
# Two seconds on most machines if they have to be compiled; a minute and more where the processor is emulated.
_LOAD_TIMEOUT_SECONDS = 240.0
# What one of them is not shown, since it is running on that processor, the other one is.
_TWINS = frozenset({"count_state_change", "rescue_state_change"})

_Chunk = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class KernelCount:
    """Counts of one key as the kernel holds them.

    `remote_address` is 16 bytes, IPv4 mapped, or None where it is unknown; `protocol` IP's number, 255 for raw sockets
    and 254 for those below IP; `process` None if nothing is known of it.
    """

    remote_address: bytes | None
    process: KernelProcess | None
    remote_port: int
    local_port: int
    inbound: bool
    protocol: int
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
    answers: tuple[DnsAnswer, ...]


class Capture:
    """The attached programs. Use as a context manager, or call `close`; the kernel cleans up after a crash.

    Args:
        map_entries: distinct keys that one drain can hold; what finds no room is counted by its process alone.
        pending_entries: attempts under way at once; default as many as keys.
        folded_entries: processes that can be counted so.
        named_entries: processes, and paths, that the kernel side remembers at once.
        use_types: read the kernel's structures. False does without its type information even if there is any.
        cache: the folder in which compiled programs are kept; made if need be. Empty: they are not kept. None: CACHE.

    Raises:
        CaptureError: the programs cannot be loaded; see preflight for the usual reasons.
    """

    def __init__(
        self,
        *,
        map_entries: int,
        pending_entries: int | None = None,
        folded_entries: int = _FOLDED_ENTRIES,
        named_entries: int = _NAMED_ENTRIES,
        use_types: bool = True,
        cache: str | None = None,
    ) -> None:
        sizes = Sizes(
            counts=map_entries, folded=folded_entries, pending=pending_entries or map_entries, named=named_entries
        )
        wanted = {"sizes": asdict(sizes), "types": use_types, "cache": CACHE if cache is None else cache}
        self._fds, answer = _load_apart(wanted)
        self.hooks = tuple(HookState(**{**each, "in_use": tuple(each["in_use"])}) for each in answer["hooks"])
        """What is attached, and what is not seen as a result."""
        self.untyped: str = answer["untyped"]
        """Why the kernel's structures cannot be read; empty if they can."""
        self.uncached: str = answer["uncached"]
        """Why what was compiled could not be kept for the next start; empty if it was."""
        self._pairs = (_Pair(self._fds, "active", "counts"), _Pair(self._fds, "active_folded", "folded"))
        self._processes = Processes(self._fds, named_entries)
        self._generation = 0
        self._lost = Losses()

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

    def sees(self, name: str) -> bool:
        """Whether the hook of this name (see `hooks.HOOKS`) is in use."""
        return any(hook.name == name and hook.in_use for hook in self.hooks)

    @property
    def unseen(self) -> tuple[str, ...]:
        """What cannot be seen on this kernel, in words."""
        untyped = (f"executables, logins, and why connects fail ({self.untyped})",) if self.untyped else ()
        return (*untyped, *(hook.unseen for hook in self.hooks if hook.unseen))

    def add_listeners(self, listeners: Iterable[Listener]) -> None:
        """Tells the programs who listened before they were attached.

        Raises:
            CaptureError: the kernel refuses.
        """
        self._processes.add_listeners(listeners)

    def login_address(self, session: int) -> bytes | None:
        """Where a login session came from, 16 bytes, IPv4 mapped: the peer of the accepted connection that the first
        process of the session holds. None if that is not known.
        """
        return self._processes.login_address(session)

    def drain(self) -> Drained:
        """Everything counted since the last call. Nothing is lost in between, and nothing counted twice.

        Raises:
            CaptureError: the kernel refuses.
        """
        full = [pair.swap() for pair in self._pairs]
        self._begin_generation()
        chunks = [chunk for fd in full for chunk in syscall.entries(fd, _KEY.size, _VALUE.size, remove=True)]
        losses = self._new_losses()
        numbers = {key[1] for keys, _ in chunks for key in _KEY.iter_unpack(keys) if key[1]}
        self._processes.learn(numbers, table_full=losses.unnamed + losses.unnumbered > 0)
        answers = self._fds.get("map:answers")
        return Drained(
            counts=tuple(self._counts(chunks)),
            losses=losses,
            answers=() if answers is None else read_answers(answers),
        )

    def program_statistics(self) -> dict[str, tuple[int, int, int]]:
        """For each program, by its function: see `syscall.program_statistics`."""
        return {
            name.removeprefix("program:"): syscall.program_statistics(fd)
            for name, fd in self._fds.items()
            if name.startswith("program:")
        }

    def _begin_generation(self) -> None:
        # After the swap: a flow that sends in between is then counted in the old snapshot or in both, never in none.
        self._generation = (self._generation + 1) % 2**32
        if (fd := self._fds.get("map:generation")) is not None:
            syscall.update(fd, bytes(_NUMBER.size), _NUMBER.pack(self._generation))

    def _counts(self, chunks: Collection[_Chunk]) -> Iterator[KernelCount]:
        for keys, values in chunks:
            for key, value in zip(_KEY.iter_unpack(keys), _VALUE.iter_unpack(values), strict=True):
                address, number, remote_port, local_port, direction, protocol, flags, _ = key
                yield KernelCount(
                    None if flags & _KEY_ADDRESS_UNKNOWN else address,
                    self._processes.get(number),
                    remote_port,
                    local_port,
                    direction == _INBOUND,
                    protocol,
                    *value,
                )

    def _new_losses(self) -> Losses:
        counted = {}
        for index, name in enumerate(_COUNTERS):
            value = syscall.lookup(self._fds["map:counters"], _NUMBER.pack(index), _COUNTER.size)
            counted[name] = _COUNTER.unpack(value)[0] if value else 0
        # Kernels before 6.7 do not count it for all kinds of attachment.
        total = Losses(**counted, missed=max(self._missed(), self._lost.missed))
        new, self._lost = total - self._lost, total
        return new

    def _missed(self) -> int:
        return sum(statistics[2] for name, statistics in self.program_statistics().items() if name not in _TWINS)


class _Pair:
    """Two maps of counts behind one that says which is in use."""

    def __init__(self, fds: dict[str, int], active: str, name: str) -> None:
        self._active = fds[f"map:{active}"]
        self._maps = (fds[f"map:{name}_a"], fds[f"map:{name}_b"])
        self._in_use = 0

    def swap(self) -> int:
        """Puts the other map in use; the one that was is ours alone when this returns."""
        full = self._maps[self._in_use]
        self._in_use = 1 - self._in_use
        syscall.update(self._active, bytes(_NUMBER.size), _NUMBER.pack(self._maps[self._in_use]))
        return full


def _load_apart(wanted: dict[str, Any]) -> tuple[dict[str, int], dict[str, Any]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, tempfile.TemporaryFile() as said:
        with theirs:
            loader = subprocess.Popen(  # noqa: S603  our own module
                [sys.executable, "-P", "-m", "detector.bpf.program", str(theirs.fileno()), json.dumps(wanted)],
                pass_fds=[theirs.fileno()],
                # Ctrl-C is for the process that waits for it.
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        ours.settimeout(_LOAD_TIMEOUT_SECONDS)
        try:
            message, fds, _, _ = socket.recv_fds(ours, 65536, 128)
        except TimeoutError:
            loader.kill()
            raise CaptureError(f"loading the kernel programs took over {_LOAD_TIMEOUT_SECONDS:.0f} s") from None
        finally:
            loader.wait()
        said.seek(0)
        explanation = said.read()[-4000:].decode("utf-8", errors="backslashreplace").strip()
    answer = json.loads(message) if message else {"error": "the loader of the kernel programs ended without a word"}
    if "error" in answer:
        raise CaptureError(answer["error"], hint=f"the compiler and kernel said:\n{explanation}" if explanation else "")
    return dict(zip(answer["names"], fds, strict=True)), answer
