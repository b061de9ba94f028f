"""The few commands of bpf(2) that loading programs and reading the counts take, on descriptors alone.

Structures and numbers: include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from detector.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from detector.bpf.objects import MapDefinition

_MAP_CREATE, _LOOKUP_ELEM, _UPDATE_ELEM, _PROG_LOAD, _OBJ_GET_INFO_BY_FD, _RAW_TRACEPOINT_OPEN = 0, 1, 2, 5, 15, 17
_LOOKUP_BATCH, _LOOKUP_AND_DELETE_BATCH = 24, 25

_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_TRACE_RAW_TP = 23
_LICENSE = b"GPL"
_INSTRUCTION_BYTES = 8
_LOG_BYTES = 1 << 20
_BATCH = 4096
_NOEXIST = 1

_libc = ctypes.CDLL(None, use_errno=True)


class _Element(ctypes.Structure):
    _fields_ = (
        ("map_fd", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("key", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


class _Batch(ctypes.Structure):
    _fields_ = (
        ("in_batch", ctypes.c_uint64),
        ("out_batch", ctypes.c_uint64),
        ("keys", ctypes.c_uint64),
        ("values", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("map_fd", ctypes.c_uint32),
        ("element_flags", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


class _Info(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_uint32), ("length", ctypes.c_uint32), ("info", ctypes.c_uint64))


class _Map(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("key_bytes", ctypes.c_uint32),
        ("value_bytes", ctypes.c_uint32),
        ("entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("inner_fd", ctypes.c_uint32),
        ("node", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    )


class _Program(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("instruction_count", ctypes.c_uint32),
        ("instructions", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log", ctypes.c_uint64),
        ("kernel_version", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
        ("interface", ctypes.c_uint32),
        ("attach_as", ctypes.c_uint32),
        ("types_fd", ctypes.c_uint32),
        ("function_bytes", ctypes.c_uint32),
        ("functions", ctypes.c_uint64),
        ("function_count", ctypes.c_uint32),
        ("line_bytes", ctypes.c_uint32),
        ("lines", ctypes.c_uint64),
        ("line_count", ctypes.c_uint32),
        ("attach_type_number", ctypes.c_uint32),
    )


class _Attachment(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint64), ("program_fd", ctypes.c_uint32), ("pad", ctypes.c_uint32))


def system_call(numbers: Mapping[str, int], *arguments: Any) -> int:
    """What a system call returns, negative for an error: then as the error's number.

    Args:
        numbers: of the call, by the processor's architecture.
        arguments: of the call, as ctypes has them.

    Raises:
        CaptureError: the architecture is another one.
    """
    number = numbers.get(os.uname().machine)
    if number is None:
        raise CaptureError(f"the processor architecture {os.uname().machine} is not supported")
    result: int = _libc.syscall(number, *arguments)
    return result if result >= 0 else -ctypes.get_errno()


def _call(command: int, attributes: ctypes.Structure) -> int:
    return system_call(_NUMBERS, command, ctypes.byref(attributes), ctypes.sizeof(attributes))


def _bpf(command: int, attributes: ctypes.Structure) -> int:
    return max(0, -_call(command, attributes))


def _fail(what: str, code: int) -> CaptureError:
    return CaptureError(f"{what}: {os.strerror(code)}", hint="see: detector doctor")


def create_map(name: str, definition: MapDefinition, inner_fd: int = 0) -> int:
    """Makes a map, and returns its descriptor. `inner_fd`: of a map like those that a map of maps will hold.

    Raises:
        CaptureError: the kernel refuses.
    """
    result = _call(
        _MAP_CREATE,
        _Map(
            kind=definition.kind,
            key_bytes=definition.key_bytes,
            value_bytes=definition.value_bytes,
            entries=definition.entries,
            flags=definition.flags,
            inner_fd=inner_fd,
            name=name.encode()[:15],
        ),
    )
    if result < 0:
        raise _fail(f"making the kernel map {name}", -result)
    return result


class ProgramKind(IntEnum):
    """Numbers of enum bpf_prog_type."""

    KPROBE = 2
    TRACEPOINT = 5
    TRACING = 26
    """On a raw tracepoint, of whose arguments the verifier knows the types."""


def load(name: str, kind: ProgramKind, instructions: bytes, *, tracepoint: int = 0) -> int:
    """Loads a program, and returns its descriptor.

    Args:
        name: as the kernel shows it, which cuts it at 15 bytes.
        kind: what it will be attached to.
        instructions: of the program, with the descriptors of its maps in them.
        tracepoint: for TRACING, the number of its type: see `btf.KernelTypes.tracepoint`.

    Raises:
        CaptureError: the kernel refuses; its explanation is the hint.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    license_name = ctypes.create_string_buffer(_LICENSE)
    attributes = _Program(
        kind=kind,
        instruction_count=len(instructions) // _INSTRUCTION_BYTES,
        instructions=ctypes.addressof(code),
        license=ctypes.addressof(license_name),
        name=name.encode()[:15],
        attach_as=_TRACE_RAW_TP if kind is ProgramKind.TRACING else 0,
        attach_type_number=tracepoint,
    )
    result = _call(_PROG_LOAD, attributes)
    if result >= 0:
        return result
    # Once more for the explanation: to write it takes longer than all else.
    log = ctypes.create_string_buffer(_LOG_BYTES)
    attributes.log_level, attributes.log_size, attributes.log = 1, _LOG_BYTES, ctypes.addressof(log)
    _call(_PROG_LOAD, attributes)
    raise CaptureError(
        f"loading the kernel program {name}: {os.strerror(-result)}",
        hint=log.value.decode("utf-8", errors="backslashreplace"),
    )


