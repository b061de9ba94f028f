"""Reads offsets of structure members from the kernel's own type information (BTF).

Format: https://docs.kernel.org/bpf/btf.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from detector.errors import CaptureError

KERNEL_TYPES = Path("/sys/kernel/btf/vmlinux")

_MAGIC = 0xEB9F
_HEADER = struct.Struct("=HBBIIIII")
_TYPE = struct.Struct("=III")
_MEMBER = struct.Struct("=III")

_KIND_ARRAY, _KIND_STRUCT, _KIND_UNION, _KIND_ENUM = 3, 4, 5, 6
_KIND_FUNC_PROTO, _KIND_VAR, _KIND_DATASEC, _KIND_DECL_TAG, _KIND_ENUM64 = 13, 14, 15, 17, 19
_MODIFIERS = frozenset({8, 9, 10, 11, 18})  # typedef, volatile, const, restrict, type tag
_KIND_INT = 1
# Bytes that follow a type's three words: a constant, or a number for each of its `vlen` entries.
_TRAILER = {_KIND_INT: 4, _KIND_ARRAY: 12, _KIND_VAR: 4, _KIND_DECL_TAG: 4}
_TRAILER_EACH = {
    _KIND_STRUCT: 12, _KIND_UNION: 12, _KIND_ENUM: 8, _KIND_FUNC_PROTO: 8, _KIND_DATASEC: 12, _KIND_ENUM64: 12,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Type:
    kind: int
    name: int
    target: int
    members_at: int
    members: int
    bitfields: bool


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
        self._raw = raw
        self._strings = raw[length + string_at : length + string_at + string_bytes]
        self._types = list(self._read(length + type_at, length + type_at + type_bytes))

    def _read(self, position: int, end: int) -> list[_Type]:
        types = [_Type(0, 0, 0, 0, 0, bitfields=False)]
        raw = self._raw
        while position < end:
            name, info, target = _TYPE.unpack_from(raw, position)
            kind, entries = (info >> 24) & 0x1F, info & 0xFFFF
            position += _TYPE.size
            types.append(_Type(kind, name, target, position, entries, bitfields=bool(info >> 31)))
            position += _TRAILER.get(kind, 0) + _TRAILER_EACH.get(kind, 0) * entries
        return types

    def offset(self, structure: str, member: str) -> int | None:
        """Offset of `member` in bytes, through unnamed inner structures; None if the kernel has no such member."""
        wanted = self._strings.find(b"\x00" + structure.encode() + b"\x00") + 1
        named = structure.encode()
        for each in self._types:
            if each.kind == _KIND_STRUCT and each.members and self._is(each.name, named, wanted):
                bits = self._member(each, member.encode())
                if bits is not None:
                    return bits // 8
        return None

    def _is(self, at: int, name: bytes, known_at: int) -> bool:
        # Strings are stored once as a rule, so the first place is nearly always the one.
        return at == known_at or self._strings[at : at + len(name) + 1] == name + b"\x00"

    def _member(self, owner: _Type, wanted: bytes) -> int | None:
        for index in range(owner.members):
            name, target, where = _MEMBER.unpack_from(self._raw, owner.members_at + index * _MEMBER.size)
            bits: int = where & 0xFFFFFF if owner.bitfields else where
            if name and self._is(name, wanted, -1):
                return bits
            if not name:
                inner = self._types[self._unmodified(target)]
                found = self._member(inner, wanted) if inner.kind in (_KIND_STRUCT, _KIND_UNION) else None
                if found is not None:
                    return bits + found
        return None

    def _unmodified(self, number: int) -> int:
        while self._types[number].kind in _MODIFIERS:
            number = self._types[number].target
        return number


_NEEDED = (
    ("task_struct", "mm"), ("mm_struct", "exe_file"), ("file", "f_path"), ("path", "mnt"), ("path", "dentry"),
    ("dentry", "d_parent"), ("dentry", "d_name"), ("qstr", "name"), ("qstr", "len"), ("vfsmount", "mnt_root"),
    ("mount", "mnt"), ("mount", "mnt_parent"), ("mount", "mnt_mountpoint"), ("sock", "sk_err"), ("sock", "sk_protocol"),
    ("sock_common", "skc_family"), ("sock_common", "skc_dport"), ("sock_common", "skc_num"),
    ("sock_common", "skc_daddr"), ("sock_common", "skc_v6_daddr"),
)  # fmt: skip
# Absent from kernels built without audit.
_OPTIONAL = (("task_struct", "loginuid"), ("task_struct", "sessionid"))


def kernel_offsets(path: Path = KERNEL_TYPES) -> dict[str, int]:
    """The offsets that the program is compiled with, as `<struct>_<member>` → bytes.

    Raises:
        CaptureError: the kernel has no BTF, or lacks a member that cannot be done without.
    """
    try:
        types = KernelTypes(path.read_bytes())
    except OSError as fault:
        raise CaptureError(f"{path}: {fault.strerror}") from fault
    found = {f"{owner}_{member}": types.offset(owner, member) for owner, member in (*_NEEDED, *_OPTIONAL)}
    for owner, member in _NEEDED:
        if found[f"{owner}_{member}"] is None:
            raise CaptureError(f"this kernel has no {owner}.{member}, which naming a process needs")
    return {name: offset for name, offset in found.items() if offset is not None}
