"""Where the kernel programs are attached, chosen by what the running kernel has."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Attachment(StrEnum):
    """How a program is attached."""

    TRACEPOINT = "tracepoint"
    RAW_TRACEPOINT = "raw tracepoint"
    KPROBE = "kprobe"
    KRETPROBE = "kretprobe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A function of the *.bpf.c files, and where it is attached (`sock:inet_sock_set_state`, `udp_recvmsg`)."""

    function: str
    attachment: Attachment
    target: str
    types: bool = True
    """Whether it needs the kernel's type information (BTF)."""

    def __str__(self) -> str:
        return f"{self.attachment} {self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """Something to be seen, and the ways to see it: the first whose programs can all be attached is in use."""

    name: str
    unseen: str
    """What stays unseen without it."""
    ways: tuple[tuple[Program, ...], ...]
    required: bool = False
    covered_by: str = ""
    """A program that sees this too: where it is attached, nothing else is needed."""


def _raw(function: str, target: str) -> Program:
    return Program(function=function, attachment=Attachment.RAW_TRACEPOINT, target=target)


def _kprobe(function: str, target: str) -> Program:
    return Program(function=function, attachment=Attachment.KPROBE, target=target)


STATES = "connections"
_RECEIVERS = ("udp_recvmsg", "udpv6_recvmsg", "tcp_recvmsg")

HOOKS = (
    Hook(
        name=STATES,
        unseen="TCP and SCTP connections",
        required=True,
        ways=(
            (
                _raw("count_state_change", "sock:inet_sock_set_state"),
                _raw("rescue_state_change", "sock:inet_sock_set_state"),
            ),
            (
                Program(
                    function="count_described_change",
                    attachment=Attachment.TRACEPOINT,
                    target="sock:inet_sock_set_state",
                    types=False,
                ),
            ),
        ),
    ),
    Hook(
        name="programs",
        unseen="scripts, and where logins came from",
        ways=((_raw("number_executable", "sched:sched_process_exec"),),),
    ),
    Hook(
        name="refused by routing",
        unseen="connects refused by routing",
        ways=(
            (
                Program(
                    function="refused_by_routing",
                    attachment=Attachment.TRACEPOINT,
                    target="syscalls:sys_exit_connect",
                ),
            ),
        ),
    ),
    Hook(
        name="refused by routing, io_uring",
        unseen="connects of io_uring that routing refuses",
        ways=((_raw("refused_in_ring", "io_uring:io_uring_complete"),),),
    ),
    # The kprobe is shown the kernel's own copy of the address; the tracepoint leaves it in the memory of the program,
    # which could change it in time.
    Hook(
        name="sends",
        unseen="UDP, ICMP, raw and packet sockets",
        ways=((_kprobe("count_send_call", "security_socket_sendmsg"),), (_raw("count_sent", "sock:sock_send_length"),)),
    ),
    Hook(
        name="sends of io_uring",
        unseen="where io_uring sends to on unconnected sockets",
        covered_by="count_send_call",
        ways=((_raw("keep_submitted", "io_uring:io_uring_submit_req"),),),
    ),
    Hook(
        name="SCTP connects",
        unseen="who connects by SCTP, and SCTP connects that fail",
        ways=((_kprobe("count_sctp_connect", "security_socket_connect"),),),
    ),
    Hook(
        name="DNS answers",
        unseen="names of destinations",
        ways=(
            (_raw("keep_received", "sock:sock_recv_length"),),
            tuple(
                Program(function=function, attachment=attachment, target=target)
                for target in _RECEIVERS
                for function, attachment in (
                    ("begin_receive", Attachment.KPROBE),
                    ("end_receive", Attachment.KRETPROBE),
                )
            ),
        ),
    ),
)
"""Everything that can be seen, the most important first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookState:
    """How one hook stands on this machine."""

    name: str
    in_use: tuple[str, ...]
    """The attachments, as text; empty when there is no way."""
    unseen: str
    """What is not seen; empty when all is."""
