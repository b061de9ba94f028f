"""Recorded Zeek connection logs: hosts with ordinary traffic, and attacks to play into it (see their README.md)."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from detector.domain import IPAddress

_ESTABLISHED = {"SF", "S1", "S2", "S3", "RSTO", "RSTR"}
_FAILED = {"S0", "REJ", "RSTOS0", "SH"}


@dataclass(frozen=True, slots=True)
class Connect:
    """One active open; `at` in seconds since 1970, or since the first one of an attack."""

    at: float
    address: IPAddress
    port: int
    established: bool
    attack: bool = False


Records = list[dict[str, Any]]


def read_zeek(path: Path) -> Records:
    """The records of a Zeek conn.log: tab-separated or JSON, plain or gzip."""
    names: list[str] = []
    records: Records = []
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for line in lines:
            text = line.strip()
            if text.startswith("#"):
                if text.startswith("#fields"):
                    names = re.split(r"\t| {3}", text)[1:]
            elif text.startswith("{"):
                records.append({name.replace("id_", "id."): value for name, value in json.loads(text).items()})
            else:
                records.append(dict(zip(names, re.split(r"\t| {3}", text), strict=False)))
    return records


def active_opens(records: Iterable[Mapping[str, Any]]) -> list[Connect]:
    """Step 1 of the protocol: TCP connects that the source made, in order of time."""
    connects = []
    for record in records:
        history, outcome = str(record.get("history")), record.get("conn_state")
        opened = not history.startswith("^") and ("S" in history or "h" in history)
        if record["proto"] == "tcp" and opened and outcome in _ESTABLISHED | _FAILED:
            address = ip_address(record["id.resp_h"])
            connects.append(
                Connect(float(record["ts"]), address, int(record["id.resp_p"]), established=outcome in _ESTABLISHED)
            )
    return sorted(connects, key=lambda connect: connect.at)


def load(data: Path) -> tuple[dict[str, list[Connect]], dict[str, list[Connect]]]:
    """Hosts and attacks by name; the times of an attack start at 0."""

    def records(*paths: str) -> Records:
        return [record for path in paths for file in sorted(data.glob(path)) for record in read_zeek(file)]

    def where(source: Records, **equal: str) -> Records:
        names = {"src": "id.orig_h", "dst": "id.resp_h", "label": "label"}
        return [each for each in source if all(each.get(names[name]) == value for name, value in equal.items())]

    def attack(source: Records, target: str | None = None) -> list[Connect]:
        found = active_opens(source)
        aim = ip_address(target) if target else None
        return [replace(each, at=each.at - found[0].at, address=aim or each.address, attack=True) for each in found]

    rita = records("rita_vps/*/conn.*.gz")
    desktop = [each for each in records("desktop_008/conn.log*") if each["label"] != "Malicious"]
    hosts = {
        "rita_vps": active_opens(where(rita, src="64.225.56.201")),
        "ubuntu_vm": active_opens(where(records("ubuntu_vm/conn.log*"), src="192.168.1.109")),
        "desktop_008": active_opens(where(desktop, src="147.32.81.167")),
    }
    scranton, nashua = (records(f"apt29_day1/day1_{name}_conn.log") for name in ("SCRANTON", "NASHUA"))
    inbound = where(rita, dst="64.225.56.201")
    brute_force = attack(where(inbound, src="170.64.237.193"), "203.0.113.10")
    attacks = {
        "apt29 c2": attack(where(nashua, src="10.0.1.6", dst="192.168.0.4")),
        "apt29 reverse shell": attack(where(scranton, src="10.0.1.4", dst="192.168.0.5")),
        "apt29 lateral": attack(where(scranton, src="10.0.1.4", dst="10.0.1.6")),
        "njrat": attack(where(records("njrat/conn.log*"), label="Malicious")),
        "port scan (nmap)": attack(where(records("portscan_small/conn.log*"), src="192.168.1.9", dst="45.33.32.156")),
        "port scan (80.66.66.145)": attack(where(inbound, src="80.66.66.145"), "203.0.113.10"),
        "ssh brute force": brute_force,
        "ssh brute force, known key": [replace(each, port=0) for each in brute_force],  # 0: aimed at each host
    }
    return hosts, attacks
