"""Loads and attaches the kernel programs; run as a short-lived process that hands the descriptors over.

The compiler takes more than 100 MB, so it lives only as long as it is needed, and what it made is kept for the next
start. `python -m detector.bpf.program` sends the descriptors of the maps, programs and attachments over a socket and
exits; whoever holds them keeps the programs attached, and the kernel detaches them when the last holder is gone,
however it ended.
"""

from __future__ import annotations

import json
import os
import resource
import secrets
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.bpf import perf_events, syscall
from detector.bpf.btf import KernelTypes, kernel_offsets, kernel_types
from detector.bpf.compiler import compiled, identity
from detector.bpf.hooks import HOOKS, Attachment, Hook, HookState, Program
from detector.bpf.linking import NUMBERS, link, with_maps
from detector.bpf.objects import KernelObject, ObjectCache
from detector.bpf.preflight import OLDEST_TYPED_KERNEL, kernel_version
from detector.bpf.sizes import Sizes
from detector.bpf.syscall import ProgramKind
from detector.errors import CaptureError, DetectorError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FOLDER = Path(__file__).resolve().parent
# Each makes use of those before it.
_SOURCES = (
    *("common", "sockets", "paths", "origins", "process", "pending", "tcp", "calls"),
    *("destinations", "flows", "rings", "sends", "connects", "answers"),
)
_HOST_NETWORK = Path("/proc/self/ns/net")
_KINDS = {
    Attachment.TRACEPOINT: ProgramKind.TRACEPOINT,
    Attachment.RAW_TRACEPOINT: ProgramKind.TRACING,
    Attachment.KPROBE: ProgramKind.KPROBE,
    Attachment.KRETPROBE: ProgramKind.KPROBE,
}
_CLOCK_MONOTONIC_COARSE = 6

# Of each map of maps, the one that programs write to first.
_FIRST_MAPS = {"active": "counts_a", "active_folded": "folded_a"}
_MAPS = ("counts_a", "counts_b", "active", "folded_a", "folded_b", "active_folded", "pending", "counters", "processes")
_MAPS_WITH_TYPES = ("images", "paths", "origins", "listeners", "generation", "answers")


class _Loader:
    """`why_untyped`: not to use the kernel's type information even if there is any, and why."""

    def __init__(self, sizes: Sizes, cache: Path | None = None, *, why_untyped: str = "") -> None:
        self._types, self.offsets, self.why_untyped = (None, {}, why_untyped) if why_untyped else _offsets()
        self.why_uncached = "" if cache else "not wanted"
        self._object = self._compiled(_flags(sizes, self.offsets), cache)
        # Before 5.11 maps are charged to what a process may lock in memory.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self._maps: dict[str, int] = {}
        # Those of other maps last: they are given one of these.
        for name, definition in sorted(self._object.maps.items(), key=lambda each: bool(each[1].inner)):
            inner = self._maps[definition.inner] if definition.inner else 0
            self._maps[name] = syscall.create_map(name, definition, inner)
        self._attached: dict[str, Program] = {}
        names = (*_MAPS, *(_MAPS_WITH_TYPES if self.offsets else ()))
        self.descriptors = {f"map:{name}": self._maps[name] for name in names}
        # Before anything is attached, so that the first event finds a map to be counted in.
        for active, first in _FIRST_MAPS.items():
            syscall.update(self._maps[active], bytes(4), struct.pack("=I", self._maps[first]))
        if (drawn := self._object.maps.get("flow_secrets")) is not None:
            syscall.update(self._maps["flow_secrets"], bytes(4), secrets.token_bytes(drawn.value_bytes))

    def _compiled(self, flags: list[str], cache: Path | None) -> KernelObject:
        text = _text()
        if cache is None:
            return compiled(text, flags, _FIRST_MAPS)
        kept = ObjectCache(cache)
        # The text of tracepoints' formats, which differ from kernel to kernel, is added by the compiler.
        key = (text, *flags, identity(), os.uname().release)
        found = kept.get(key)
        if found is None:
            found = compiled(text, flags, _FIRST_MAPS)
            try:
                kept.put(key, found)
            except CaptureError as fault:
                self.why_uncached = fault.message
        return found

    def attach(self, hook: Hook) -> HookState:
        """Attaches the hook in the first way that works."""
        if covering := self._attached.get(hook.covered_by):
            return HookState(name=hook.name, in_use=(str(covering),), unseen="")
        faults = []
        for way in hook.ways:
            try:
                found = self._attach_all(way)
            except CaptureError as fault:
                # What the kernel has to say: whoever started this process shows it if need be.
                sys.stderr.write(f"{fault.hint}\n")
                faults.append(f"{way[0]}: {fault.message}")
            else:
                self.descriptors |= found
                self._attached |= {program.function: program for program in way}
                return HookState(name=hook.name, in_use=tuple(str(each) for each in way), unseen="")
        if hook.required:
            raise CaptureError(f"the kernel programs cannot be attached: {'; '.join(faults)}")
        return HookState(name=hook.name, in_use=(), unseen=hook.unseen)

    def _attach_all(self, way: tuple[Program, ...]) -> dict[str, int]:
        for program in way:
            if program.types != bool(self.offsets):
                raise CaptureError("needs the kernel's type information" if program.types else "not needed")
        # Loaded all before the first is attached: a way works as a whole or not at all.
        loaded = {each.function: self._load(each) for each in way}
        found = {f"program:{name}": fd for name, fd in loaded.items()}
        return found | {
            f"attachment:{each.function}:{each.target}": self._attach(each, loaded[each.function]) for each in way
        }

    def _load(self, program: Program) -> int:
        if program.attachment in (Attachment.KPROBE, Attachment.KRETPROBE) and not perf_events.KPROBES.exists():
            raise CaptureError("the kernel has no kprobes")
        number = 0
        if program.attachment is Attachment.RAW_TRACEPOINT:
            number = self._types.tracepoint(program.target.split(":")[1]) or 0 if self._types else 0
            if not number:
                raise CaptureError("the kernel has no such tracepoint")
        descriptors = {place: self._maps[name] for place, name in enumerate(self._object.maps)}
        code = with_maps(link(program.function, self._object.functions.__getitem__), descriptors)
        return syscall.load(program.function, _KINDS[program.attachment], code, tracepoint=number)

    def _attach(self, program: Program, loaded: int) -> int:
        if program.attachment is Attachment.TRACEPOINT:
            return perf_events.attach_to_tracepoint(loaded, program.target)
        if program.attachment is Attachment.RAW_TRACEPOINT:
            return syscall.attach_to_tracepoint(loaded)
        return perf_events.attach_to_function(loaded, program.target, at_end=program.attachment is Attachment.KRETPROBE)


