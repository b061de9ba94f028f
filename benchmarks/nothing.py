"""A kernel program that does nothing: what it takes to look at all."""

from __future__ import annotations

from detector.bpf import syscall
from detector.bpf.btf import kernel_types

# r0 = 0, exit: include/uapi/linux/bpf.h.
_RETURN_0 = bytes.fromhex("b700000000000000 9500000000000000")


def attach_nothing() -> tuple[int, int]:
    """Has it run at each change of a socket's state, until the descriptors are closed: its own and the attachment's."""
    number = kernel_types().tracepoint("inet_sock_set_state")
    assert number
    program = syscall.load("nothing", syscall.ProgramKind.TRACING, _RETURN_0, tracepoint=number)
    return program, syscall.attach_to_tracepoint(program)
