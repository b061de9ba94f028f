"""Attacks that are made up for a host: their parameters are from its own range, their user and program its own or new.

Each kind is a function of what the host's history holds and of chance; the same seed plants the same. What a host's
rows never have (users and programs, in logs of a network) what is planted has not either.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from detector.domain import ConnectionKey, Direction, Outcome, Protocol
from detector.evaluation.connects import Connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from random import Random

    from detector.domain import IPAddress
    from detector.evaluation.cases import Surroundings

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0
_SSH, _WEB, _SMB = 22, 443, 445
_LAST_PORT = 65_535
_OWN = 0.5
# Among so many of the most used is what a host does every day.
_EVERY_DAY = 10
# Where no private network is known.
_SOME_NETWORK = IPv4Network("10.0.0.0/24")
_HOSTS_OF_NETWORK = 254
_SESSIONS = 1 << 20


@dataclass(frozen=True, slots=True)
class _Attacker:
    """Who attacks from a host, and what can be aimed at there."""

    surroundings: Surroundings
    chance: Random
    actor: ConnectionKey
    """A key of the host: its user and login user are the attacker's."""
    session: int

    @classmethod
    def on(cls, surroundings: Surroundings, chance: Random) -> _Attacker:
        """Somebody who logged in, if anybody ever did."""
        people = [each for each in surroundings.keys if each.login_user is not None]
        actor = chance.choice(people or list(surroundings.keys))
        return cls(surroundings, chance, actor, 1 + chance.randrange(_SESSIONS) if people else 0)

    def program(self, *new: str) -> str | None:
        """One of the host's own programs that people run, or one of `new`; None where no row has any."""
        known = {each.executable for each in self.surroundings.keys if each.login_user == self.actor.login_user}
        own = sorted(each for each in known if each is not None)
        if not own:
            return None
        return self.chance.choice(own if self.chance.random() < _OWN else new)

    def brought(self, program: str) -> str | None:
        """A program of the attacker's own; None where no row has any."""
        return None if all(each.executable is None for each in self.surroundings.keys) else program

    def near(self) -> IPv4Address:
        """An address that nobody connected to, in a private network that the host knows well."""
        known = {address for address, _ in self.surroundings.places}
        networks = [
            IPv4Network(f"{address}/24", strict=False)
            for address, _ in self.surroundings.places
            if isinstance(address, IPv4Address) and address.is_private
        ]
        network = self.chance.choice(networks[:_EVERY_DAY] or [_SOME_NETWORK])
        there = [network[number] for number in range(1, _HOSTS_OF_NETWORK + 1)]
        return self.chance.choice([each for each in there if each not in known] or there)

    def far(self) -> IPv4Address:
        """A public address that nobody connected to."""
        known = {address for address, _ in self.surroundings.places}
        while True:
            address = IPv4Address(self.chance.randrange(1 << 32))
            if address.is_global and not address.is_multicast and address not in known:
                return address

    def known(self, port: int | None = None) -> tuple[IPAddress, int]:
        """An address and port of every day; on `port`, if there is one."""
        places = [place for place in self.surroundings.places if port in (None, place[1])]
        return self.chance.choice((places or list(self.surroundings.places))[:_EVERY_DAY])

    def connects(
        self, times: Iterable[float], program: str | None, address: IPAddress, port: int, outcome: Outcome
    ) -> Iterator[Connect]:
        """Connects to one place."""
        for at in times:
            yield self.connect(at, program, address, port, outcome)

    def connect(self, at: float, program: str | None, address: IPAddress, port: int, outcome: Outcome) -> Connect:
        """One connect."""
        key = ConnectionKey(
            direction=Direction.OUTBOUND,
            protocol=Protocol.TCP,
            executable=program,
            command=None if program is None else program.rpartition("/")[2],
            parent_executable=self.actor.parent_executable,
            user=self.actor.user,
            login_user=self.actor.login_user,
            unit=self.actor.unit,
            remote_address=address,
            remote_port=port,
        )
        return Connect(at=at, key=key, outcome=outcome, session=self.session)


def _every(seconds: float, jitter: float, last: float, chance: Random) -> list[float]:
    """Times from 0 to `last`, so far apart, by a part of `jitter` more or less."""
    times, at = [], 0.0
    while at < last:
        times.append(at)
        at += seconds * (1 + jitter * (2 * chance.random() - 1))
    return times


def _scan(attacker: _Attacker) -> Iterable[Connect]:
    address, program, chance = attacker.near(), attacker.brought("/usr/bin/nmap"), attacker.chance
    for number, port in enumerate(chance.sample(range(1, _LAST_PORT), 1000)):
        outcome = Outcome.ESTABLISHED if number % 200 == 0 else Outcome.REFUSED
        yield attacker.connect(number * 0.1, program, address, port, outcome)


def _slow_scan(attacker: _Attacker) -> Iterable[Connect]:
    address, program, chance = attacker.near(), attacker.brought("/usr/bin/nmap"), attacker.chance
    times = _every(_HOUR / 8, 0.5, _DAY, chance)
    ports = chance.sample(range(1, _LAST_PORT), len(times))
    for at, port in zip(times, ports, strict=True):
        yield attacker.connect(at, program, address, port, Outcome.REFUSED)


def _beacon(attacker: _Attacker, seconds: float = 300.0) -> Iterable[Connect]:
    program = attacker.program("/usr/bin/python3", "/tmp/.cache/update")  # noqa: S108 - where attackers put theirs
    times = _every(seconds, 0.2, _DAY, attacker.chance)
    return attacker.connects(times, program, attacker.far(), _WEB, Outcome.ESTABLISHED)


