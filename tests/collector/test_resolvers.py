"""Whose DNS answers are believed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from detector.collector.resolvers import Refusal, Resolvers, name_servers
from tests.dns_answers import RESOLVER, configure, packed, received

if TYPE_CHECKING:
    from pathlib import Path

_ALICE = 1000
_UNBOUND = 112


def _resolvers(folder: Path, *servers: str, first_unprivileged_port: int = 1024) -> Resolvers:
    ports = folder / "ip_unprivileged_port_start"
    ports.write_text(f"{first_unprivileged_port}\n", encoding="utf-8")
    return Resolvers(configure(folder / "resolv.conf", *servers), ports)


@pytest.mark.parametrize(
    ("circumstances", "refusal"),
    [
        ({"uid": _ALICE}, None),
        ({"uid": _ALICE, "server": "2001:db8::53"}, None),
        ({"uid": _ALICE, "server": "127.0.0.53"}, None),
        ({"uid": _ALICE, "server": "::1"}, None),
        ({"uid": _ALICE, "server": "198.51.100.66"}, Refusal.SERVER),
        ({"uid": _ALICE, "server": "10.0.0.3"}, Refusal.SERVER),
        ({"uid": 65534, "server": "198.51.100.66"}, Refusal.SERVER),
        ({"uid": _UNBOUND, "server": "198.51.100.66"}, None),
        ({"uid": 0, "server": "198.51.100.66"}, None),
        # `unshare --user --net`: her own network, where every address is hers.
        ({"uid": _ALICE, "host_network": False}, Refusal.NAMESPACE),
        ({"uid": _ALICE, "host_network": False, "server": "127.0.0.53"}, Refusal.NAMESPACE),
        ({"uid": 100_999, "host_network": False}, Refusal.NAMESPACE),
        ({"uid": 0, "host_network": False}, None),
        ({"uid": 0, "host_network": False, "server": "127.0.0.11"}, Refusal.NAMESPACE),
        ({"uid": 0, "host_network": False, "server": "198.51.100.66"}, Refusal.NAMESPACE),
        # What looks like an answer can be the text of a record, read from its middle.
        ({"uid": _ALICE, "tcp": True}, Refusal.STREAM),
        ({"uid": _ALICE, "tcp": True, "server": "127.0.0.53"}, Refusal.STREAM),
        ({"uid": _UNBOUND, "tcp": True}, None),
        # It asked, and then took a packet of its own.
        ({"uid": _ALICE, "connected": False}, Refusal.UNCONNECTED),
        ({"uid": _UNBOUND, "connected": False}, None),
    ],
)
def test_who_cannot_bind_port_53_cannot_name_an_address(
    tmp_path: Path, circumstances: dict[str, Any], refusal: Refusal | None
) -> None:
    """Ordinary accounts are believed what the host's own resolvers told them, services what any server did."""
    resolvers = _resolvers(tmp_path, RESOLVER, "2001:db8::53")
    assert resolvers.refusal(received(b"", **circumstances), now=0) is refusal


def test_a_container_cannot_speak_for_the_hosts_loopback(tmp_path: Path) -> None:
    """127.0.0.53 of the host's configuration is another server in another network."""
    resolvers = _resolvers(tmp_path, "127.0.0.53")
    assert resolvers.refusal(received(b"", uid=0, server="127.0.0.53", host_network=False), 0) is Refusal.NAMESPACE
    assert resolvers.refusal(received(b"", uid=_ALICE, server="127.0.0.53"), 0) is None


@pytest.mark.parametrize("port", [0, 53])
def test_where_anybody_may_bind_port_53_only_named_loopback_servers_are_believed(tmp_path: Path, port: int) -> None:
    """The limit can be lowered: then a loopback address proves nothing."""
    resolvers = _resolvers(tmp_path, "127.0.0.53", first_unprivileged_port=port)
    assert resolvers.refusal(received(b"", uid=_ALICE, server="127.0.0.99"), 0) is Refusal.SERVER
    assert resolvers.refusal(received(b"", uid=_ALICE, server="127.0.0.53"), 0) is None


def test_a_change_of_servers_is_followed_within_a_second(tmp_path: Path) -> None:
    """As DHCP or a VPN makes it: the file written anew, or another in its place."""
    resolvers = _resolvers(tmp_path, RESOLVER)
    old, new = received(b"", uid=_ALICE), received(b"", uid=_ALICE, server="10.8.0.1")
    assert (resolvers.refusal(old, 0.0), resolvers.refusal(new, 0.5)) == (None, Refusal.SERVER)
    configure(tmp_path / "new", "10.8.0.1").replace(tmp_path / "resolv.conf")
    assert (resolvers.refusal(old, 1.0), resolvers.refusal(new, 1.0)) == (Refusal.SERVER, None)
    path = configure(tmp_path / "resolv.conf", RESOLVER)
    os.utime(path, ns=(1, 1))
    assert (resolvers.refusal(old, 2.0), resolvers.refusal(new, 2.0)) == (None, Refusal.SERVER)


def test_without_a_configuration_no_server_is_known_until_there_is_one(tmp_path: Path) -> None:
    """Services and loopback are believed all the same."""
    resolvers = _resolvers(tmp_path)
    (tmp_path / "resolv.conf").unlink()
    answer = received(b"", uid=_ALICE)
    assert resolvers.refusal(answer, 0) is Refusal.SERVER
    assert resolvers.refusal(received(b"", uid=_ALICE, server="127.0.0.1"), 0) is None
    assert resolvers.refusal(received(b"", uid=_UNBOUND), 0) is None
    configure(tmp_path / "resolv.conf", RESOLVER)
    assert resolvers.refusal(answer, 1) is None


def test_the_hosts_own_configuration_is_read_by_default() -> None:
    """Its loopback is believed, since ordinary accounts cannot listen on port 53 there."""
    assert Resolvers().refusal(received(b"", uid=_ALICE, server="127.0.0.53"), 0) is None


def test_servers_are_read_as_the_resolver_reads_them() -> None:
    """Comments, options, scopes, tabs; what is no address is passed over."""
    text = """# made by somebody
        ; nameserver 10.9.9.9
        search example.com
        nameserver 10.0.0.2
        nameserver\tfe80::1%eth0   # the router
        nameserver ns.example.com
        nameserver
        options edns0 trust-ad
        """
    assert name_servers(text) == {packed("10.0.0.2"), packed("fe80::1")}
