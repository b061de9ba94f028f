"""Programs with the functions that they call."""

from __future__ import annotations

import struct

from detector.bpf.linking import APART, NUMBERS, link

_INSTRUCTION = struct.Struct("=BBhi")
_CALL, _EXIT, _MOVE = 0x85, 0x95, 0xB7
_HELPER = 1


def _code(*instructions: tuple[int, int]) -> bytes:
    return b"".join(_INSTRUCTION.pack(operation, 0, 0, immediate) for operation, immediate in instructions)


def _read(code: bytes) -> list[tuple[int, int, int, int]]:
    return list(_INSTRUCTION.iter_unpack(code))


_FIRST, _SECOND = APART[:2]


def test_a_program_that_calls_nothing_of_ours_is_left_as_it_is() -> None:
    """Calls of the kernel's helpers are not touched."""
    alone = _code((_MOVE, 3), (_CALL, _HELPER), (_EXIT, 0))
    assert link("program", {"program": alone}.__getitem__) == alone


def test_each_function_follows_once_and_every_call_of_it_finds_it() -> None:
    """Called twice, and by one another: the distances lead to where each begins."""
    parts = {
        "program": _code((_CALL, NUMBERS[_FIRST]), (_CALL, NUMBERS[_SECOND]), (_CALL, NUMBERS[_FIRST]), (_EXIT, 0)),
        _FIRST: _code((_MOVE, 1), (_CALL, NUMBERS[_SECOND]), (_EXIT, 0)),
        _SECOND: _code((_MOVE, 2), (_CALL, _HELPER), (_EXIT, 0)),
    }
    linked = _read(link("program", parts.__getitem__))
    assert len(linked) == 10
    begins = {linked[at][3]: at for at in range(len(linked)) if linked[at][0] == _MOVE}
    calls = {at: at + 1 + each[3] for at, each in enumerate(linked) if each[0] == _CALL and each[1]}
    inner = begins[1] + 1
    assert calls == {0: begins[1], 1: begins[2], 2: begins[1], inner: begins[2]}
    # Says to the kernel that it is a call within the program.
    assert {linked[at][1] for at in calls} == {1 << 4}
    assert [each[3] for each in linked if each[0] == _CALL and not each[1]] == [_HELPER]
