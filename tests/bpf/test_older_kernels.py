"""What kernels refuse that are older than the one at hand, as far as it can be seen without them: see also test-vm."""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING

import pytest

from detector.bpf.btf import kernel_offsets, kernel_types
from detector.bpf.compiler import compiled
from detector.bpf.hooks import HOOKS
from detector.bpf.linking import link
from detector.bpf.program import _FIRST_MAPS, _flags, _text
from detector.bpf.sizes import Sizes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.bpf.objects import KernelObject

pytestmark = pytest.mark.kernel

# struct bpf_insn: code, registers, offset, immediate. include/uapi/linux/bpf.h
_INSTRUCTION = struct.Struct("=BBhi")
_JUMP, _JUMP_32 = 5, 6
_ALWAYS, _CALL, _EXIT = 0x00, 0x80, 0x90
_PSEUDO_CALL = 1


@cache
def _compiled() -> KernelObject:
    sizes = Sizes(counts=64, folded=64, pending=64, named=64)
    # With what only kernels with kprobes have.
    flags = {*_flags(sizes, kernel_offsets(kernel_types())), "-DKPROBES"}
    return compiled(_text(), sorted(flags), _FIRST_MAPS)


_PROGRAMS = sorted({each.function for hook in HOOKS for way in hook.ways for each in way if each.types})


@pytest.mark.parametrize("name", _PROGRAMS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_only_jumps_lead_back(name: str) -> None:
    """Linux 6.1 refuses code that runs on into the beginning of a loop, as compilers like to lay loops out."""
    code = link(name, _compiled().functions.__getitem__)
    assert list(_run_backs(list(_INSTRUCTION.iter_unpack(code)))) == []


def _run_backs(code: list[tuple[int, int, int, int]]) -> Iterator[int]:
    """Walks as the kernel's check_cfg does: depth first, an instruction's own successor before a jump's target."""
    begun, done = {0}, set[tuple[int, int]]()
    finished = set[int]()
    walked = [0]
    while walked:
        at = walked[-1]
        for number, (successor, by_jump) in enumerate(_successors(at, *code[at])):
            if (at, number) in done:
                continue
            done.add((at, number))
            if successor not in begun:
                begun.add(successor)
                walked.append(successor)
                break
            if successor not in finished and not by_jump:
                yield at
        else:
            finished.add(at)
            walked.pop()


def _successors(at: int, operation: int, registers: int, offset: int, immediate: int) -> Iterator[tuple[int, bool]]:
    """Where it goes on, and whether that is by a jump."""
    kind = operation & 0xF0
    if operation & 7 not in (_JUMP, _JUMP_32):
        yield at + 1, False
    elif kind == _CALL:
        yield at + 1, False
        if registers >> 4 == _PSEUDO_CALL:
            yield at + 1 + immediate, False
    elif kind == _ALWAYS:
        yield at + 1 + offset, True
    elif kind != _EXIT:
        yield at + 1, True
        yield at + 1 + offset, True
