"""Harder cases: the same attacks in the open or slowly, and hosts whose history already holds odd things."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from detector.domain import ConnectionKey, Direction, Outcome, Protocol
from detector.evaluation.cases import RecordedAttack
from detector.evaluation.connects import Connect, by_snapshot, mixed
from detector.evaluation.planting import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from detector.domain import Snapshot
    from detector.evaluation.cases import Attack, Cases, Host

_WEB = 443
_FIRST_PUBLIC = IPv4Address("198.51.100.7")
_SLOWER = 8.0
_PLANTED = ("beacon", "fast-beacon", "slow-scan", "sweep", "web-sweep")
_ODD_PORTS = (5222, 8883, 993, 22067, 6667, 587)
_SETTLED, _APART, _AGAIN_SECONDS = 0.3, 0.1, 37.0


def onto_web(attack: RecordedAttack) -> RecordedAttack:
    """The same timing, all of it to port 443 of public addresses, where hosts that browse have most of theirs."""
    addresses: dict[object, IPv4Address] = {}
    connects = []
    for each in attack.recorded:
        address = addresses.setdefault(each.key.remote_address, _FIRST_PUBLIC + len(addresses))
        connects.append(replace(each, key=replace(each.key, remote_address=address, remote_port=_WEB)))
    return replace(attack, name=f"{attack.name}, port 443", recorded=tuple(connects), on_known=False)


def slower(attack: RecordedAttack, times: float) -> RecordedAttack:
    """The same, so many times slower."""
    connects = tuple(replace(each, at=each.at * times) for each in attack.recorded)
    return replace(attack, name=f"{attack.name}, {times:g} times slower", recorded=connects)


def harder(attacks: Iterable[Attack]) -> list[Attack]:
    """Of each recorded attack one on port 443 and one that is eight times slower; beacons, sweeps and a slow scan."""
    recorded = [each for each in attacks if isinstance(each, RecordedAttack)]
    return [
        *(onto_web(each) for each in recorded if not each.on_known),
        *(slower(each, _SLOWER) for each in recorded),
        *(KINDS[each] for each in _PLANTED),
    ]


@dataclass(frozen=True, slots=True)
class Odd:
    """What a history holds already: connects to ports that are seldom used, two each."""

    ports: int
    private: bool

    def __str__(self) -> str:
        where = "private" if self.private else "public"
        return f"{self.ports} odd port{'s' * (self.ports > 1)} at {where} addresses in the history"


ODD_HISTORIES = (Odd(1, private=False), Odd(4, private=False), Odd(2, private=True), Odd(4, private=True))


def with_odd_history(host: Host, odd: Odd) -> Host:
    """The same host, whose history holds these, from three tenths of it on, a tenth apart."""
    by_seconds: dict[int, Sequence[Snapshot]] = {}

    def of(seconds: int) -> Sequence[Snapshot]:
        if seconds not in by_seconds:
            snapshots = host.snapshots(seconds)
            added = by_snapshot(_connects(odd, snapshots[0].start.timestamp(), host.middle), snapshots)
            by_seconds[seconds] = [
                mixed(each, added[index]) if index in added else each for index, each in enumerate(snapshots)
            ]
        return by_seconds[seconds]

    return replace(host, snapshots=of)


def _connects(odd: Odd, start: float, until: float) -> list[Connect]:
    return [
        Connect(
            at=start + (until - start) * (_SETTLED + _APART * number) + again * _AGAIN_SECONDS,
            key=ConnectionKey(
                direction=Direction.OUTBOUND,
                protocol=Protocol.TCP,
                remote_address=IPv4Address(f"{'10.9' if odd.private else '192.0'}.{number + 10}.7"),
                remote_port=port,
            ),
            outcome=Outcome.ESTABLISHED,
        )
        for number, port in enumerate(_ODD_PORTS[: odd.ports])
        for again in range(2)
    ]


def stressed(cases: Cases) -> list[tuple[str, Cases]]:
    """What is harder than these cases, each by what it is called."""
    return [
        ("harder attacks", replace(cases, attacks=harder(cases.attacks))),
        *(
            (str(odd), replace(cases, hosts=[with_odd_history(host, odd) for host in cases.hosts]))
            for odd in ODD_HISTORIES
        ),
    ]
