"""Tells people what no rule finds: that silences and filters end, that templates are refused, that a detector has
stopped, that all is well.

Any number of detectors do this beside one another: each notice is written once, by whoever comes first.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from detector.domain import Severity
from detector.errors import StoreError
from detector.service.heartbeat import STARTING_SECONDS, complaint
from detector.service.routes import channels_told
from detector.store import alert_silences, detectors, notices
from detector.store.engine import reading, writing
from detector.store.liveness import liveness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from threading import Event

    from sqlalchemy import Connection, Engine

    from detector.config import Settings
    from detector.errors import TemplateFault
    from detector.ruleset.endings import Ending
    from detector.service.delivering import Faults
    from detector.store.alert_silences import Silence

SILENCE, FILTER, STOPPED, ALIVE = "silence ending", "filter ending", "detector stopped", "sign of life"
TEMPLATES = "templates refused"
_LOOK_SECONDS = 10.0
_MOST_FAULTS = 5
# A restart takes less, and so does a store that is slow.
_STOPPED_AFTER = timedelta(seconds=90)
_DAY = timedelta(days=1)
# What is silent for less is not forgotten by its end.
_SHORT = timedelta(hours=4)
_TIME = "%Y-%m-%d %H:%M UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """Something to be told once, for a kind and a subject."""

    kind: str
    subject: str
    severity: Severity
    title: str
    lines: tuple[str, ...]
    channels: tuple[str, ...] | None = None
    """None: those that take such a severity, by their routes."""


def of_silences(silences: Iterable[Silence], now: datetime) -> Iterator[News]:
    """Silences that end within a day, or within the last quarter of their time if that is shorter."""
    for each in silences:
        lasts = each.ends_at - each.starts_at
        if lasts >= _SHORT and timedelta(0) < each.ends_at - now <= min(_DAY, lasts / 4):
            mutes = " ".join(map(str, each.matchers))
            yield News(
                kind=SILENCE,
                subject=f"{each.silence_id} {each.ends_at.isoformat()}",
                severity=Severity.LOW,
                title=f"Silence {each.silence_id} ends {each.ends_at.astimezone(UTC).strftime(_TIME)}",
                lines=(
                    f"It mutes {mutes}. {each.author} has made it: {each.reason}",
                    "What it keeps quiet is told again then. If it is still wanted, make another one:",
                    f"detector silence add {mutes} --for 7d --reason '…'",
                ),
            )


def of_filters(endings: Iterable[Ending], now: datetime) -> Iterator[News]:
    """Filters that end within a day, and rules that are disabled until then."""
    for each in endings:
        if timedelta(0) < each.until - now <= _DAY:
            when = each.until.astimezone(UTC).strftime(_TIME)
            yield News(
                kind=FILTER,
                subject=f"{each.title} {each.until.isoformat()}",
                severity=Severity.LOW,
                title=f"{each.what[:1].upper()}{each.what[1:]} {each.title} ends {when}",
                lines=("What it keeps quiet is told again then. If it is still wanted, set its end: until",),
            )


def of_templates(faults: Iterable[TemplateFault], host: str, now: datetime) -> Iterator[News]:
    """What is wrong with the operator's own templates of messages on a host: told each day that it lasts."""
    told = sorted(faults)
    if told:
        said = "\n".join(map(str, told))
        number = "A template" if len(told) == 1 else f"{len(told)} templates"
        yield News(
            kind=TEMPLATES,
            subject=f"{host} {now:%Y-%m-%d} {sha256(said.encode('utf-8', 'backslashreplace')).hexdigest()}",
            severity=Severity.MEDIUM,
            title=f"{number} of messages cannot be used on {host}",
            lines=(
                *(str(fault) for fault in told[:_MOST_FAULTS]),
                "Messages are in the words that ship until it is mended. See: detector notify preview",
            ),
        )


