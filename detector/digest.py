"""What a digest says: figures of a period, as they are stored, sent and printed as JSON. All text in it prints."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta  # noqa: TC003 - msgspec looks them up
from enum import StrEnum
from typing import Any

import msgspec

from detector.domain import Severity  # noqa: TC001 - msgspec looks it up


class Kind(StrEnum):
    """Which digest it is."""

    DAILY = "daily digest"
    WEEKLY = "weekly digest"
    ASKED = "digest"
    """Of a period that a person asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Alerts that were opened in a part of the period."""

    start: datetime
    counts: dict[str, int]
    """By severity; those with none are missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedAlert:
    """An alert that is told of by itself."""

    alert_id: int
    severity: Severity
    host: str
    rule: str
    summary: str
    opened_at: datetime
    state: str
    verdict: str | None
    """What a person said of it; None: nothing."""
    commands: tuple[str, ...]
    """That show it, and take it on if nobody has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """The alerts that were opened in the period."""

    total: int
    by_severity: dict[str, int]
    """The most severe first; those with none are missing."""
    open: int
    """Of these, not resolved yet."""
    acknowledged: int
    silenced: int
    benign: int
    """Of these, called a false alert by a person."""
    true: int
    unanswered: int
    """Of these, high or critical ones that nobody acknowledged, resolved or judged."""
    late: int
    """Opened before the period by its time, but found after the digest before this one was made."""
    bars: tuple[Bar, ...]
    worst: tuple[ListedAlert, ...]
    worst_more: int
    """Of those that would be listed, those that are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyRule:
    """A rule that opened many alerts, and what may be done about it."""

    rule: str
    severity: Severity
    alerts: int
    findings: int
    benign: int
    true: int
    why: str
    """Why the command is suggested, or why none is."""
    command: str
    """Empty: none is suggested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietRule:
    """A rule in force that found nothing for long. Those about capture are meant to be quiet, and are none."""

    rule: str
    severity: Severity
    last: datetime | None
    """None: never, as far as is stored."""
    waits_for: str
    """The lists that it waits for; empty: for none."""
    command: str
    """That says whether it would have found anything; empty: its name could be taken for something else by a shell."""
    switches_off: str
    """The command for what never can be found here; empty as before, and of what is grave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How much the rules had to say."""

    in_force: int
    fired: int
    """Rules that opened an alert in the period."""
    quiet: int
    """Rules in force that found nothing for so long as was looked back, less those about capture."""
    looked_back: timedelta
    """30 days, or as far as anything is stored."""
    refused: int
    """Files that are refused."""
    noisiest: tuple[NoisyRule, ...]
    quietest: tuple[QuietRule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """False alerts of a host's scores, beside what was promised."""

    host: str
    promised: float
    """A day, at most."""
    told: int
    """Alerts of the rule on scores in the period that nobody called true."""
    achieved: float | None
    """A day, over up to four weeks; None: it was not scored for long enough."""
    days: float
    """Over so many days."""
    kept: bool
    """No more was told than was promised; of one alert that cannot be said yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """How the promise of few false alerts is kept."""

    hosts: int
    """That are scored."""
    told: int
    """False alerts of their scores in the period, over all of them."""
    promised: float
    """The most that they were promised for a period of this length, all together."""
    broken: int
    """Hosts that were told of more than was promised, over up to four weeks."""
    worst: tuple[Promise, ...]
    """The hosts with the most beyond what was promised first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDestination:
    """An address and port that a host met for the first time in the period."""

    host: str
    remote_address: str
    remote_port: int | None
    remote_name: str | None
    who: tuple[str, ...]
    """Who reached it with what: some of them."""
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Destinations:
    """Destinations that are new for their host."""

    new: int
    alerted: int
    """Of these, behind an alert that nobody called benign."""
    once: int
    """Of these, not met again an hour or more later."""
    normal: int
    """The others: from now on they are what is usual."""
    listed: tuple[NewDestination, ...]
    """Of those that became normal, the ones that were met again last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSilence:
    """A host of which nothing came for a while, and which had not been stopped in order."""

    host: str
    since: datetime
    until: datetime | None
    """When it was heard of again; None: it was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """How much of the period a host's collector saw."""

    host: str
    snapshots: int
    incomplete: int
    """Of these, with something lost, taken blind, or after a time in which nobody watched."""
    watched_seconds: float
    period_seconds: float
    """Of the period, from when the host was first seen on."""
    lost_events: int
    """Attempts, outcomes, names and folded counts, of all kinds of loss."""
    lost_snapshots: int
    blind: int
    """Snapshots whose self-test failed."""
    waited: int
    """Snapshots that could not be written at once; nothing is missing for that."""
    given_up: int
    """Snapshots that ever went before detection had seen them."""
    behind: bool
    """Detection has not seen all of the period."""

    @property
    def share(self) -> float:
        """Of the period that was watched, 0 to 1."""
        return min(1.0, self.watched_seconds / self.period_seconds) if self.period_seconds else 1.0

    @property
    def complete(self) -> bool:
        """Nothing is missing."""
        return not (self.incomplete or self.lost_snapshots or self.behind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Captures:
    """The same of all hosts together."""

    hosts: int
    incomplete: int
    """Hosts of which something is missing."""
    share: float
    """Of all their time in the period that was watched, 0 to 1."""
    lost_events: int
    lost_snapshots: int
    waited: int
    given_up: int
    behind: int
    """Hosts of which detection has not seen all of the period."""
    worst: tuple[Capture, ...]
    """The least complete hosts first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What became of notifications, on one channel."""

    channel: str
    delivered: int
    """In the period."""
    failed: int
    """Given up in the period."""
    waiting: int
    """Now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """How large the database is."""

    used_bytes: int
    bytes_per_day: int
    """By which it grows, as on the last day."""
    most_bytes: int
    """0: there is no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """All of it."""

    kind: Kind
    start: datetime
    end: datetime
    time_zone: str
    """Of the times as they are shown."""
    made_at: datetime
    late: bool
    """It was due well before, when nothing ran."""
    missed: int
    """Digests of this kind between the one before and this one, which are not sent."""
    last_alert: int
    """The number of the newest alert when it was made."""
    alerts: Alerts
    rules: Rules
    promises: Promises
    destinations: Destinations
    silences: tuple[HostSilence, ...]
    silences_more: int
    capture: Captures
    delivery: tuple[Delivered, ...]
    database: Database

    @property
    def length(self) -> timedelta:
        """Of the period."""
        return self.end - self.start

    @property
    def quiet(self) -> bool:
        """There is nothing in it that a person need look at."""
        failed = any(each.failed or each.waiting for each in self.delivery)
        missing = self.silences or self.capture.incomplete or failed or self.rules.refused
        return not (self.alerts.total or self.alerts.late or missing)


def to_stored(digest: Digest) -> dict[str, Any]:
    """As JSON has it, times in UTC."""
    stored: dict[str, Any] = msgspec.to_builtins(digest)
    return stored


def from_stored(stored: object) -> Digest:
    """The inverse of `to_stored`."""
    return msgspec.convert(stored, Digest)
