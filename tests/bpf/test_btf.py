"""Offsets from the kernel's type information."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.bpf.btf import KernelTypes, kernel_offsets, kernel_types
from detector.errors import CaptureError

if TYPE_CHECKING:
    from pathlib import Path

_STRUCT, _UNION, _TYPEDEF, _INT = 4, 5, 8, 1


class Blob:
    """Writes a small BTF blob; types are numbered from 1 in the order in which they are added."""

    def __init__(self) -> None:
        self.types = b""
        self.strings = b"\0"

    def name(self, text: str) -> int:
        """Offset of a string; 0 for none."""
        if not text:
            return 0
        at = len(self.strings)
        self.strings += text.encode() + b"\0"
        return at

    def integer(self, name: str) -> None:
        """A 32-bit integer."""
        self.types += struct.pack("=IIII", self.name(name), _INT << 24, 4, 32)

    def alias(self, name: str, target: int) -> None:
        """A typedef."""
        self.types += struct.pack("=III", self.name(name), _TYPEDEF << 24, target)

    def compound(self, kind: int, name: str, *members: tuple[str, int, int]) -> None:
        """A struct or union of (name, type, offset in bits)."""
        self.types += struct.pack("=III", self.name(name), kind << 24 | len(members), 64)
        for member, target, bits in members:
            self.types += struct.pack("=III", self.name(member), target, bits)

    def raw(self) -> bytes:
        """The blob."""
        header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings))
        return header + self.types + self.strings


def _sample() -> Blob:
    blob = Blob()
    blob.integer("int")
    blob.compound(_UNION, "", ("inner_name", 1, 0), ("other", 1, 0))
    blob.compound(_STRUCT, "", ("deep", 1, 96))
    blob.alias("alias_of_unnamed", 3)
    blob.compound(_STRUCT, "outer", ("first", 1, 0), ("", 2, 64), ("", 4, 128))
    return blob


def test_members_of_unnamed_inner_structures_are_found_at_their_place() -> None:
    """Their offsets add up, through unions, structures and typedefs."""
    wanted = [("outer", name) for name in ("first", "inner_name", "deep")]
    assert list(KernelTypes(_sample().raw()).offsets(wanted).values()) == [0, 8, 28]


def test_what_the_kernel_does_not_have_is_none() -> None:
    """Neither a structure nor a member is made up, and no name is taken for one that it only begins or ends."""
    wanted = [("outer", "name"), ("outer", "inner"), ("out", "first"), ("uter", "first")]
    assert KernelTypes(_sample().raw()).offsets(wanted) == dict.fromkeys(wanted)


def test_the_running_kernel_has_all_that_is_needed() -> None:
    """On the kernel that the tests run on, every offset is found."""
    offsets = kernel_offsets(kernel_types())
    assert offsets["sock_common_skc_num"] - offsets["sock_common_skc_dport"] == 2
    assert 0 < offsets["task_struct_loginuid"] < 16_384


@given(st.binary(max_size=64))
def test_anything_else_than_btf_is_refused_in_words(raw: bytes) -> None:
    """No traceback of the parser reaches the operator."""
    with pytest.raises(CaptureError, match="type information"):
        KernelTypes(raw)


def test_a_kernel_without_type_information_is_named(tmp_path: Path) -> None:
    """The message says which file is missing."""
    with pytest.raises(CaptureError, match="vmlinux: No such file"):
        kernel_types(tmp_path / "vmlinux")


def test_a_kernel_that_lacks_a_needed_member_is_refused_by_its_name() -> None:
    """The message names the member."""
    with pytest.raises(CaptureError, match=r"no task_struct\.mm"):
        kernel_offsets(KernelTypes(_sample().raw()))


def test_the_types_of_tracepoints_are_found_by_their_numbers() -> None:
    """A typedef of that name, not another type of it, and nothing for a tracepoint that the kernel does not have."""
    blob = _sample()
    numbered = len(KernelTypes(blob.raw())._types)
    blob.compound(_STRUCT, "btf_trace_connect", ("first", 1, 0))
    blob.alias("btf_trace_connect", 1)
    types = KernelTypes(blob.raw())
    assert types.tracepoint("connect") == numbered + 1
    assert types.tracepoint("connec") is None
