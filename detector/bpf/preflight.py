"""Finds what keeps capture from working on this machine, or from seeing all, at once, each with its remedy."""

from __future__ import annotations

import importlib.util
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

from detector.bpf.btf import KERNEL_TYPES
from detector.bpf.hooks import HOOKS, Attachment
from detector.errors import PreflightError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.bpf.hooks import Hook

_TRACEFS = Path("/sys/kernel/tracing")
_STATUS = Path("/proc/self/status")
# CAP_BPF came with 5.8.
_OLDEST_KERNEL = (5, 8)
OLDEST_TYPED_KERNEL = (5, 11)
"""From there on a program gets the current task with its type (bpf_get_current_task_btf), and reads on from it."""
_TRACEPOINTS = frozenset({Attachment.TRACEPOINT, Attachment.RAW_TRACEPOINT})
_GIVE = "run as root, or give the service"

Fault = tuple[str, str]
"""What is wrong, and the remedy."""


class Capability(IntEnum):
    """Numbers of the privileges that a collector may use: include/uapi/linux/capability.h."""

    CAP_CHOWN = 0
    CAP_DAC_OVERRIDE = 1
    CAP_DAC_READ_SEARCH = 2
    CAP_SETGID = 6
    CAP_SETUID = 7
    CAP_SETPCAP = 8
    CAP_SYS_PTRACE = 19
    CAP_SYS_ADMIN = 21
    CAP_SYS_RESOURCE = 24
    CAP_PERFMON = 38
    CAP_BPF = 39


TO_LOAD = (Capability.CAP_PERFMON, Capability.CAP_BPF)
"""What loading kernel programs takes; CAP_SYS_ADMIN does as well."""
_TO_NAME = {
    Capability.CAP_DAC_READ_SEARCH: "units and containers are unknown",
    Capability.CAP_SYS_PTRACE: "it is unknown which other users' processes listened before the start, and where logins "
    "through them come from",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that capture needs of a machine, and what is wrong with it here."""

    name: str
    faults: tuple[Fault, ...]
    """What keeps everything from being counted."""
    doubts: tuple[Fault, ...]
    """What counting goes on without, and what is unknown as a result."""


def subjects() -> Iterator[Subject]:
    """All that is looked at."""
    for name, (faulty, doubtful) in _SUBJECTS.items():
        yield Subject(name, tuple(faulty()), tuple(doubtful()))


def faults() -> tuple[Fault, ...]:
    """What keeps everything from being counted; empty when capture can be started."""
    return tuple(fault for faulty, _ in _SUBJECTS.values() for fault in faulty())


def doubts() -> tuple[Fault, ...]:
    """What counting goes on without, and what is unknown as a result."""
    return tuple(doubt for _, doubtful in _SUBJECTS.values() for doubt in doubtful())


def require() -> None:
    """Raises PreflightError with all faults, if there are any."""
    if found := faults():
        raise PreflightError(found)


def kernel_version() -> tuple[int, int] | None:
    """Of the running kernel, as (6, 1); None if it says something else."""
    match = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(match.group(1)), int(match.group(2))) if match else None


def held() -> int:
    """The effective capabilities of this process, as the kernel's bits."""
    match = re.search(r"^CapEff:\s*([0-9a-f]+)", _STATUS.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
    return int(match.group(1), 16) if match else 0


def _has(capability: Capability) -> bool:
    return bool(held() >> capability & 1)


def _kernel() -> list[Fault]:
    version = kernel_version()
    if version and version < _OLDEST_KERNEL:
        oldest = ".".join(map(str, _OLDEST_KERNEL))
        return [(f"this kernel ({os.uname().release}) is older than {oldest}", f"boot Linux {oldest} or newer")]
    return []


def _load_privileges() -> list[Fault]:
    # Which the other two were once a part of.
    if _has(Capability.CAP_SYS_ADMIN):
        return []
    missing = ", ".join(each.name for each in TO_LOAD if not _has(each))
    return [(f"this process (user {os.geteuid()}) lacks {missing}", f"{_GIVE} those capabilities")] if missing else []


def _naming_privileges() -> list[Fault]:
    # Who may not even load is told that alone.
    if _load_privileges():
        return []
    return [
        (f"without {each.name} {unknown}", f"{_GIVE} {each.name}")
        for each, unknown in _TO_NAME.items()
        if not _has(each)
    ]


def _types() -> list[Fault]:
    unknown = "executables, logins and why connects fail are unknown, and nothing but TCP is seen"
    version = kernel_version()
    if version and _OLDEST_KERNEL <= version < OLDEST_TYPED_KERNEL:
        oldest = ".".join(map(str, OLDEST_TYPED_KERNEL))
        return [
            (f"this kernel ({os.uname().release}) is older than {oldest}: {unknown}", f"boot Linux {oldest} or newer")
        ]
    if KERNEL_TYPES.exists():
        return []
    remedy = "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y (all current distribution kernels are)"
    return [(f"{KERNEL_TYPES} is missing: {unknown}", remedy)]


def _tracepoints() -> list[Fault]:
    events = _TRACEFS / "events"
    try:
        missing = [name for hook in HOOKS if hook.required for name in _missing(hook, events)]
        mounted = _exists(events)
    except PermissionError:
        return [(f"{_TRACEFS} cannot be read by this user", f"{_GIVE} CAP_DAC_READ_SEARCH")]
    if not mounted:
        return [(f"tracefs is not mounted at {_TRACEFS}", f"mount -t tracefs tracefs {_TRACEFS}")]
    return [
        (f"the kernel has no tracepoint {name}", "boot Linux 4.16 or newer with CONFIG_TRACEPOINTS=y")
        for name in missing
    ]


def _missing(hook: Hook, events: Path) -> set[str]:
    """The tracepoints that the hook's first way lacks, if every way lacks some."""
    ways = [
        {
            program.target
            for program in way
            if program.attachment in _TRACEPOINTS and not _exists(events / program.target.replace(":", "/"))
        }
        for way in hook.ways
    ]
    return ways[0] if all(ways) else set()


def _exists(path: Path) -> bool:
    # Path.exists() may take what must not be looked at for missing.
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


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


def bcc_version() -> str:
    """What the module says of itself, without importing it, which takes 70 MB; empty: nothing."""
    spec = importlib.util.find_spec("bcc")
    for folder in (spec and spec.submodule_search_locations) or ():
        with suppress(OSError):
            told = re.search(r"__version__ = '([^']*)'", Path(folder, "version.py").read_text(encoding="utf-8"))
            if told:
                return told.group(1)
    return ""


def _nothing() -> list[Fault]:
    return []


# By name what keeps everything from being counted, and what counting goes on without.
_SUBJECTS = {
    "kernel": (_kernel, _nothing),
    "kernel types": (_nothing, _types),
    "tracefs": (_tracepoints, _nothing),
    "capabilities": (_load_privileges, _naming_privileges),
    "bcc": (_bcc, _nothing),
}
