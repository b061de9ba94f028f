"""Attaches programs to tracepoints and kprobes by perf_event_open(2), on descriptors alone.

Structures and numbers: include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from pathlib import Path

from detector.bpf.syscall import system_call
from detector.errors import CaptureError

KPROBES = Path("/sys/bus/event_source/devices/kprobe")
"""There if the kernel has kprobes."""

_EVENTS = Path("/sys/kernel/tracing/events")
_NUMBERS = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "ppc64le": 319, "s390x": 331}
_TYPE_TRACEPOINT = 2
_CLOSE_ON_EXEC = 8
_SET_PROGRAM, _ENABLE = 0x40042408, 0x2400


class _Event(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("bits", ctypes.c_uint64),
        ("wakeup", ctypes.c_uint32),
        ("breakpoint", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),
        ("config2", ctypes.c_uint64),
    )


def attach_to_tracepoint(program_fd: int, name: str) -> int:
    """Attaches to the tracepoint `category:event`; detached when the descriptor that this returns is closed.

    Raises:
        CaptureError: the kernel has no such tracepoint, or refuses.
    """
    category, event = name.split(":")
    try:
        number = int((_EVENTS / category / event / "id").read_text(encoding="ascii"))
    except FileNotFoundError:
        raise CaptureError("the kernel has no such tracepoint") from None
    except OSError as fault:
        raise CaptureError(f"{fault.filename}: {fault.strerror}") from fault
    return _attach(program_fd, name, _Event(kind=_TYPE_TRACEPOINT, config=number))


def attach_to_function(program_fd: int, name: str, *, at_end: bool) -> int:
    """The same to the beginning or end of a function of the kernel, as a kprobe.

    Raises:
        CaptureError: the kernel has no kprobes or no such function, or refuses.
    """
    try:
        kind = int((KPROBES / "type").read_text(encoding="ascii"))
        # "config:0": the bit that says it.
        bit = int((KPROBES / "format" / "retprobe").read_text(encoding="ascii").rpartition(":")[2])
    except OSError as fault:
        raise CaptureError(f"{fault.filename}: {fault.strerror}") from fault
    text = ctypes.create_string_buffer(name.encode())
    event = _Event(kind=kind, config=int(at_end) << bit, config1=ctypes.addressof(text))
    return _attach(program_fd, name, event)


def _attach(program_fd: int, name: str, event: _Event) -> int:
    event.size = ctypes.sizeof(event)
    # Of all processes; the processor is but a place for it to be.
    descriptor = system_call(_NUMBERS, ctypes.byref(event), -1, 0, -1, _CLOSE_ON_EXEC)
    if descriptor < 0:
        raise CaptureError(f"attaching to {name}: {os.strerror(-descriptor)}")
    try:
        fcntl.ioctl(descriptor, _SET_PROGRAM, program_fd)
        fcntl.ioctl(descriptor, _ENABLE, 0)
    except OSError as fault:
        os.close(descriptor)
        raise CaptureError(f"attaching to {name}: {fault.strerror}") from fault
    return descriptor
