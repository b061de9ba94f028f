"""Writes the messages of alerts: finds out what there is to tell, draws the chart, and fills in the templates."""

from __future__ import annotations

import time
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from detector.errors import ChartError, StoreError
from detector.notify import templates as files
from detector.notify.briefing import Briefing
from detector.notify.charts import draw
from detector.notify.example import example
from detector.notify.message import render, values_of
from detector.service.briefing import brief
from detector.store.engine import reading
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Engine

    from detector.config import Settings
    from detector.domain import Alert
    from detector.errors import TemplateFault
    from detector.notify.message import Message
    from detector.notify.templates import OwnTemplateError, Templates
    from detector.ruleset.evaluate import RuleSet

# A flood of messages is told without what takes long to find out: reading the past and drawing take a second.
_MOST_BRIEFED = 30
_BRIEFED_SECONDS = 60.0
_LOOK_SECONDS = 1.0
_AGAIN_SECONDS = 60.0


class Reporter(Protocol):
    """Where it says what is wrong with templates."""

    def fault(self, message: str) -> None:
        """Something is wrong, right again, or changed."""


class TemplateFiles:
    """The templates of the configuration, as they are now: read again when they change."""

    def __init__(self, settings: Settings, report: Reporter, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._report, self._clock = settings, report, clock
        self._lock = Lock()
        self._signature: object = None
        self._looked = clock() - _LOOK_SECONDS
        self._tried = self._looked
        self._templates = files.shipped()
        self._failed: dict[str, TemplateFault] = {}

    def current(self) -> Templates:
        """Those in force. What is refused is said, once, and what ships stands in its place."""
        with self._lock:
            now = self._clock()
            if now - self._looked >= _LOOK_SECONDS:
                self._looked = now
                self._look(now)
            return self._templates

    def faults(self) -> tuple[TemplateFault, ...]:
        """What is wrong with them as they are now, and what went wrong with alerts since they were changed."""
        templates = self.current()
        with self._lock:
            return (*templates.faults, *self._failed.values())

    def failed(self, error: OwnTemplateError, alert: Alert) -> None:
        """One cannot be filled in with an alert: said once for each fault, however many alerts there are.

        If it takes too long for that, it is not tried again as it is.
        """
        with self._lock:
            if self._failed.get(error.name) != error.fault:
                told = f"alert {alert.alert_id}: template {error.fault}"
                self._report.fault(f"{told}; it was sent in the words that ship")
            self._failed[error.name] = error.fault
            if error.exhausted:
                self._templates = self._templates.without(error.name)

    def _look(self, now: float) -> None:
        folder = self._settings.template_folder
        signature = _signature(folder)
        # What was refused may have been so for want of a process, or on a machine that was too busy.
        again = self._templates.faults and now - self._tried >= _AGAIN_SECONDS
        if signature == self._signature and not again:
            return
        if signature != self._signature:
            self._failed.clear()
        self._signature, self._tried = signature, now
        before, self._templates = self._templates, read_templates(folder)
        for name in self._failed.keys() & self._templates.own.keys() - before.own.keys():
            self._templates = self._templates.without(name)
        for fault in self._templates.faults:
            if fault not in before.faults:
                self._report.fault(f"template refused: {fault}; what ships stands in its place")
        if before.faults and not self._templates.faults:
            self._report.fault("all templates of messages are in force again")


def read_templates(folder: Path | None) -> Templates:
    """The templates of a folder, each tried with the example; None: those that ship."""
    if folder is None:
        return files.shipped()
    return files.read(folder, values_of(example(), "opened", chart=True))


def _signature(folder: Path | None) -> object:
    if folder is None:
        return ()
    try:
        found = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    except OSError:
        return "unreadable"
    return tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found)


class Messages:
    """Writes what is sent of an alert; shared by the workers of all channels.

    Args:
        engine: the database.
        settings: the configuration.
        rules: those in force now.
        report: told of what keeps a message from being as it should.
        templates: those in force now; None: those of the configuration.
        clock: seconds, of any beginning.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        rules: Callable[[], RuleSet],
        report: Reporter,
        templates: TemplateFiles | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._settings, self._rules, self._clock = engine, settings, rules, clock
        self._report = report
        self._templates = templates or TemplateFiles(settings, report, clock)
        self._lock = Lock()
        self._briefed: list[float] = []

    def write(self, alert: Alert, reason: str, *, chart: bool) -> Message:
        """The message of an alert.

        Args:
            alert: which.
            reason: why it is sent.
            chart: whether a picture is wanted; when it cannot be drawn, the message says why.

        Raises:
            StoreError: the database is away.
        """
        message = self._written(alert, reason, chart=chart)
        if message.template_fault is not None:
            self._templates.failed(message.template_fault, alert)
        return message

    def _written(self, alert: Alert, reason: str, *, chart: bool) -> Message:
        if not self._has_time():
            why = f"more than {_MOST_BRIEFED} messages in a minute" if chart else None
            return render(Briefing(alert=alert, chart_fault=why), reason, self._templates.current())
        return illustrated(self._briefing(alert), reason, self._templates.current(), chart=chart)

    def _briefing(self, alert: Alert) -> Briefing:
        rule = next((each for each in self._rules().rules if each.rule_id == alert.rule_id), None)
        try:
            with reading(self._engine) as connection:
                return brief(connection, alert, rule, self._settings.models)
        except StoreError:
            raise
        except Exception as fault:  # noqa: BLE001  people are told of the alert all the same, and of this
            why = f"what is behind it could not be told: {type(fault).__name__}: {visible(str(fault), 200)}"
            self._report.fault(f"alert {alert.alert_id}: {why}; report this as a fault of detector")
            return Briefing(alert=alert, chart_fault=why)

    def _has_time(self) -> bool:
        with self._lock:
            now = self._clock()
            self._briefed = [each for each in self._briefed if now - each < _BRIEFED_SECONDS]
            if len(self._briefed) >= _MOST_BRIEFED:
                return False
            self._briefed.append(now)
            return True


def illustrated(briefing: Briefing, reason: str, templates: Templates, *, chart: bool) -> Message:
    """The message of a briefing, with its chart drawn if it is wanted and there is one."""
    if not chart or briefing.chart is None:
        return render(briefing, reason, templates)
    try:
        picture = draw(briefing.chart)
    except ChartError as fault:
        return render(replace(briefing, chart_fault=fault.message), reason, templates)
    return render(briefing, reason, templates, picture)
