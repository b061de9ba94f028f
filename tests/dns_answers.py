"""Builds DNS answers as servers send them, with all of dnspython."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

import dns.message
import dns.name
import dns.rcode
import dns.rrset

from detector.bpf.answers import DnsAnswer

if TYPE_CHECKING:
    from pathlib import Path

    from dns.name import Name

RESOLVER = "10.0.0.2"
# Always the same: parameters, and so the names of tests, are made of answers.
_NUMBER = 0x1234


def message(
    name: str | Name,
    *addresses: str,
    aliases: tuple[str, ...] = (),
    ttl: int = 300,
    kind: str = "A",
    rcode: str = "NOERROR",
) -> bytes:
    """An answer to the question for `name`: the aliases that lead to the addresses, and these; `kind` was asked for."""
    owner = dns.name.from_text(name) if isinstance(name, str) else name
    query = dns.message.make_query(owner, kind, use_edns=True, id=_NUMBER)
    response = dns.message.make_response(query, recursion_available=True)
    response.set_rcode(dns.rcode.from_text(rcode))
    for alias in aliases:
        target = dns.name.from_text(alias)
        response.answer.append(dns.rrset.from_text(owner, ttl, "IN", "CNAME", target.to_text()))
        owner = target
    for address in addresses:
        record = "AAAA" if ":" in address else "A"
        response.answer.append(dns.rrset.from_text(owner, ttl, "IN", record, address))
    return response.to_wire(max_size=65535)


def packed(address: str) -> bytes:
    """16 bytes, IPv4 mapped."""
    parsed = ip_address(address)
    return parsed.packed if isinstance(parsed, IPv6Address) else IPv6Address(f"::ffff:{address}").packed


def received(payload: bytes, **values: Any) -> DnsAnswer:
    """What a service got by UDP from a resolver of the host; other circumstances by name."""
    server = packed(values.pop("server", RESOLVER))
    values = {"length": len(payload), "tcp": False, "uid": 101, "host_network": True, "connected": True} | values
    return DnsAnswer(payload=payload, server=server, **values)


def configure(path: Path, *servers: str) -> Path:
    """Writes a resolv.conf."""
    path.write_text("".join(f"nameserver {server}\n" for server in servers), encoding="utf-8")
    return path
