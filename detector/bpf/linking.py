"""Puts programs together with the functions that they call: bcc knows no other way than to inline them.

A call of such a function is compiled as one of a helper of the kernel's, with a number that no helper has.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

APART = ("count", "facts_of_image", "current_process", "learn_own_origin", "count_send")
"""The functions that are called so: see APART in common.bpf.c."""

_FIRST_NUMBER = 0x10000
NUMBERS = {name: number for number, name in enumerate(APART, start=_FIRST_NUMBER)}
"""What stands for each in a call."""

# struct bpf_insn: code, registers, offset, immediate. include/uapi/linux/bpf.h
_INSTRUCTION = struct.Struct("=BBhi")
_CALL, _LOAD_64 = 0x85, 0x18
# In place of a source register: what is loaded is a map.
_FROM_MAP = 1
# In place of a source register: the call is of another function of the same program.
_PSEUDO_CALL = 1


def link(name: str, code_of: Callable[[str], bytes]) -> bytes:
    """The instructions of the program `name`, followed by those of each function that it calls, once.

    Args:
        name: of the program.
        code_of: gives the instructions of a program or function by its name.
    """
    names = {number: called for called, number in NUMBERS.items()}
    places: dict[str, int] = {}
    calls: list[tuple[int, str]] = []
    code = bytearray()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in places:
            continue
        places[current] = len(code)
        part = code_of(current)
        for at in range(0, len(part), _INSTRUCTION.size):
            operation, _, _, number = _INSTRUCTION.unpack_from(part, at)
            if operation == _CALL and number in names:
                calls.append((len(code) + at, names[number]))
                waiting.append(names[number])
        code += part
    for at, called in calls:
        # Counted in instructions, from the one after the call.
        distance = (places[called] - at) // _INSTRUCTION.size - 1
        _INSTRUCTION.pack_into(code, at, _CALL, _PSEUDO_CALL << 4, 0, distance)
    return bytes(code)


def with_maps(code: bytes, numbers: Mapping[int, int]) -> bytes:
    """The same instructions, with other numbers for the maps that they refer to: descriptors, or places among maps."""
    changed = bytearray(code)
    for at in range(0, len(code), _INSTRUCTION.size):
        operation, registers, offset, number = _INSTRUCTION.unpack_from(code, at)
        if operation == _LOAD_64 and registers >> 4 == _FROM_MAP:
            _INSTRUCTION.pack_into(changed, at, operation, registers, offset, numbers[number])
    return bytes(changed)