def attach_to_tracepoint(program_fd: int) -> int:
    """Attaches a program of the kind TRACING; it is detached when the descriptor that this returns is closed.

    Raises:
        CaptureError: the kernel refuses.
    """
    result = _call(_RAW_TRACEPOINT_OPEN, _Attachment(program_fd=program_fd))
    if result < 0:
        raise _fail("attaching a kernel program", -result)
    return result


def lookup(fd: int, key: bytes, value_bytes: int) -> bytes | None:
    """The value of `key` in the map; None if there is none.

    Raises:
        CaptureError: the kernel refuses.
    """
    key_buffer = ctypes.create_string_buffer(key, len(key))
    value = ctypes.create_string_buffer(value_bytes)
    code = _bpf(
        _LOOKUP_ELEM, _Element(map_fd=fd, key=ctypes.addressof(key_buffer), value=ctypes.addressof(value), flags=0)
    )
    if code == errno.ENOENT:
        return None
    if code:
        raise _fail("reading a kernel map", code)
    return value.raw


def update(fd: int, key: bytes, value: bytes, *, keep: bool = False) -> None:
    """Sets `key` in the map; with `keep` only if it is not there yet.

    On a map of maps it returns only when no program runs on the old inner map any more.

    Raises:
        CaptureError: the kernel refuses.
    """
    key_buffer = ctypes.create_string_buffer(key, len(key))
    value_buffer = ctypes.create_string_buffer(value, len(value))
    attributes = _Element(
        map_fd=fd,
        key=ctypes.addressof(key_buffer),
        value=ctypes.addressof(value_buffer),
        flags=_NOEXIST if keep else 0,
    )
    code = _bpf(_UPDATE_ELEM, attributes)
    if code and not (keep and code == errno.EEXIST):
        raise _fail("writing a kernel map", code)


def entries(
    fd: int, key_bytes: int, value_bytes: int, *, remove: bool, batch: int = _BATCH
) -> Iterator[tuple[bytes, bytes]]:
    """All entries of a hash map, `batch` at a time: (keys, values) one after another, each `*_bytes` long.

    With `remove` each entry is taken out as it is read.

    Raises:
        CaptureError: the kernel refuses.
    """
    command = _LOOKUP_AND_DELETE_BATCH if remove else _LOOKUP_BATCH
    size = batch
    keys, values = ctypes.create_string_buffer(key_bytes * size), ctypes.create_string_buffer(value_bytes * size)
    position = ctypes.create_string_buffer(max(key_bytes, 8))
    started = False
    while True:
        attributes = _Batch(
            in_batch=ctypes.addressof(position) if started else 0,
            out_batch=ctypes.addressof(position),
            keys=ctypes.addressof(keys),
            values=ctypes.addressof(values),
            count=size,
            map_fd=fd,
        )
        code = _bpf(command, attributes)
        if code == errno.ENOSPC and attributes.count == 0:
            # One bucket holds more than fits: nothing was taken out, so ask again with more room.
            size *= 2
            keys = ctypes.create_string_buffer(key_bytes * size)
            values = ctypes.create_string_buffer(value_bytes * size)
            continue
        if code not in {0, errno.ENOENT, errno.ENOSPC}:
            raise _fail("draining a kernel map", code)
        if attributes.count:
            yield keys.raw[: key_bytes * attributes.count], values.raw[: value_bytes * attributes.count]
        # ENOENT is how the kernel says that this was the last batch.
        if code == errno.ENOENT:
            return
        started = True


_PROGRAM_INFO = struct.Struct("=192xQQQ")


def program_statistics(fd: int) -> tuple[int, int, int]:
    """Of a loaded program: nanoseconds run, times run, times not run since another was running on the processor.

    The first two are 0 unless the sysctl kernel.bpf_stats_enabled is set; the last is 0 before Linux 5.12.

    Raises:
        CaptureError: the kernel refuses.
    """
    buffer = ctypes.create_string_buffer(_PROGRAM_INFO.size)
    attributes = _Info(fd=fd, length=_PROGRAM_INFO.size, info=ctypes.addressof(buffer))
    if code := _bpf(_OBJ_GET_INFO_BY_FD, attributes):
        raise _fail("asking for a program's statistics", code)
    run_ns, runs, missed = _PROGRAM_INFO.unpack(buffer.raw)
    return run_ns, runs, missed
