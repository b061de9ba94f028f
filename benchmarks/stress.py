"""The harder attacks that the captures' reference is measured on, made of the recorded ones."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from detector.domain import ConnectionKey, Direction, Outcome, Protocol
from detector.evaluation.cases import RecordedAttack
from detector.evaluation.connects import Connect
from detector.evaluation.harder import onto_web, slower

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from detector.evaluation.cases import Attack


def reference(attacks: Iterable[Attack]) -> Sequence[Attack]:
    """Ten: four on port 443, two slowed, two beacons, two sweeps."""
    by_name = {each.name: each for each in attacks if isinstance(each, RecordedAttack)}
    infected = onto_web(by_name["njrat"])
    scan = by_name["port scan (nmap)"]
    chance = random.Random(0)
    return [
        onto_web(by_name["apt29 reverse shell"]),
        onto_web(by_name["apt29 c2"]),
        onto_web(by_name["ssh brute force"]),
        replace(infected, recorded=tuple(replace(each, outcome=Outcome.ESTABLISHED) for each in infected.recorded)),
        slower(by_name["ssh brute force"], 8),
        replace(
            scan,
            name="port scan (nmap), one each four minutes",
            recorded=tuple(
                replace(each, at=number * 240 + chance.uniform(0, 60)) for number, each in enumerate(scan.recorded)
            ),
        ),
        _beacon("beacon each 5 minutes", "198.51.100.99", _times(chance, 300, 0.1, 40)),
        _beacon("beacon each minute", "198.51.100.98", _times(chance, 60, 0.2, 120)),
        _attack(
            "sweep of port 445",
            [_connect(2.0 * n, f"10.20.0.{n + 1}", 445, Outcome.TIMED_OUT) for n in range(60)],
        ),
        _attack(
            "sweep of port 443",
            [
                _connect(2.0 * n, f"203.0.{n}.{n + 1}", 443, Outcome.TIMED_OUT if n % 3 else Outcome.ESTABLISHED)
                for n in range(60)
            ],
        ),
    ]


def _times(chance: random.Random, seconds: float, jitter: float, number: int) -> list[float]:
    times = [0.0]
    while len(times) < number:
        times.append(times[-1] + seconds * (1 + chance.uniform(-jitter, jitter)))
    return times


def _beacon(name: str, address: str, times: Iterable[float]) -> RecordedAttack:
    return _attack(name, [_connect(at, address, 443, Outcome.ESTABLISHED) for at in times])


def _attack(name: str, connects: Iterable[Connect]) -> RecordedAttack:
    return RecordedAttack(name=name, recorded=tuple(connects))


def _connect(at: float, address: str, port: int, outcome: Outcome) -> Connect:
    key = ConnectionKey(
        direction=Direction.OUTBOUND, protocol=Protocol.TCP, remote_address=ip_address(address), remote_port=port
    )
    return Connect(at=at, key=key, outcome=outcome)