def _fast_beacon(attacker: _Attacker) -> Iterable[Connect]:
    return _beacon(attacker, 60.0)


def _burst(attacker: _Attacker) -> Iterable[Connect]:
    address, port = attacker.known()
    number = max(200, 10 * attacker.surroundings.most_an_hour)
    times = sorted(attacker.chance.random() * 10 * _MINUTE for _ in range(number))
    program = attacker.program("/usr/bin/python3")
    return attacker.connects(times, program, address, port, Outcome.ESTABLISHED)


def _new_destination(attacker: _Attacker) -> Iterable[Connect]:
    program = attacker.brought("/usr/bin/wget")
    return [attacker.connect(0.0, program, attacker.far(), _WEB, Outcome.ESTABLISHED)]


def _brute_force(attacker: _Attacker, an_hour: float = 600.0, hours: float = 1.0) -> Iterable[Connect]:
    address, port = attacker.known(_SSH)
    program = attacker.program("/usr/bin/hydra", "/usr/bin/medusa")
    times = _every(_HOUR / an_hour, 0.2, hours * _HOUR, attacker.chance)
    return attacker.connects(times, program, address if port == _SSH else attacker.near(), _SSH, Outcome.ESTABLISHED)


def _slow_brute_force(attacker: _Attacker) -> Iterable[Connect]:
    return _brute_force(attacker, an_hour=20, hours=12)


def _reverse_shell(attacker: _Attacker) -> Iterable[Connect]:
    port = attacker.chance.choice((4444, 9001, 1337, _WEB))
    program = attacker.brought(attacker.chance.choice(("/usr/bin/bash", "/usr/bin/python3", "/usr/bin/nc.openbsd")))
    return attacker.connects((0.0, 200.0, 500.0), program, attacker.far(), port, Outcome.ESTABLISHED)


def _lateral(attacker: _Attacker) -> Iterable[Connect]:
    program, chance = attacker.program("/usr/bin/ssh"), attacker.chance
    for at in _every(_MINUTE, 0.5, 15 * _MINUTE, chance):
        outcome = Outcome.ESTABLISHED if chance.random() < 0.6 else Outcome.TIMED_OUT  # noqa: PLR2004 - not all are up
        yield attacker.connect(at, program, attacker.near(), _SSH, outcome)


def _exfiltration(attacker: _Attacker) -> Iterable[Connect]:
    program = attacker.program("/usr/bin/rclone", "/usr/bin/curl")
    times = sorted(attacker.chance.random() * 40 * _MINUTE for _ in range(400))
    return attacker.connects(times, program, attacker.far(), _WEB, Outcome.ESTABLISHED)


def _sweep(attacker: _Attacker) -> Iterable[Connect]:
    program = attacker.brought("/usr/bin/nmap")
    for number in range(60):
        yield attacker.connect(number * 2.0, program, attacker.near(), _SMB, Outcome.TIMED_OUT)


def _web_sweep(attacker: _Attacker) -> Iterable[Connect]:
    program = attacker.program("/usr/bin/python3")
    for number in range(60):
        outcome = Outcome.TIMED_OUT if number % 3 else Outcome.ESTABLISHED
        yield attacker.connect(number * 2.0, program, attacker.far(), _WEB, outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A kind of attack that is made up for each host."""

    name: str
    summary: str
    made_by: Callable[[_Attacker], Iterable[Connect]]

    def connects(self, surroundings: Surroundings, chance: Random) -> Sequence[Connect]:
        """See `cases.Attack`."""
        if not surroundings.keys:
            return []
        return sorted(self.made_by(_Attacker.on(surroundings, chance)), key=lambda each: each.at)


KINDS: dict[str, Planted] = {
    each.name: each
    for each in (
        Planted(name="scan", summary="1,000 ports of a new internal address in 100 seconds", made_by=_scan),
        Planted(name="slow-scan", summary="8 ports an hour of a new internal address, for a day", made_by=_slow_scan),
        Planted(name="beacon", summary="port 443 of a new address each 5 minutes, 20 % jitter", made_by=_beacon),
        Planted(name="fast-beacon", summary="the same each minute", made_by=_fast_beacon),
        Planted(
            name="burst", summary="a usual destination, ten times the most of an hour in 10 minutes", made_by=_burst
        ),
        Planted(
            name="new-destination",
            summary="one connect to port 443 of a new address, by a program that never connected",
            made_by=_new_destination,
        ),
        Planted(name="brute-force", summary="600 connects to port 22 in an hour", made_by=_brute_force),
        Planted(name="slow-brute-force", summary="20 an hour for 12 hours", made_by=_slow_brute_force),
        Planted(name="reverse-shell", summary="three connects of a shell to a new address", made_by=_reverse_shell),
        Planted(name="lateral", summary="15 new internal addresses on port 22 in 15 minutes", made_by=_lateral),
        Planted(
            name="exfiltration",
            summary="400 connects to port 443 of a new address in 40 minutes",
            made_by=_exfiltration,
        ),
        Planted(name="sweep", summary="port 445 of 60 new internal addresses, unanswered", made_by=_sweep),
        Planted(name="web-sweep", summary="port 443 of 60 new public addresses, a third answers", made_by=_web_sweep),
    )
}
"""By name; `detector evaluate --plant` names them."""
