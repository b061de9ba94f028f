"""Reads offsets of structure members from the kernel's own type information (BTF).

Format: https://docs.kernel.org/bpf/btf.html
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

from detector.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

KERNEL_TYPES = Path("/sys/kernel/btf/vmlinux")

_MAGIC = 0xEB9F
_HEADER = struct.Struct("=HBBIIIII")
# All but the strings is words of four bytes. A type has three: its name, kind and number of entries, and its size or
# the type that it is made of.
_WORD_BYTES = 4
_TYPE_WORDS = 3
# Name, type, where it begins in bits.
_MEMBER_WORDS = 3

_KIND_ARRAY, _KIND_STRUCT, _KIND_UNION, _KIND_ENUM = 3, 4, 5, 6
_KIND_FUNC_PROTO, _KIND_VAR, _KIND_DATASEC, _KIND_DECL_TAG, _KIND_ENUM64 = 13, 14, 15, 17, 19
_TYPEDEF = 8
_MODIFIERS = frozenset({_TYPEDEF, 9, 10, 11, 18})  # volatile, const, restrict, type tag
_KIND_INT = 1
_KINDS = 32
_LAST_KIND = _KINDS - 1
_ENTRIES = 0xFFFF
# Words that follow a type's three: a constant, or a number for each of its entries.
_TRAILER = {_KIND_INT: 1, _KIND_ARRAY: 3, _KIND_VAR: 1, _KIND_DECL_TAG: 1}
_TRAILER_EACH = {
    _KIND_STRUCT: 3, _KIND_UNION: 3, _KIND_ENUM: 2, _KIND_FUNC_PROTO: 2, _KIND_DATASEC: 3, _KIND_ENUM64: 3,
}  # fmt: skip


class KernelTypes:
    """The types of a BTF blob.

    Args:
        raw: content of /sys/kernel/btf/vmlinux.

    Raises:
        CaptureError: not BTF.
    """

    def __init__(self, raw: bytes) -> None:
        try:
            magic, _version, _flags, length, type_at, type_bytes, string_at, string_bytes = _HEADER.unpack_from(raw)
        except struct.error:
            raise CaptureError("the kernel's type information is empty") from None
        if magic != _MAGIC:
            raise CaptureError("the kernel's type information is not in BTF format")
        self._words = memoryview(raw[: len(raw) // _WORD_BYTES * _WORD_BYTES]).cast("I")
        self._strings = raw[length + string_at : length + string_at + string_bytes]
        begin = (length + type_at) // _WORD_BYTES
        self._types = self._starts(begin, begin + type_bytes // _WORD_BYTES)

    def offsets(self, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int | None]:
        """Offset in bytes of each (structure, member), through unnamed inner structures; None: the kernel has none."""
        wanted = tuple(wanted)
        # Strings are stored once as a rule, but the format does not promise it: all places are looked for.
        names = {place: owner for owner in {owner for owner, _ in wanted} for place in self._places(owner)}
        structures: dict[str, list[int]] = {}
        for number in self._named(names):
            if self._kind(number) == _KIND_STRUCT and self._entries(number):
                structures.setdefault(names[self._words[self._types[number]]], []).append(number)
        found: dict[tuple[str, str], int | None] = {}
        for owner, member in wanted:
            bits = (self._member(each, member.encode()) for each in structures.get(owner, ()))
            found[owner, member] = next((where // 8 for where in bits if where is not None), None)
        return found

    def tracepoint(self, name: str) -> int | None:
        """The number of the type that programs on the tracepoint `name` are loaded with; None: there is no such one."""
        places = set(self._places(f"btf_trace_{name}"))
        return next((number for number in self._named(places) if self._kind(number) == _TYPEDEF), None)

    def _starts(self, at: int, end: int) -> list[int]:
        """Of each type, by its number, where its words begin: of more than 100,000 few are looked at any closer."""
        words = self._words
        trailer = [_TRAILER.get(kind, 0) for kind in range(_KINDS)]
        trailer_each = [_TRAILER_EACH.get(kind, 0) for kind in range(_KINDS)]
        # Number 0 is void, which is not written down.
        starts = [0]
        while at < end:
            starts.append(at)
            info = words[at + 1]
            kind = info >> 24 & _LAST_KIND
            at += _TYPE_WORDS + trailer[kind] + trailer_each[kind] * (info & _ENTRIES)
        return starts

    def _named(self, names: Container[int]) -> Iterator[int]:
        words = self._words
        return (number for number, at in enumerate(self._types) if number and words[at] in names)

    def _kind(self, number: int) -> int:
        return self._words[self._types[number] + 1] >> 24 & _LAST_KIND if number else 0

    def _entries(self, number: int) -> int:
        return self._words[self._types[number] + 1] & _ENTRIES

    def _places(self, name: str) -> Iterator[int]:
        string = b"\x00" + name.encode() + b"\x00"
        at = self._strings.find(string)
        while at >= 0:
            yield at + 1
            at = self._strings.find(string, at + 1)

    def _is(self, at: int, name: bytes) -> bool:
        return self._strings[at : at + len(name) + 1] == name + b"\x00"

    def _member(self, owner: int, wanted: bytes) -> int | None:
        bitfields = self._words[self._types[owner] + 1] >> 31
        first = self._types[owner] + _TYPE_WORDS
        for at in range(first, first + self._entries(owner) * _MEMBER_WORDS, _MEMBER_WORDS):
            name, target, where = self._words[at : at + _MEMBER_WORDS]
            bits: int = where & 0xFFFFFF if bitfields else where
            if name and self._is(name, wanted):
                return bits
            if not name:
                inner = self._unmodified(target)
                found = self._member(inner, wanted) if self._kind(inner) in (_KIND_STRUCT, _KIND_UNION) else None
                if found is not None:
                    return bits + found
        return None

    def _unmodified(self, number: int) -> int:
        while self._kind(number) in _MODIFIERS:
            number = self._words[self._types[number] + 2]
        return number


_NEEDED = (
    *(("task_struct", name) for name in (
        "mm", "tgid", "flags", "real_parent", "group_leader", "start_time", "files", "fs", "cred", "comm", "cgroups",
    )),
    ("css_set", "dfl_cgrp"), ("cgroup", "kn"), ("kernfs_node", "id"),
    ("cred", "euid"), ("mm_struct", "exe_file"), ("fs_struct", "pwd"),
    ("files_struct", "fdt"), ("fdtable", "fd"), ("fdtable", "max_fds"),
    ("file", "f_path"), ("file", "f_inode"), ("file", "private_data"), ("inode", "i_mode"), ("inode", "i_ino"),
    ("dentry", "d_parent"), ("dentry", "d_name"), ("dentry", "d_hash"), ("hlist_bl_node", "pprev"),
    ("qstr", "name"), ("qstr", "len"),
    ("vfsmount", "mnt_root"), ("mount", "mnt"), ("mount", "mnt_parent"), ("mount", "mnt_mountpoint"),
    ("linux_binprm", "filename"), ("linux_binprm", "interp"),
    ("socket", "sk"), ("socket", "file"), ("tcp_sock", "srtt_us"), ("msghdr", "msg_name"),
    ("net", "ns"), ("ns_common", "inum"),
    *(("sock", name) for name in ("sk_err", "sk_protocol", "sk_type", "sk_socket")),
    *(("sock_common", name) for name in (
        "skc_family", "skc_state", "skc_dport", "skc_num", "skc_daddr", "skc_rcv_saddr", "skc_v6_daddr",
        "skc_v6_rcv_saddr", "skc_net",
    )),
)  # fmt: skip
# Absent from kernels built without audit, or without io_uring as it is since 6.13.
_AUDIT = (("task_struct", "loginuid"), ("task_struct", "sessionid"))
_IO_URING = (
    ("io_async_msghdr", "msg"), ("io_kiocb", "async_data"), ("io_kiocb", "opcode"), ("io_kiocb", "work"),
    ("io_kiocb", "flags"), ("io_kiocb", "file"), ("io_kiocb", "cqe"), ("io_connect", "addr"),
    ("io_worker", "cur_work"), ("task_struct", "worker_private"),
)  # fmt: skip


def kernel_types(path: Path = KERNEL_TYPES) -> KernelTypes:
    """The types of the running kernel.

    Raises:
        CaptureError: it does not describe them.
    """
    try:
        return KernelTypes(path.read_bytes())
    except OSError as fault:
        raise CaptureError(f"{path}: {fault.strerror}") from fault


def kernel_offsets(types: KernelTypes) -> dict[str, int]:
    """The offsets that the programs are compiled with, as `<struct>_<member>` → bytes.

    Raises:
        CaptureError: the kernel lacks a member that cannot be done without.
    """
    found = types.offsets((*_NEEDED, *_AUDIT, *_IO_URING))
    for owner, member in _NEEDED:
        if found[owner, member] is None:
            raise CaptureError(f"this kernel has no {owner}.{member}, which naming a process needs")
    if any(found[each] is None for each in _IO_URING):
        found = {name: offset for name, offset in found.items() if name not in _IO_URING}
    return {f"{owner}_{member}": offset for (owner, member), offset in found.items() if offset is not None}
