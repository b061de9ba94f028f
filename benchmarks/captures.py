"""Recorded Zeek connection logs: hosts with ordinary traffic, and attacks to play into it (see their README.md)."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from detector.collector.log_files import LogFile, source_digest
from detector.collector.log_lines import Tally, parsed_address
from detector.collector.zeek import read_connections
from detector.domain import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from detector.collector.zeek import Connection
    from detector.domain import IPAddress

# Of the connections that are labelled as njRAT's: where they go.
_NJRAT = ("41.108.179.197", "85.31.204.81", "54.247.115.15", "216.58.201.70", "52.57.198.59")
_NJRAT_PORTS = (1177, 443)


@dataclass(frozen=True, slots=True)
class Connect:
    """One active open; `at` in seconds since 1970, or since the first one of an attack."""

    at: float
    address: IPAddress
    port: int
    established: bool
    attack: bool = False


def read(data: Path, *patterns: str) -> list[Connection]:
    """The connections of all logs that match, by the product's own reader."""
    tally = Tally(strict=True)
    with ExitStack() as stack:
        paths = [path for pattern in patterns for path in sorted(data.glob(pattern))]
        files = [stack.enter_context(LogFile(str(path))) for path in paths]
        source_digest(files)
        return list(read_connections(files, tally))


def active_opens(connections: Iterable[Connection]) -> list[Connect]:
    """Step 1 of the protocol: TCP connects that the source made, in order of time."""
    connects = [
        Connect(each.at, parsed_address(each.resp), each.port, established=outcome is Outcome.ESTABLISHED)
        for each in connections
        if each.protocol == "tcp" and (outcome := each.outcome) is not None
    ]
    return sorted(connects, key=lambda connect: connect.at)


def load(data: Path) -> tuple[dict[str, list[Connect]], dict[str, list[Connect]]]:
    """Hosts and attacks by name; the times of an attack start at 0."""

    def where(source: Iterable[Connection], src: str | None = None, dst: str | None = None) -> list[Connection]:
        return [each for each in source if src in (None, each.orig) and dst in (None, each.resp)]

    def attack(source: Iterable[Connection], target: str | None = None) -> list[Connect]:
        found = active_opens(source)
        aim = ip_address(target) if target else None
        return [replace(each, at=each.at - found[0].at, address=aim or each.address, attack=True) for each in found]

    rita = read(data, "rita_vps/*/conn.*.gz")
    hosts = {
        "rita_vps": active_opens(where(rita, src="64.225.56.201")),
        "ubuntu_vm": active_opens(where(read(data, "ubuntu_vm/conn.log*"), src="192.168.1.109")),
        "desktop_008": active_opens(where(read(data, "desktop_008/conn.log*"), src="147.32.81.167")),
    }
    scranton, nashua = (read(data, f"apt29_day1/day1_{name}_conn.log") for name in ("SCRANTON", "NASHUA"))
    scan = read(data, "portscan_small/conn.log*")
    infected = where(read(data, "njrat/conn.log*"), src="192.168.1.115")
    inbound = where(rita, dst="64.225.56.201")
    brute_force = attack(where(inbound, src="170.64.237.193"), "203.0.113.10")
    attacks = {
        "apt29 c2": attack(where(nashua, src="10.0.1.6", dst="192.168.0.4")),
        "apt29 reverse shell": attack(where(scranton, src="10.0.1.4", dst="192.168.0.5")),
        "apt29 lateral": attack(where(scranton, src="10.0.1.4", dst="10.0.1.6")),
        "njrat": attack(each for each in infected if each.resp in _NJRAT and each.port in _NJRAT_PORTS),
        "port scan (nmap)": attack(where(scan, src="192.168.1.9", dst="45.33.32.156")),
        "port scan (80.66.66.145)": attack(where(inbound, src="80.66.66.145"), "203.0.113.10"),
        "ssh brute force": brute_force,
        "ssh brute force, known key": [replace(each, port=0) for each in brute_force],  # 0: aimed at each host
    }
    return hosts, attacks
