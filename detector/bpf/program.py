"""Compiles, loads and attaches the kernel programs; run as a short-lived process that hands the descriptors over.

The compiler takes more than 100 MB, so it lives only as long as it is needed: `python -m detector.bpf.program` sends
the descriptors of the maps, programs and attachments over a socket and exits; whoever holds them keeps the programs
attached, and the kernel detaches them when the last holder is gone, however it ended.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.bpf import syscall
from detector.bpf.btf import kernel_offsets
from detector.bpf.hooks import HOOKS, Attachment, Hook, HookState, Program
from detector.errors import CaptureError, DetectorError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FOLDER = Path(__file__).resolve().parent
_SOURCES = ("common", "sockets", "paths", "origins", "process", "tcp", "calls", "sends", "answers")
_HEADERS = _FOLDER / "kernel_headers"
_HOST_NETWORK = Path("/proc/self/ns/net")
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
    def __init__(self, sizes: Sizes, *, use_types: bool) -> None:
        # bcc looks for kernel headers here; ours are all that it needs.
        os.environ["BCC_KERNEL_SOURCE"] = str(_HEADERS)
        import bcc

        self._bcc = bcc
        self.offsets, self.why_untyped = _offsets() if use_types else ({}, "not wanted")
        flags = [
            f"-DCOUNT_ENTRIES={sizes.counts}",
            f"-DFOLDED_ENTRIES={sizes.folded}",
            f"-DPENDING_ENTRIES={sizes.pending}",
            f"-DNAMED_ENTRIES={sizes.named}",
            # Twice as many, so that few attempts under way find their slot taken.
            f"-DPENDING_SLOTS={1 << sizes.pending.bit_length()}",
            f"-DHOST_NETWORK={_HOST_NETWORK.stat().st_ino}",
            f"-DMACHINE_{os.uname().machine}",
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
        return found | {f"attachment:{each.function}:{each.target}": self._attach(each) for each in way}

    def _load(self, program: Program) -> int:
        kinds = {
            Attachment.TRACEPOINT: self._bcc.BPF.TRACEPOINT,
            Attachment.RAW_TRACEPOINT: self._bcc.BPF.RAW_TRACEPOINT,
            Attachment.KPROBE: self._bcc.BPF.KPROBE,
            Attachment.KRETPROBE: self._bcc.BPF.KPROBE,
        }
        fd: int = self._bpf.load_func(program.function.encode(), kinds[program.attachment]).fd
        return fd

    def _attach(self, program: Program) -> int:
        function, target = program.function.encode(), program.target.encode()
        fd: int
        if program.attachment is Attachment.TRACEPOINT:
            self._bpf.attach_tracepoint(tp=target, fn_name=function)
            fd = self._bpf.tracepoint_fds[target]
        elif program.attachment is Attachment.RAW_TRACEPOINT:
            fd = self._attach_raw(function, target)
        else:
            at_end = program.attachment is Attachment.KRETPROBE
            (self._bpf.attach_kretprobe if at_end else self._bpf.attach_kprobe)(event=target, fn_name=function)
            fd = self._bpf.kprobe_fds[(b"r_" if at_end else b"p_") + target][function]
        return fd

    def _attach_raw(self, function: bytes, target: bytes) -> int:
        # bcc allows one program a raw tracepoint.
        program = self._bpf.funcs[function]
        fd: int = self._bcc.lib.bpf_attach_raw_tracepoint(program.fd, target.split(b":")[1])
        if fd < 0:
            raise CaptureError("the kernel has no such tracepoint")
        return fd


def _head_bytes(offsets: Mapping[str, int]) -> int:
    """How much of struct sock is read to have the members that are looked at for each socket, in whole words."""
    sizes = {"daddr": 4, "rcv_saddr": 4, "dport": 2, "num": 2, "family": 2, "state": 1}
    end = max(offsets[f"sock_common_skc_{name}"] + size for name, size in sizes.items())
    return -(-end // 8) * 8


def _text() -> str:
    files = (_FOLDER / f"{name}.bpf.c" for name in _SOURCES)
    return "\n".join(f'#line 1 "{file.name}"\n{file.read_text(encoding="utf-8")}' for file in files)


def _offsets() -> tuple[Mapping[str, int], str]:
    try:
        return kernel_offsets(), ""
    except CaptureError as fault:
        return {}, fault.message


def load(sizes: Sizes, *, use_types: bool = True) -> tuple[dict[str, int], dict[str, Any]]:
    """Attaches all hooks that can be. Returns the descriptors by name, and the states of the hooks, fit for JSON."""
    loader = _Loader(sizes, use_types=use_types)
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
