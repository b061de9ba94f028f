"""Reads DNS messages: the name that was asked for, and the addresses that were given for it.

dnspython's parser of names and its bounds checks are used, not its `dns.message`: that builds every record (four times
the time, three times the memory) and gives nothing of a message that was cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import dns.exception
import dns.name
import dns.wire

if TYPE_CHECKING:
    from collections.abc import Iterator

# RFC 1035, 4.1.1 and 3.2; AAAA is RFC 3596.
_RESPONSE = 0x8000
_OPCODE = 0x7800
_RCODE = 0x000F
_INTERNET = 1
_SIZES = {1: 4, 28: 16}
"""Bytes of an address by type of record: A and AAAA."""
_POINTER = 0xC0
# A TTL with the highest bit set counts as 0 (RFC 2181, 8).
_LONGEST_TTL = 0x7FFFFFFF

_LONGEST_NAME = 253
_MAPPED = bytes(10) + b"\xff\xff"


class MalformedError(Exception):
    """Header or question of a message cannot be read."""


class NotAnAnswerError(Exception):
    """It is something else: a query, a part of a message, a message of another kind."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer says. `name` is the one that was asked for, whatever aliases (CNAME) led to the addresses."""

    name: str
    """Lower case, without the final dot, punycode as it is, all but printable ASCII written out (`\\027`)."""
    addresses: tuple[bytes, ...]
    """4 bytes, or 16 of what is not an IPv4 address in disguise."""
    ttl: int
    """The longest of the addresses', in seconds."""
    whole: bool
    """False where a record could not be read: those before it were."""


def messages(payload: bytes, *, tcp: bool) -> Iterator[bytes]:
    """The messages in what was received at once: over TCP there can be several, each behind two bytes of length."""
    # A message without them has 00 01 at this place (it asks one question); one behind them has its flags here, and an
    # answer's first flag is set.
    if tcp and len(payload) > 4 and payload[4] & 0x80:  # noqa: PLR2004
        while payload:
            end = 2 + int.from_bytes(payload[:2], "big")
            yield payload[2:end]
            payload = payload[end:]
    else:
        yield payload


def read(message: bytes) -> Answer:
    """Reads what is whole of an answer to a query of one name. Its work is bounded by the message's length.

    Raises:
        MalformedError: not even the question can be read.
        NotAnAnswerError: it is no answer to a query of one name.
    """
    parser = dns.wire.Parser(message)
    try:
        _, flags, questions, records, _, _ = parser.get_struct("!6H")
        if not flags & _RESPONSE or flags & _OPCODE or questions != 1:
            raise NotAnAnswerError
        name = dns.name.from_wire_parser(parser)
        parser.get_struct("!HH")
    except dns.exception.DNSException as fault:
        raise MalformedError from fault
    if flags & _RCODE:
        records = 0
    addresses: dict[bytes, int] = {}
    whole = True
    try:
        for _ in range(records):
            if address := _address(parser):
                addresses[address[0]] = address[1]
    except dns.exception.DNSException:
        whole = False
    return Answer(_text(name), tuple(addresses), max(addresses.values(), default=0), whole)


def _address(parser: dns.wire.Parser) -> tuple[bytes, int] | None:
    """Address and TTL of the next record, if it has one."""
    _pass_name(parser)
    kind, network, ttl, size = parser.get_struct("!HHIH")
    data = parser.get_bytes(size)
    if kind not in _SIZES or network != _INTERNET:
        return None
    if size != _SIZES[kind]:
        raise dns.exception.FormError
    return data.removeprefix(_MAPPED), ttl if ttl <= _LONGEST_TTL else 0


def _pass_name(parser: dns.wire.Parser) -> None:
    # Whose record it is need not be known, and following pointers to long names would take longest.
    while length := parser.get_uint8():
        if length >= _POINTER:
            parser.get_uint8()
            return
        parser.get_bytes(length)


def _text(name: dns.name.Name) -> str:
    text = name.to_text(omit_final_dot=True).lower()
    # Only one that needs much writing out gets so long. Its end says whose it is.
    return text if len(text) <= _LONGEST_NAME else "…" + text[1 - _LONGEST_NAME :]
