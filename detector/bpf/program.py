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
from dataclasses import dataclass
from pathlib import Path

from detector.bpf import syscall
from detector.bpf.btf import kernel_offsets
from detector.errors import DetectorError

_FOLDER = Path(__file__).resolve().parent
_SOURCE = _FOLDER / "connections.bpf.c"
_HEADERS = _FOLDER / "kernel_headers"

MAPS = ("counts_a", "counts_b", "active", "pending", "counters", "images", "paths")
PROGRAMS = {"sock:inet_sock_set_state": "count_state_change", "sched:sched_process_exec": "number_executable"}
"""The function of connections.bpf.c for each tracepoint."""
_RESCUE = b"rescue_state_change"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Entries of the maps: distinct keys a snapshot, and attempts under way at once."""

    counts: int
    pending: int


def _load(sizes: Sizes) -> dict[str, int]:
    # bcc looks for kernel headers here; ours are all that it needs.
    os.environ["BCC_KERNEL_SOURCE"] = str(_HEADERS)
    import bcc

    flags = [
        f"-DCOUNT_ENTRIES={sizes.counts}",
        f"-DPENDING_ENTRIES={sizes.pending}",
        *(f"-DOFFSET_{name}={offset}" for name, offset in kernel_offsets().items()),
    ]
    bpf = bcc.BPF(text=_SOURCE.read_text(encoding="utf-8"), cflags=flags)
    descriptors = {f"map:{name}": bpf[name].map_fd for name in MAPS}
    # Attached last, so that the first event finds a map to be counted in.
    syscall.update(descriptors["map:active"], bytes(4), struct.pack("=I", descriptors["map:counts_a"]))
    for tracepoint, function in PROGRAMS.items():
        descriptors[f"program:{tracepoint}"] = bpf.load_func(function.encode(), bcc.BPF.TRACEPOINT).fd
        bpf.attach_tracepoint(tp=tracepoint.encode(), fn_name=function.encode())
        descriptors[f"attachment:{tracepoint}"] = bpf.tracepoint_fds[tracepoint.encode()]
    descriptors["program:rescue"] = bpf.load_func(_RESCUE, bcc.BPF.RAW_TRACEPOINT).fd
    bpf.attach_raw_tracepoint(tp=b"inet_sock_set_state", fn_name=_RESCUE)
    descriptors["attachment:rescue"] = bpf.raw_tracepoint_fds[b"inet_sock_set_state"]
    return descriptors


def main() -> None:
    """Entry point: arguments are the socket's descriptor and the sizes as JSON."""
    peer = socket.socket(fileno=int(sys.argv[1]))
    try:
        descriptors = _load(Sizes(**json.loads(sys.argv[2])))
    except DetectorError as fault:
        peer.sendall(json.dumps({"error": fault.message}).encode())
        os._exit(1)
    except Exception as fault:  # noqa: BLE001  bcc raises bare Exception; what it printed explains it
        peer.sendall(json.dumps({"error": f"the kernel programs cannot be loaded: {fault}"}).encode())
        os._exit(1)
    socket.send_fds(peer, [json.dumps({"names": list(descriptors)}).encode()], list(descriptors.values()))
    # An ordinary exit would run bcc's clean-up, which disables the attachments that were just handed over.
    os._exit(0)


if __name__ == "__main__":
    main()
