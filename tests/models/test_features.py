"""What is looked at in a row."""

from __future__ import annotations

from ipaddress import ip_address

import numpy as np
import pytest

from detector.models.endpoints import LOOPBACK, PRIVATE, PUBLIC, place
from tests.builders import count
from tests.models.conftest import arranged


@pytest.mark.parametrize(
    ("address", "address_class"),
    [
        ("127.0.0.1", LOOPBACK),
        ("127.255.0.9", LOOPBACK),
        ("::1", LOOPBACK),
        ("10.255.255.255", PRIVATE),
        ("172.16.0.0", PRIVATE),
        ("172.31.255.255", PRIVATE),
        ("192.168.3.4", PRIVATE),
        ("169.254.169.254", PRIVATE),
        ("100.64.0.1", PRIVATE),
        ("fd00::1", PRIVATE),
        ("fe80::1", PRIVATE),
        ("172.32.0.0", PUBLIC),
        ("100.128.0.0", PUBLIC),
        ("11.0.0.0", PUBLIC),
        ("0.0.0.1", PUBLIC),
        ("203.0.113.7", PUBLIC),
        ("2001:db8::1", PUBLIC),
    ],
)
def test_address_classes(address: str, address_class: int) -> None:
    """Loopback, private and public addresses are told apart at the edges of their networks."""
    assert place(ip_address(address)).address_class == address_class


def test_networks() -> None:
    """Neighbours share a network: /24 for IPv4, /64 for IPv6."""
    assert place(ip_address("10.0.4.12")).network == place(ip_address("10.0.4.99")).network
    assert place(ip_address("10.0.4.12")).network != place(ip_address("10.0.5.12")).network
    assert place(ip_address("2001:db8::1")).network == place(ip_address("2001:db8::ffff:1")).network
    assert place(ip_address("2001:db8::1")).network != place(ip_address("2001:db8:0:1::1")).network


def test_rows_are_arranged_by_endpoint() -> None:
    """Rows to one address and port share an endpoint; inbound rows share the network they come from."""
    counts = [
        count("10.0.4.12", 22, attempted=2),
        count("10.0.4.12", 22, attempted=30, executable="/usr/bin/nc"),
        count("10.0.4.12", 443, attempted=1),
        count("192.0.2.1", 22, direction="inbound", established=4),
        count("192.0.2.200", 22, direction="inbound", established=3, attempted=99),
    ]
    rows = arranged(*counts)
    assert rows.endpoint_of.tolist() == [0, 0, 1, 2, 2]
    assert rows.connects.tolist() == [32, 1, 7]
    assert [endpoint.outbound for endpoint in rows.endpoints] == [True, True, False]
    assert rows.credited.tolist() == [False, True, True, True, True]
    assert rows.connects.dtype == np.float64
