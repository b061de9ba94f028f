"""Finds everything that keeps capture from working on this machine at once, each fault with its remedy."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

from detector.bpf.btf import KERNEL_TYPES
from detector.bpf.program import PROGRAMS
from detector.errors import PreflightError

_TRACEFS = Path("/sys/kernel/tracing")
_STATUS = Path("/proc/self/status")
# CAP_BPF came with 5.8.
_OLDEST_KERNEL = (5, 8)
# include/uapi/linux/capability.h
_CAPABILITIES = {"CAP_DAC_READ_SEARCH": 2, "CAP_PERFMON": 38, "CAP_BPF": 39}
_CAP_SYS_ADMIN = 21

Fault = tuple[str, str]


def faults() -> tuple[Fault, ...]:
    """What is wrong, and the remedy of each; empty when capture can be started."""
    return tuple(fault for check in (_kernel, _capabilities, _types, _tracepoints, _bcc) for fault in check())


def require() -> None:
    """Raises PreflightError with all faults, if there are any."""
    if found := faults():
        raise PreflightError(found)


def _kernel() -> list[Fault]:
    release = os.uname().release
    match = re.match(r"(\d+)\.(\d+)", release)
    if match and (int(match.group(1)), int(match.group(2))) < _OLDEST_KERNEL:
        oldest = ".".join(map(str, _OLDEST_KERNEL))
        return [(f"this kernel ({release}) is older than {oldest}", f"boot Linux {oldest} or newer")]
    return []


def _capabilities() -> list[Fault]:
    match = re.search(r"^CapEff:\s*([0-9a-f]+)", _STATUS.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
    held = int(match.group(1), 16) if match else 0
    admin = bool(held >> _CAP_SYS_ADMIN & 1)
    missing = [
        name
        for name, bit in _CAPABILITIES.items()
        if not held >> bit & 1 and not (admin and name != "CAP_DAC_READ_SEARCH")
    ]
    if not missing:
        return []
    return [
        (
            f"this process (user {os.geteuid()}) lacks {', '.join(missing)}",
            "run as root, or give the service those capabilities",
        )
    ]


def _types() -> list[Fault]:
    if KERNEL_TYPES.exists():
        return []
    return [
        (
            f"the kernel has no type information: {KERNEL_TYPES} is missing",
            "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y (all current distribution kernels are)",
        )
    ]


def _tracepoints() -> list[Fault]:
    events = _TRACEFS / "events"
    try:
        mounted = events.is_dir()
        missing = [name for name in PROGRAMS if not (events / name.replace(":", "/") / "format").is_file()]
    except PermissionError:
        return [(f"{_TRACEFS} cannot be read by this user", "run as root, or give the service CAP_DAC_READ_SEARCH")]
    if not mounted:
        return [(f"tracefs is not mounted at {_TRACEFS}", f"mount -t tracefs tracefs {_TRACEFS}")]
    return [
        (f"the kernel has no tracepoint {name}", "boot Linux 4.16 or newer with CONFIG_TRACEPOINTS=y")
        for name in missing
    ]


def _bcc() -> list[Fault]:
    remedy = (
        "apt-get install python3-bpfcc, and run detector with the distribution's Python "
        "(a virtual environment needs --system-site-packages)"
    )
    spec = importlib.util.find_spec("bcc")
    if spec is None or not spec.submodule_search_locations:
        return [("the Python module bcc of the BPF Compiler Collection is not installed", remedy)]
    if not any((Path(folder) / "libbcc.py").is_file() for folder in spec.submodule_search_locations):
        return [("the Python module bcc that is installed is an unrelated one", f"pip uninstall bcc; {remedy}")]
    return []