class Stops:
    """Notices detectors that have stopped without taking their leave: by this process' clock; theirs may differ."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._clock = name, clock
        self._since: dict[str, tuple[datetime, float]] = {}
        self._is_back = False

    def stopped(self, seen: dict[str, datetime], now: datetime) -> Iterator[tuple[str, News]]:
        """Those to be told of, by name; this one itself, if it was away before it was started.

        Args:
            seen: when each was seen last, by its own clock.
            now: this one's.
        """
        if not self._is_back:
            self._is_back = True
            if (last := seen.get(self._name)) is not None and now - last > _STOPPED_AFTER:
                yield self._name, _stop(self._name, last, f"It works again since {now.strftime(_TIME)}.")
        for name, last in seen.items():
            before = self._since.get(name)
            if before is None or before[0] != last:
                self._since[name] = last, self._clock()
            elif name != self._name and self._clock() - before[1] > _STOPPED_AFTER.total_seconds():
                yield name, _stop(name, last, f"What it was to do is done by others. Look there: {_LOOK_THERE}")


_LOOK_THERE = "systemctl status detector, journalctl -u detector"


def _stop(name: str, last: datetime, then: str) -> News:
    return News(
        kind=STOPPED,
        subject=f"{name} {last.isoformat()}",
        severity=Severity.HIGH,
        title=f"The detector on {name} has stopped",
        lines=(f"It was last seen {last.astimezone(UTC).strftime(_TIME)}, and has not ended in order.", then),
    )


class Announcing:
    """The thread that looks, now and then.

    Args:
        engine: the store.
        settings: what is told where.
        endings: gives what the rule files say that ends.
        templates: gives what is wrong with templates of messages.
        stop: ends it; then it takes its leave, so that nobody thinks that it has died.
        faults: told when the database is away.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        endings: Callable[[], Sequence[Ending]],
        templates: Callable[[], Sequence[TemplateFault]],
        stop: Event,
        faults: Faults,
    ) -> None:
        self._engine, self._settings, self._endings, self._templates = engine, settings, endings, templates
        self._stop, self._faults = stop, faults
        self._stops = Stops(settings.host_name)
        self._faulty: frozenset[TemplateFault] = frozenset()
        self._told: set[tuple[str, str]] = set()
        self._started = time.monotonic()

    def run(self) -> None:
        """Looks until told to stop."""
        away = False
        while not self._stop.is_set():
            try:
                self.look(datetime.now(UTC))
                away = False
            except StoreError as fault:
                if not away:
                    self._faults.fault(f"{fault.message}; what ends or has stopped is told later")
                away = True
            self._stop.wait(_LOOK_SECONDS)
        try:
            with writing(self._engine) as connection:
                detectors.leave(connection, self._settings.host_name)
        except StoreError as fault:
            self._faults.fault(f"{fault.message}; that this detector was stopped is not noted")

    def look(self, now: datetime) -> None:
        """Tells what there is to tell, and that this detector works.

        Raises:
            StoreError: the database is away.
        """
        host = self._settings.host_name
        with reading(self._engine) as connection:
            seen = detectors.seen(connection)
            ending = of_silences(alert_silences.list_silences(connection, ending_after=now), now)
            news = [*ending, *of_filters(self._endings(), now), *of_templates(self._lasting(), host, now)]
            begins = bool(self._settings.heartbeat.channels) and notices.newest(connection, ALIVE) is None
            if (sign := self._sign_of_life(connection, now)) is not None and not begins:
                news.append(sign)
        gone = dict(self._stops.stopped(seen, now))
        with writing(self._engine) as connection:
            if begins:
                # A start is no news.
                notices.begin(connection, kind=ALIVE, subject=self._part(now).isoformat(), now=now)
            for each in (*news, *gone.values()):
                if (each.kind, each.subject) not in self._told:
                    self._tell(connection, each, now)
            for name in gone:
                detectors.leave(connection, name)
            detectors.note(connection, host, now)
        self._told |= {(each.kind, each.subject) for each in news}

    def _lasting(self) -> frozenset[TemplateFault]:
        """What is wrong with templates, and was at the last look: a file may be about to be written."""
        before, self._faulty = self._faulty, frozenset(self._templates())
        return before & self._faulty

    def _tell(self, connection: Connection, news: News, now: datetime) -> None:
        told = news.channels
        if told is None:
            told = tuple(channels_told(self._settings, news.kind, news.title, news.severity, now))
        notices.tell(
            connection,
            kind=news.kind,
            subject=news.subject,
            content={"title": news.title, "lines": list(news.lines)},
            channels=told,
            now=now,
            severity=news.severity,
        )

    def _part(self, now: datetime) -> datetime:
        """When the part of the time began of which there is one sign of life."""
        seconds = self._settings.heartbeat.channel_hours * 3600
        return datetime.fromtimestamp(now.timestamp() // seconds * seconds, UTC)

    def _sign_of_life(self, connection: Connection, now: datetime) -> News | None:
        """That all is well, or what is not; None: it is not wanted, or was told, or the start is under way."""
        wanted, begin = self._settings.heartbeat, self._part(now)
        if not wanted.channels or (ALIVE, begin.isoformat()) in self._told:
            return None
        hosts = liveness(connection)
        wrong = complaint(hosts, now)
        if wrong is not None and time.monotonic() - self._started < STARTING_SECONDS:
            return None
        number = f"{len(hosts)} hosts have" if len(hosts) != 1 else f"{hosts[0].host} has"
        after = begin + timedelta(hours=wanted.channel_hours)
        return News(
            kind=ALIVE,
            subject=begin.isoformat(),
            severity=Severity.INFORMATIONAL if wrong is None else Severity.HIGH,
            title="The detector works" if wrong is None else f"The detector does not do its work: {wrong}",
            lines=(
                f"{number} sent snapshots.",
                f"The next sign of life is due {after.strftime(_TIME)}. If none comes: detector doctor",
            ),
            channels=wanted.channels,
        )
