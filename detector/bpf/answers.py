"""DNS answers as the kernel saw processes of this host receive them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from detector.bpf import syscall

# struct answer_key and answer of answers.bpf.c
_KEY = struct.Struct("=QII")
_PAYLOAD_BYTES = 1024
_ANSWER = struct.Struct(f"=16sIIBBBBI{_PAYLOAD_BYTES}s")
_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsAnswer:
    """What one process received at once from port 53 of a server; whoever sent it may have written anything."""

    payload: bytes
    """The first bytes of it, at most 1,023. Over TCP it may or may not begin with the two bytes of the length."""
    length: int
    """Of the whole, in bytes."""
    tcp: bool
    server: bytes
    """16 bytes, IPv4 mapped: the connected peer, or whom an unconnected socket asked last."""
    connected: bool
    """Whether the socket takes packets of the server alone."""
    uid: int
    """Of the receiving process, as the host numbers its accounts."""
    host_network: bool
    """Whether it was received in the host's own network namespace."""


def read_answers(fd: int) -> tuple[DnsAnswer, ...]:
    """Takes the answers out of the kernel's map, in the order in which they were received.

    Raises:
        CaptureError: the kernel refuses.
    """
    found = [
        (nanoseconds, value)
        for keys, values in syscall.entries(fd, _KEY.size, _ANSWER.size, remove=True, batch=_BATCH)
        for (nanoseconds, _, _), value in zip(_KEY.iter_unpack(keys), _ANSWER.iter_unpack(values), strict=True)
    ]
    found.sort(key=itemgetter(0))
    return tuple(_answer(value) for _, value in found)


def _answer(value: tuple[Any, ...]) -> DnsAnswer:
    server, length, uid, tcp, host_network, connected, _, _, payload = value
    return DnsAnswer(
        payload=payload[: min(length, _PAYLOAD_BYTES - 1)],
        length=length,
        tcp=bool(tcp),
        server=server,
        connected=bool(connected),
        uid=uid,
        host_network=bool(host_network),
    )
