"""People who use a made-up bastion: when they come, from where, and where they connect to from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from detector.domain import ConnectionKey, Direction, Outcome, Protocol
from detector.evaluation.connects import Connect

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

_NAMES = (
    *("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "mallory", "niaj"),
    *("olivia", "peggy", "rupert", "sybil", "trent", "victor", "walter", "yasmin"),
)
_SATURDAY = 5
_HOUR = 3600.0
_AT_WORK, _AT_WEEKENDS = 0.92, 0.05
_HOTEL = 0.03
_FIRST_SERVER = IPv4Address("10.20.0.10")
_SERVERS, _NEW_SERVER_DAYS = 60, 4
_HABITS = 6
_ELSEWHERE = 0.02
_MISTYPED = 0.03
_BROWSING = 0.35
# As many as a company of this size meets in a year; the busiest few are most of them.
_SITES = 40_000
_FIRST_SITE = int(IPv4Address("23.0.0.0"))
_SCATTERED = 2_654_435_761  # Knuth's multiplier: neighbours in number lie apart in address
_SITE_ADDRESSES = 1 << 24


@dataclass(frozen=True, slots=True)
class Work:
    """Something that people do from the bastion."""

    executable: str
    port: int
    share: float
    address: IPv4Address | None
    """None: one of the servers."""


_WORKS = (
    Work("/usr/bin/ssh", 22, 0.70, None),
    Work("/usr/lib/git-core/git-remote-https", 443, 0.10, IPv4Address("10.30.0.4")),
    Work("/usr/lib/postgresql/15/bin/psql", 5432, 0.08, IPv4Address("10.30.0.20")),
    Work("/usr/bin/curl", 8443, 0.07, IPv4Address("10.30.0.7")),
    Work("/usr/bin/rsync", 873, 0.05, IPv4Address("10.30.0.9")),
)
BROWSER = "/usr/lib/firefox-esr/firefox-esr"


def server(number: int) -> IPv4Address:
    """An internal server that is reached by SSH."""
    return _FIRST_SERVER + number % 200 + 256 * (number // 200)


def site(chance: Random) -> IPv4Address:
    """A public address as browsers meet them: some again and again, many once (Zipf)."""
    rank = min(int(chance.paretovariate(0.45)), _SITES)
    return IPv4Address(_FIRST_SITE + rank * _SCATTERED % _SITE_ADDRESSES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One who may log in."""

    name: str
    uid: int
    comes_at: float
    """Hours after midnight, UTC."""
    stays: float
    """Hours."""
    home: IPv4Address
    habits: Sequence[int]
    """Numbers of the servers, the usual one first."""
    browses: bool

    def connects(self, dawns: Sequence[float], chance: Random) -> Iterator[Connect]:
        """All that this person does, day by day, in the order of time; `dawns` are the midnights."""
        for day, dawn in enumerate(dawns):
            weekend = datetime.fromtimestamp(dawn, UTC).weekday() >= _SATURDAY
            if chance.random() < (_AT_WEEKENDS if weekend else _AT_WORK):
                done = [
                    each
                    for number in range(1 if weekend else 1 + chance.randrange(3))
                    for each in self._session(day, number, dawn, chance)
                ]
                yield from sorted(done, key=lambda each: each.at)

    def _session(self, day: int, number: int, dawn: float, chance: Random) -> Iterator[Connect]:
        begin = dawn + (self.comes_at + self.stays * chance.random() * 0.8) * _HOUR
        length = min(chance.expovariate(1 / 1.5), 8.0) * _HOUR
        session = 1 + self.uid * 100_000 + day * 10 + number
        origin = self.home if chance.random() > _HOTEL else site(chance)
        yield Connect(at=begin, key=_login(origin), outcome=Outcome.ESTABLISHED)
        at = begin
        last = min(begin + length, dawn + 24 * _HOUR - 1)
        while (at := at + chance.expovariate(1 / 180)) < last:
            if self.browses and chance.random() < _BROWSING:
                for _ in range(2 + chance.randrange(8)):
                    key = self._key(BROWSER, site(chance), 443)
                    yield self._connect(at + chance.random() * 5, key, session, origin, chance)
            else:
                yield self._connect(at, self._work(day, chance), session, origin, chance)

    def _work(self, day: int, chance: Random) -> ConnectionKey:
        (work,) = chance.choices(_WORKS, [each.share for each in _WORKS])
        address = work.address
        if address is None:
            known = _SERVERS + day // _NEW_SERVER_DAYS
            usual = self.habits[min(int(chance.paretovariate(1.0)) - 1, len(self.habits) - 1)]
            address = server(chance.randrange(known) if chance.random() < _ELSEWHERE else usual)
        return self._key(work.executable, address, work.port)

    def _key(self, executable: str, address: IPv4Address, port: int) -> ConnectionKey:
        return ConnectionKey(
            direction=Direction.OUTBOUND,
            protocol=Protocol.TCP,
            executable=executable,
            command=executable.rpartition("/")[2],
            parent_executable="/usr/bin/bash",
            user=self.name,
            login_user=self.name,
            unit=f"user-{self.uid}.slice",
            remote_address=address,
            remote_port=port,
        )

    @staticmethod
    def _connect(at: float, key: ConnectionKey, session: int, origin: IPv4Address, chance: Random) -> Connect:
        outcome = Outcome.ESTABLISHED
        if chance.random() < _MISTYPED:
            outcome = chance.choice((Outcome.REFUSED, Outcome.TIMED_OUT))
        return Connect(at=at, key=key, outcome=outcome, session=session, login_address=origin)


def _login(origin: IPv4Address) -> ConnectionKey:
    return ConnectionKey(
        direction=Direction.INBOUND,
        protocol=Protocol.TCP,
        executable="/usr/sbin/sshd",
        command="sshd",
        user="root",
        unit="ssh.service",
        remote_address=origin,
        local_port=22,
    )


def staff(chance: Random, number: int) -> list[Person]:
    """So many people, each with hours, habits and a home of their own."""
    found = []
    for each in range(number):
        name = _NAMES[each] if each < len(_NAMES) else f"user{each:03}"
        found.append(
            Person(
                name=name,
                uid=1000 + each,
                comes_at=6.5 + 3 * chance.random(),
                stays=7 + 3 * chance.random(),
                home=IPv4Address(int(IPv4Address("198.51.100.0")) + 1 + each % 250),
                habits=tuple(chance.sample(range(_SERVERS), _HABITS)),
                browses=each % 4 == 0,
            )
        )
    return found
