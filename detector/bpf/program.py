"""Compiles, loads and attaches the kernel programs; run as a short-lived process that hands the descriptors over.

The compiler takes more than 100 MB, so it lives only as long as it is needed: `python -m detector.bpf.program` sends
the descriptors of the maps, programs and attachments over a socket and exits; whoever holds them keeps the programs
attached, and the kernel detaches them when the last holder is gone, however it ended.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.bpf import syscall
from detector.bpf.btf import KernelTypes, kernel_offsets, kernel_types
from detector.bpf.hooks import HOOKS, Attachment, Hook, HookState, Program
from detector.bpf.linking import NUMBERS, link
from detector.bpf.preflight import OLDEST_TYPED_KERNEL, kernel_version
from detector.bpf.syscall import ProgramKind
from detector.errors import CaptureError, DetectorError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FOLDER = Path(__file__).resolve().parent
_SOURCES = ("common", "sockets", "paths", "origins", "process", "tcp", "calls", "sends", "answers")
_HEADERS = _FOLDER / "kernel_headers"
_HOST_NETWORK = Path("/proc/self/ns/net")
_KINDS = {
    Attachment.TRACEPOINT: ProgramKind.TRACEPOINT,
    Attachment.RAW_TRACEPOINT: ProgramKind.TRACING,
    Attachment.KPROBE: ProgramKind.KPROBE,
    Attachment.KRETPROBE: ProgramKind.KPROBE,
}
# Two, and two for each 32 bits of a flow: see fingerprint_of.
_FLOW_SECRETS = 2 + 2 * 10
_CLOCK_MONOTONIC_COARSE = 6
_KPROBES = Path("/sys/bus/event_source/devices/kprobe/type")

_MAPS = ("counts_a", "counts_b", "active", "folded_a", "folded_b", "active_folded", "pending", "counters", "processes")
_MAPS_WITH_TYPES = ("images", "paths", "origins", "listeners", "generation", "answers")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Entries of the maps: keys of a snapshot, processes beyond them, attempts under way, and what has a number."""

    counts: int
    folded: int
    pending: int
    named: int


