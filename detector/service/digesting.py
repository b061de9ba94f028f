"""Makes digests when they are due, and puts them into the outbox: each once, however many workers there are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from detector.digest import Digest, Kind, to_stored
from detector.domain import Severity
from detector.errors import StoreError
from detector.service.digest_contents import Wanted, gather
from detector.service.heartbeat import is_capturing
from detector.store import notices
from detector.store.engine import reading, writing
from detector.store.liveness import liveness
from detector.store.turns import DIGESTS, turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import Event

    from sqlalchemy import Engine

    from detector.config import Settings
    from detector.domain import Notice
    from detector.ruleset.load import LoadedRules
    from detector.store.liveness import Liveness

_LOOK_SECONDS = 10.0
_AWAY_SECONDS = 30.0
# Detection that is behind is waited for so long.
_PATIENCE = timedelta(minutes=15)
# What is sent so long after it was due says so.
_LATE = timedelta(minutes=30)
# After so many digests that never were they were switched off, more likely than stopped.
_MOST_MISSED = 30
_LENGTH = {Kind.DAILY: timedelta(days=1), Kind.WEEKLY: timedelta(days=7)}


class Reporter(Protocol):
    """Where it is said what is wrong."""

    def fault(self, message: str) -> None:
        """Something is wrong; it goes on."""


def awaited(hosts: Sequence[Liveness], end: datetime, now: datetime) -> bool:
    """Whether something of a period that ended at `end` is still to come, or to be detected."""
    return any(_awaited(host, end, now) for host in hosts)


def _awaited(host: Liveness, end: datetime, now: datetime) -> bool:
    if host.detected_until is not None and host.detected_until >= end:
        return False
    if host.detected_until is None or host.detected_until < min(host.captured_until, end):
        return True
    # One that does not capture is not waited for.
    return is_capturing(host, now)


class Digesting:
    """The thread that makes them.

    Args:
        engine: the store.
        settings: when and where to.
        rules: the rules in force.
        stop: ends it.
        report: told of what is wrong.
    """

    def __init__(
        self, engine: Engine, settings: Settings, rules: Callable[[], LoadedRules], stop: Event, report: Reporter
    ) -> None:
        self._engine, self._settings, self._rules = engine, settings, rules
        self._stop, self._report = stop, report
        self._done: dict[Kind, datetime] = {}
        # When each digest was first seen to be due.
        self._due: dict[Kind, tuple[datetime, datetime]] = {}

    def run(self) -> None:
        """Looks whether one is due until told to stop."""
        while not self._stop.is_set():
            try:
                self.round(datetime.now(UTC))
            except StoreError as fault:
                self._report.fault(f"{fault.message}; the digest waits")
                self._stop.wait(_AWAY_SECONDS)
            self._stop.wait(_LOOK_SECONDS)

    def round(self, now: datetime) -> None:
        """Sends what is due.

        Raises:
            StoreError: the database is away; nothing is lost.
        """
        wanted = self._settings.digest
        for kind, period in ((Kind.DAILY, wanted.last_day(now)), (Kind.WEEKLY, wanted.last_week(now))):
            if period is None or self._done.get(kind) == period[1]:
                continue
            with turn(self._engine, DIGESTS) as ours:
                if ours and self._tell(kind, *period, now):
                    self._done[kind] = period[1]

    def _tell(self, kind: Kind, start: datetime, end: datetime, now: datetime) -> bool:
        """Whether it is told, by whomever, or need not be."""
        with reading(self._engine) as connection:
            before = notices.newest(connection, kind, until=now)
            hosts = liveness(connection)
        missed = 0 if before is None else _missed(kind, before, end)
        if before is None or missed > _MOST_MISSED:
            # Nobody has asked for it before: the next one is the first.
            with writing(self._engine) as connection:
                notices.begin(connection, kind=kind, subject=_subject(end), now=now)
            return True
        if _end(before) >= end:
            return True
        if awaited(hosts, end, now) and now - self._due_since(kind, end, now) < _PATIENCE:
            return False
        wanted = Wanted(
            kind=kind,
            start=start,
            end=end,
            late=now - end > _LATE,
            missed=missed,
            last_alert=_last_alert(before),
        )
        digest = gather(self._engine, self._settings, self._rules(), wanted, now)
        unwanted = kind is Kind.DAILY and digest.quiet and not self._settings.digest.when_quiet
        send(self._engine, digest, () if unwanted else self._settings.digest.channels, _subject(end), now)
        return True

    def _due_since(self, kind: Kind, end: datetime, now: datetime) -> datetime:
        known = self._due.get(kind)
        if known is None or known[0] != end:
            known = self._due[kind] = (end, now)
        return known[1]


def send(engine: Engine, digest: Digest, channels: Sequence[str], subject: str, now: datetime) -> bool:
    """Puts a digest into the outbox for each channel; False if one of this kind and subject was there before.

    Raises:
        StoreError: the database is away; nothing is sent.
    """
    with writing(engine) as connection:
        number = notices.tell(
            connection,
            kind=digest.kind,
            subject=subject,
            content=to_stored(digest),
            channels=channels,
            now=now,
            severity=severity_of(digest),
        )
    return number is not None


def severity_of(digest: Digest) -> Severity:
    """How a digest is marked: as the worst alert in it, but never so that it would wake somebody."""
    worst = [Severity(each) for each in digest.alerts.by_severity]
    return min(max(worst, key=_rank, default=Severity.INFORMATIONAL), Severity.MEDIUM, key=_rank)


def _rank(severity: Severity) -> int:
    return severity.rank


def _missed(kind: Kind, before: Notice, end: datetime) -> int:
    # Days of summer time are an hour longer or shorter.
    return max(round((end - _end(before)) / _LENGTH[kind]) - 1, 0)


def _last_alert(before: Notice) -> int | None:
    number = (before.content or {}).get("last_alert")
    return number if isinstance(number, int) else None


def _subject(end: datetime) -> str:
    return end.astimezone(UTC).isoformat()


def _end(notice: Notice) -> datetime:
    return datetime.fromisoformat(notice.subject)
