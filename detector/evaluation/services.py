"""What a made-up bastion does by itself, day and night: polls, look-ups, cron jobs, backups; and strangers' knocks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Protocol

from detector.domain import ConnectionKey, Direction, Outcome
from detector.domain import Protocol as Transport
from detector.evaluation.connects import Connect
from detector.evaluation.people import site

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from random import Random

_DAY, _HOUR = 86_400.0, 3600.0
_SUNDAY = 6


class Service(Protocol):
    """Something that connects by itself."""

    @property
    def name(self) -> str:
        """What its luck depends on, beside the seed."""

    def connects(self, dawns: Sequence[float], chance: Random) -> Iterator[Connect]:
        """All of its connects in the order of time; `dawns` are the midnights of the days."""


def _key(
    executable: str,
    address: IPv4Address,
    port: int,
    *,
    unit: str,
    user: str = "root",
    transport: Transport = Transport.TCP,
) -> ConnectionKey:
    return ConnectionKey(
        direction=Direction.OUTBOUND,
        protocol=transport,
        executable=executable,
        command=executable.rpartition("/")[2],
        parent_executable="/usr/lib/systemd/systemd" if unit != "cron.service" else "/usr/sbin/cron",
        user=user,
        unit=unit,
        remote_address=address,
        remote_port=port,
    )


def _outcome(chance: Random, failing: float = 0.0) -> Outcome:
    return Outcome.TIMED_OUT if chance.random() < failing else Outcome.ESTABLISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """Asks the same over and over."""

    name: str
    keys: tuple[ConnectionKey, ...]
    every: float
    """Seconds, up to a tenth more or less."""
    failing: float = 0.002

    def connects(self, dawns: Sequence[float], chance: Random) -> Iterator[Connect]:
        """One after another, each to one of the keys."""
        at = dawns[0] + chance.random() * self.every
        while at < dawns[-1] + _DAY:
            key = chance.choice(self.keys)
            flow = key.protocol is not Transport.TCP
            yield Connect(at=at, key=key, outcome=None if flow else _outcome(chance, self.failing))
            at += self.every * (0.9 + 0.2 * chance.random())


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUps:
    """Names that are asked for: more by day than by night, fewer at weekends."""

    name: str
    key: ConnectionKey

    def connects(self, dawns: Sequence[float], chance: Random) -> Iterator[Connect]:
        """Flows, by the hour of the day."""
        for dawn in dawns:
            weekend = datetime.fromtimestamp(dawn, UTC).weekday() >= _SUNDAY - 1
            for hour in range(24):
                at_work = 7 <= hour < 19 and not weekend  # noqa: PLR2004 - the hours of work
                at = dawn + hour * _HOUR
                until = at + _HOUR
                mean = _HOUR / (150 if at_work else 40)
                while (at := at + chance.expovariate(1 / mean)) < until:
                    yield Connect(at=at, key=self.key, outcome=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Runs at a time of day, on every day or one of the week."""

    name: str
    hours: tuple[float, ...]
    keys: tuple[ConnectionKey, ...]
    connects_a_run: int
    lasts: float
    """Seconds."""
    weekday: int | None = None
    sites: bool = False
    """Whether each run meets some public addresses that none before has: mirrors behind a name."""

    def connects(self, dawns: Sequence[float], chance: Random) -> Iterator[Connect]:
        """Run by run."""
        for dawn in dawns:
            if self.weekday is not None and datetime.fromtimestamp(dawn, UTC).weekday() != self.weekday:
                continue
            for hour in self.hours:
                begin = dawn + hour * _HOUR + chance.random() * 30
                times = sorted(chance.random() * self.lasts for _ in range(self._number(chance)))
                for after in times:
                    yield Connect(at=begin + after, key=self._one(chance), outcome=_outcome(chance, 0.005))

    def _number(self, chance: Random) -> int:
        return max(1, round(self.connects_a_run * (0.7 + 0.6 * chance.random())))

    def _one(self, chance: Random) -> ConnectionKey:
        key = chance.choice(self.keys)
        if not self.sites or chance.random() < 0.8:  # noqa: PLR2004 - four of five are the usual ones
            return key
        return _key(key.executable or "", site(chance), key.remote_port or 443, unit=key.unit or "", user="_apt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Strangers:
    """Who tries passwords at the open SSH port: each a few minutes, from an address of its own."""

    name: str

    def connects(self, dawns: Sequence[float], chance: Random) -> Iterator[Connect]:
        """Accepted connects, some 25 visitors a day."""
        at, end = dawns[0], dawns[-1] + _DAY
        visits: list[Connect] = []
        while (at := at + chance.expovariate(25 / _DAY)) < end:
            origin = IPv4Address(int(IPv4Address("45.0.0.0")) + chance.randrange(1 << 24))
            key = ConnectionKey(
                direction=Direction.INBOUND,
                protocol=Transport.TCP,
                executable="/usr/sbin/sshd",
                command="sshd",
                user="root",
                unit="ssh.service",
                remote_address=origin,
                local_port=22,
            )
            tries = 1 + int(chance.expovariate(1 / 6))
            visits += [
                Connect(at=at + number * 4 + chance.random(), key=key, outcome=Outcome.ESTABLISHED)
                for number in range(tries)
            ]
        return iter(sorted(visits, key=lambda each: each.at))


_METRICS = (_key("/usr/bin/telegraf", IPv4Address("10.30.1.20"), 8086, unit="telegraf.service", user="telegraf"),)
_LOGS = (
    _key("/usr/share/filebeat/bin/filebeat", IPv4Address("10.30.1.31"), 5044, unit="filebeat.service"),
    _key("/usr/share/filebeat/bin/filebeat", IPv4Address("10.30.1.32"), 5044, unit="filebeat.service"),
)
_CLOCK = tuple(
    _key("/usr/sbin/chronyd", IPv4Address(address), 123, unit="chrony.service", user="_chrony", transport=Transport.UDP)
    for address in ("10.30.0.2", "10.30.0.3", "192.0.2.17")
)
_NAMES = _key(
    "/usr/lib/systemd/systemd-resolved",
    IPv4Address("10.30.0.2"),
    53,
    unit="systemd-resolved.service",
    user="systemd-resolve",
    transport=Transport.UDP,
)
_DIRECTORY = _key("/usr/libexec/sssd/sssd_be", IPv4Address("10.30.0.5"), 636, unit="sssd.service")
_PACKAGES = tuple(
    _key("/usr/lib/apt/methods/https", IPv4Address(address), 443, unit="apt-daily.service", user="_apt")
    for address in ("151.101.2.132", "151.101.66.132", "151.101.130.132")
)
_CERTIFICATES = (_key("/usr/bin/certbot", IPv4Address("172.65.32.248"), 443, unit="certbot.service"),)
_BACKUP = (_key("/usr/bin/borg", IPv4Address("10.30.2.9"), 22, unit="cron.service", user="backup"),)
_REPORT = (_key("/usr/bin/msmtp", IPv4Address("10.30.0.25"), 587, unit="cron.service"),)
_SYNC = (
    _key("/usr/bin/rsync", IPv4Address("10.30.2.11"), 873, unit="cron.service"),
    _key("/usr/bin/rsync", IPv4Address("10.30.2.12"), 873, unit="cron.service"),
)


def services() -> list[Service]:
    """What runs on every bastion that is made up."""
    return [
        Poll(name="metrics", keys=_METRICS, every=10),
        Poll(name="logs", keys=_LOGS, every=300, failing=0.01),
        Poll(name="clock", keys=_CLOCK, every=256),
        Poll(name="directory", keys=(_DIRECTORY,), every=180),
        LookUps(name="names", key=_NAMES),
        Job(name="packages", hours=(6.4, 18.6), keys=_PACKAGES, connects_a_run=12, lasts=120, sites=True),
        Job(name="upgrade", hours=(3.2,), keys=_PACKAGES, connects_a_run=60, lasts=600, weekday=1, sites=True),
        Job(name="certificates", hours=(0.7, 12.7), keys=_CERTIFICATES, connects_a_run=2, lasts=10),
        Job(name="backup", hours=(2.0,), keys=_BACKUP, connects_a_run=40, lasts=1200),
        Job(name="whole backup", hours=(3.5,), keys=_BACKUP, connects_a_run=400, lasts=5400, weekday=_SUNDAY),
        Job(name="report", hours=(7.0,), keys=_REPORT, connects_a_run=1, lasts=5),
        Job(name="sync", hours=tuple(float(hour) for hour in range(24)), keys=_SYNC, connects_a_run=6, lasts=60),
        Strangers(name="strangers"),
    ]


def first_words(starts: Iterable[float], chance: Random) -> Iterator[Connect]:
    """What services do at once when the machine has started."""
    keys = (*_METRICS, *_LOGS, *_CLOCK, _NAMES, _DIRECTORY)
    for start in starts:
        times = sorted(20 + 60 * chance.random() for _ in range(40))
        for after in times:
            key = chance.choice(keys)
            outcome = None if key.protocol is not Transport.TCP else _outcome(chance, 0.1)
            yield Connect(at=start + after, key=key, outcome=outcome)