def _flags(sizes: Sizes, offsets: Mapping[str, int]) -> list[str]:
    return [
        f"-DCOUNT_ENTRIES={sizes.counts}",
        f"-DFOLDED_ENTRIES={sizes.folded}",
        f"-DPENDING_ENTRIES={sizes.pending}",
        f"-DNAMED_ENTRIES={sizes.named}",
        # Twice as many, so that few attempts under way find their slot taken.
        f"-DPENDING_SLOTS={1 << sizes.pending.bit_length()}",
        # The coarse clock is as fine as the kernel's ticks.
        f"-DTICK_NS={round(time.clock_getres(_CLOCK_MONOTONIC_COARSE) * 1e9)}",
        f"-DHOST_NETWORK={_HOST_NETWORK.stat().st_ino}",
        f"-DMACHINE_{os.uname().machine}",
        *(f"-DNUMBER_{name}={number}" for name, number in NUMBERS.items()),
        *(["-DKPROBES"] if perf_events.KPROBES.exists() else []),
        *(["-DTYPES", f"-DSOCKET_HEAD_BYTES={_head_bytes(offsets)}"] if offsets else []),
        *(f"-DOFFSET_{name}={offset}" for name, offset in offsets.items()),
    ]


def _head_bytes(offsets: Mapping[str, int]) -> int:
    """How much of struct sock is read to have the members that are looked at for each socket, in whole words."""
    sizes = {"daddr": 4, "rcv_saddr": 4, "dport": 2, "num": 2, "family": 2, "state": 1}
    end = max(offsets[f"sock_common_skc_{name}"] + size for name, size in sizes.items())
    return -(-end // 8) * 8


def _text() -> str:
    files = (_FOLDER / f"{name}.bpf.c" for name in _SOURCES)
    return "\n".join(f'#line 1 "{file.name}"\n{file.read_text(encoding="utf-8")}' for file in files)


def _offsets() -> tuple[KernelTypes | None, Mapping[str, int], str]:
    version = kernel_version()
    if version and version < OLDEST_TYPED_KERNEL:
        return None, {}, f"this kernel is older than {'.'.join(map(str, OLDEST_TYPED_KERNEL))}"
    try:
        types = kernel_types()
        return types, kernel_offsets(types), ""
    except CaptureError as fault:
        return None, {}, fault.message


def load(sizes: Sizes, cache: Path | None, *, use_types: bool = True) -> tuple[dict[str, int], dict[str, Any]]:
    """Attaches all hooks that can be. Returns the descriptors by name, and how they stand, fit for JSON.

    Args:
        sizes: of the maps.
        cache: the folder of compiled programs; None: none is kept.
        use_types: the kernel's type information is used, if there is any and the kernel accepts what reads by it.

    Raises:
        CaptureError: capture cannot be started.
    """
    try:
        return _load(sizes, cache, "" if use_types else "not wanted")
    except CaptureError as fault:
        if not use_types:
            raise
        # A kernel to come may have changed what the programs read: counting goes on without.
        return _load(sizes, cache, fault.message)


def _load(sizes: Sizes, cache: Path | None, why_untyped: str) -> tuple[dict[str, int], dict[str, Any]]:
    loader = _Loader(sizes, cache, why_untyped=why_untyped)
    states = [asdict(loader.attach(hook)) for hook in HOOKS]
    return loader.descriptors, {"hooks": states, "untyped": loader.why_untyped, "uncached": loader.why_uncached}


def main() -> None:
    """Entry point: arguments are the socket's descriptor and what is wanted, as JSON."""
    peer = socket.socket(fileno=int(sys.argv[1]))
    wanted = json.loads(sys.argv[2])
    cache = Path(wanted["cache"]) if wanted["cache"] else None
    try:
        descriptors, states = load(Sizes(**wanted["sizes"]), cache, use_types=wanted["types"])
    except DetectorError as fault:
        peer.sendall(json.dumps({"error": fault.message}).encode())
        os._exit(1)
    answer = {"names": list(descriptors), **states}
    socket.send_fds(peer, [json.dumps(answer).encode()], list(descriptors.values()))
    # At once: the memory of a compiler takes a while to tear down.
    os._exit(0)


if __name__ == "__main__":
    main()