class _Loader:
    """`why_untyped`: not to use the kernel's type information even if there is any, and why."""

    def __init__(self, sizes: Sizes, *, why_untyped: str = "") -> None:
        # bcc looks for kernel headers here; ours are all that it needs.
        os.environ["BCC_KERNEL_SOURCE"] = str(_HEADERS)
        import bcc

        self._bcc = bcc
        self._types, self.offsets, self.why_untyped = (None, {}, why_untyped) if why_untyped else _offsets()
        flags = [
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
            f"-DFLOW_SECRETS={','.join(f'{secrets.randbits(64)}ull' for _ in range(_FLOW_SECRETS))}",
            *(["-DKPROBES"] if _KPROBES.exists() else []),
            *(["-DTYPES", f"-DSOCKET_HEAD_BYTES={_head_bytes(self.offsets)}"] if self.offsets else []),
            *(f"-DOFFSET_{name}={offset}" for name, offset in self.offsets.items()),
        ]
        self._bpf = bcc.BPF(text=_text(), cflags=flags)
        self._attached: dict[str, Program] = {}
        names = (*_MAPS, *(_MAPS_WITH_TYPES if self.offsets else ()))
        self.descriptors: dict[str, int] = {f"map:{name}": self._bpf[name].map_fd for name in names}
        for active, first in (("active", "counts_a"), ("active_folded", "folded_a")):
            # Before anything is attached, so that the first event finds a map to be counted in.
            first_map = struct.pack("=I", self.descriptors[f"map:{first}"])
            syscall.update(self.descriptors[f"map:{active}"], bytes(4), first_map)

    def attach(self, hook: Hook) -> HookState:
        """Attaches the hook in the first way that works."""
        if covering := self._attached.get(hook.covered_by):
            return HookState(name=hook.name, in_use=(str(covering),), unseen="")
        faults = []
        for way in hook.ways:
            try:
                found = self._attach_all(way)
            except CaptureError as fault:
                sys.stderr.write(f"{fault.hint}\n")
                faults.append(f"{way[0]}: {fault.message}")
            # bcc raises bare Exception; what it and the kernel said is on standard error.
            except Exception as fault:  # noqa: BLE001
                faults.append(f"{way[0]}: {fault}")
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
            if program.attachment in (Attachment.KPROBE, Attachment.KRETPROBE) and not _KPROBES.exists():
                raise CaptureError("the kernel has no kprobes")
        # Loaded all before the first is attached: a way works as a whole or not at all.
        loaded = {each.function: self._load(each) for each in way}
        found = {f"program:{name}": fd for name, fd in loaded.items()}
        return found | {
            f"attachment:{each.function}:{each.target}": self._attach(each, loaded[each.function]) for each in way
        }

    def _load(self, program: Program) -> int:
        number = 0
        if program.attachment is Attachment.RAW_TRACEPOINT:
            number = self._types.tracepoint(program.target.split(":")[1]) or 0 if self._types else 0
            if not number:
                raise CaptureError("the kernel has no such tracepoint")
        instructions = link(program.function, lambda name: self._bpf.dump_func(name.encode()))
        return syscall.load(program.function, _KINDS[program.attachment], instructions, tracepoint=number)

    def _attach(self, program: Program, loaded: int) -> int:
        function, target = program.function.encode(), program.target.encode()
        # What bcc finds here it does not load itself.
        self._bpf.funcs[function] = self._bcc.BPF.Function(self._bpf, function, loaded)
        fd: int
        if program.attachment is Attachment.TRACEPOINT:
            self._bpf.attach_tracepoint(tp=target, fn_name=function)
            fd = self._bpf.tracepoint_fds[target]
        elif program.attachment is Attachment.RAW_TRACEPOINT:
            fd = syscall.attach_to_tracepoint(loaded)
        else:
            at_end = program.attachment is Attachment.KRETPROBE
            (self._bpf.attach_kretprobe if at_end else self._bpf.attach_kprobe)(event=target, fn_name=function)
            fd = self._bpf.kprobe_fds[(b"r_" if at_end else b"p_") + target][function]
        return fd


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


def load(sizes: Sizes, *, use_types: bool = True) -> tuple[dict[str, int], dict[str, Any]]:
    """Attaches all hooks that can be. Returns the descriptors by name, and the states of the hooks, fit for JSON."""
    try:
        return _load(sizes, "" if use_types else "not wanted")
    except CaptureError as fault:
        if not use_types:
            raise
        # A kernel to come may have changed what the programs read: counting goes on without.
        return _load(sizes, fault.message)


def _load(sizes: Sizes, why_untyped: str) -> tuple[dict[str, int], dict[str, Any]]:
    loader = _Loader(sizes, why_untyped=why_untyped)
    states = [asdict(loader.attach(hook)) for hook in HOOKS]
    return loader.descriptors, {"hooks": states, "untyped": loader.why_untyped}


def main() -> None:
    """Entry point: arguments are the socket's descriptor and the sizes as JSON."""
    peer = socket.socket(fileno=int(sys.argv[1]))
    wanted = json.loads(sys.argv[2])
    try:
        descriptors, states = load(Sizes(**wanted["sizes"]), use_types=wanted["types"])
    except DetectorError as fault:
        peer.sendall(json.dumps({"error": fault.message}).encode())
        os._exit(1)
    except Exception as fault:  # noqa: BLE001  bcc raises bare Exception; what it printed explains it
        peer.sendall(json.dumps({"error": f"the kernel programs cannot be loaded: {fault}"}).encode())
        os._exit(1)
    answer = {"names": list(descriptors), **states}
    socket.send_fds(peer, [json.dumps(answer).encode()], list(descriptors.values()))
    # An ordinary exit would run bcc's clean-up, which disables the attachments that were just handed over.
    os._exit(0)


if __name__ == "__main__":
    main()
