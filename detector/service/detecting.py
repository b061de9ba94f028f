"""The role that detects: it takes stored snapshots through models, rules and alerts, and sends what is to be sent."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import TYPE_CHECKING, Protocol

from detector import pipeline, readiness
from detector.errors import DeliveryError, EstimatorsError, ModelError, StoreDamagedError, StoreError
from detector.models.estimators import HERE
from detector.models.forest_process import ForestProcess
from detector.notify.channels import open_channels
from detector.notify.limits import RateLimit
from detector.notify.retry import RetryPolicy
from detector.service.announcing import Announcing
from detector.service.delivering import Delivery
from detector.service.escalating import Escalating
from detector.service.heartbeat import Beating
from detector.service.keeping import Keeping, kept_from
from detector.service.memory import Idle, settle
from detector.service.messages import Messages, TemplateFiles
from detector.service.renewal import renew
from detector.service.sharing import Turns
from detector.service.silence import SilenceWatch
from detector.service.tampering import TamperingWatch
from detector.service.training import Training
from detector.store.engine import open_store
from detector.store.migrating import check_current
from detector.store.outbox import StoredOutbox

if TYPE_CHECKING:
    from threading import Event

    from sqlalchemy import Engine

    from detector.config import Settings
    from detector.models.estimators import Estimators
    from detector.pipeline import Detected, RulesRefused
    from detector.ruleset.evaluate import RuleSet
    from detector.service.rule_files import RuleFiles

# How soon detection notices a new snapshot.
_POLL_SECONDS = 0.25
_TURN_SECONDS = 1.0
_STORE_AWAY_SECONDS = 2.0
# On a disk that damages the new one as well nothing helps soon.
_STORE_RENEWED_SECONDS = 5.0
_LAST_DELIVERY_SECONDS = 1.0


class Reporter(Protocol):
    """Where the role says what it does."""

    def detected(self, detected: Detected) -> None:
        """Detection is through with a snapshot."""

    def kept(self, message: str) -> None:
        """Something that is stored was deleted."""

    def trained(self, message: str) -> None:
        """A forest was trained, and is in force or not."""

    def fault(self, message: str) -> None:
        """Something is wrong, right again, or changed; the role goes on."""


def detect(settings: Settings, stop: Event, report: Reporter) -> None:
    """Takes each stored snapshot through models, rules and alerts, oldest first, and delivers what is to be sent.

    Starts where it stopped. Rule files are read again when they change; those with faults are named, and what was good
    of them stays in force.

    Raises:
        ConfigError: a channel cannot be used.
        DeliveryError: the thread that delivers has ended.
        ModelError: the thread that trains has ended.
        RuleError: no rule is left to work with.
        StoreError: the database cannot be used at the start, or the thread that looks after it has ended.
    """
    engine = _opened(settings, report)
    # Here, since pySigma takes its time.
    from detector.service.rule_files import RuleFiles

    forests = ForestProcess()
    # It is ready by the time that rules are read. If it cannot be started, whoever asks it is told so.
    with suppress(EstimatorsError):
        forests.begin()
    rules = RuleFiles(settings, report)
    stages = build_stages(settings, rules.ruleset, forests)
    refused = _Refused(engine, settings.host_name, rules)
    delivery, keeping, training, announcing, *others = _beside(settings, engine, rules, forests, stop, report)
    for thread in (delivery, keeping, training, announcing, *others):
        thread.start()
    turns = Turns(alone=engine.dialect.name == "sqlite")
    watch, tampering, watchdog = SilenceWatch(), TamperingWatch(), readiness.begun()
    escalating, idle = Escalating(engine, settings.escalations), Idle()
    settle()
    try:
        while not stop.is_set():
            _check_alive(delivery, keeping, training)
            try:
                if (ruleset := rules.renewed()) is not None:
                    stages = replace(stages, ruleset=ruleset)
                    settle()
                refused.notice(stages)
                if _detect_waiting(engine, stages, turns, stop, report):
                    idle.notice()
                _let_pass(engine, stages, watch, escalating)
                tampering.tell(engine, stages)
                watchdog.wait(stop, _POLL_SECONDS)
            except StoreDamagedError as fault:
                report.fault(renew(settings.database_url, fault))
                engine.dispose()
                # What is remembered of the models and of rules' windows is that of the other database.
                stages = build_stages(settings, rules.anew(), forests)
                refused.forget()
                watch.forget()
                watchdog.wait(stop, _STORE_RENEWED_SECONDS)
            except StoreError as fault:
                report.fault(f"{fault.message}; detection waits")
                watch.forget()
                watchdog.wait(stop, _STORE_AWAY_SECONDS)
    finally:
        # Also when a fault of ours ends the loop: the thread must not keep a process alive that detects nothing.
        stop.set()
        readiness.stopping()
        delivery.join(_LAST_DELIVERY_SECONDS)
        # What it was about is committed, or is rolled back.
        for thread in (keeping, training, announcing):
            thread.join(_LAST_DELIVERY_SECONDS)
        forests.close()


def _opened(settings: Settings, report: Reporter) -> Engine:
    """The store; a new one, if the one that is there is damaged.

    Raises:
        StoreError: it cannot be used.
    """
    engine = open_store(settings.database_url)
    try:
        check_current(engine)
    except StoreDamagedError as fault:
        report.fault(renew(settings.database_url, fault))
        engine.dispose()
        check_current(engine)
    return engine


def _check_alive(delivery: Thread, keeping: Thread, training: Thread) -> None:
    """Raises what `detect` raises when one of these has ended by itself."""
    if not delivery.is_alive():
        raise DeliveryError("the delivery of alerts has ended by itself", hint="see what it said before")
    if not keeping.is_alive():
        raise StoreError("the database is not looked after any more", hint="see what was said before")
    if not training.is_alive():
        raise ModelError("forests are not trained any more", hint="see what was said before")


def _delivery(
    settings: Settings, engine: Engine, rules: RuleFiles, templates: TemplateFiles, stop: Event, report: Reporter
) -> Delivery:
    return Delivery(
        StoredOutbox(engine),
        open_channels(settings, sys.stdout),
        {channel.name: RateLimit.from_settings(channel) for channel in settings.channels},
        RetryPolicy.from_settings(settings.notify),
        stop,
        report,
        Messages(engine, settings, lambda: rules.ruleset, report, templates),
    )


def _beside(
    settings: Settings, engine: Engine, rules: RuleFiles, forests: ForestProcess, stop: Event, report: Reporter
) -> list[Thread]:
    """What runs beside detection: delivery, looking after the database, training, what is told beside alerts."""
    templates = TemplateFiles(settings, report)
    runs = {
        "delivery": _delivery(settings, engine, rules, templates, stop, report).run,
        "keeping": Keeping(engine, kept_from(settings, engine), stop, report).run,
        "training": Training(engine, settings.models, stop, report, forests).run,
        "announcing": Announcing(engine, settings, rules.endings, templates.faults, stop, report).run,
    }
    if address := settings.heartbeat.address:
        # If this ends by itself nobody has to be told here: somebody else waits for its sign.
        runs["heartbeat"] = Beating(engine, settings.heartbeat, address, stop, report).run
    if settings.digest.channels:
        # Here, since those who want none need not hold it.
        from detector.service.digesting import Digesting

        # What ends by itself says so: detection goes on without.
        runs["digests"] = Digesting(engine, settings, lambda: rules.loaded, stop, report).run
    return [Thread(target=run, name=name, daemon=True) for name, run in runs.items()]


class _Refused:
    """Sees to it that what is wrong with rule files is told, once while it lasts."""

    def __init__(self, engine: Engine, host: str, rules: RuleFiles) -> None:
        self._engine, self._host, self._rules = engine, host, rules
        self._told: RulesRefused | None = None
        self._is_told = False

    def forget(self) -> None:
        """Begins anew, in another database."""
        self._is_told = False

    def notice(self, stages: pipeline.Stages) -> None:
        """Tells what has changed, as soon as there is a snapshot to tell it with.

        Raises:
            StoreError: the database is away.
        """
        refused = self._rules.refused
        if self._rules.settled and (not self._is_told or refused != self._told):
            self._is_told = pipeline.notice_refused(self._engine, self._host, refused, stages, now=datetime.now(UTC))
            self._told = refused


def build_stages(settings: Settings, ruleset: RuleSet, estimators: Estimators = HERE) -> pipeline.Stages:
    """The stages of detection as configured; `estimators` read forests."""
    from detector.alerts.book import AlertBook
    from detector.alerts.policy import Timing
    from detector.models.scorer import HostScorer
    from detector.service.routes import channel_policies

    alerts = settings.alerts
    timing = Timing(
        group_wait=timedelta(seconds=alerts.group_wait_seconds),
        repeat_interval=timedelta(seconds=alerts.repeat_interval_seconds),
        resolve_after=timedelta(seconds=alerts.resolve_after_seconds),
        thread=timedelta(seconds=alerts.thread_seconds),
    )
    return pipeline.Stages(
        scorer=HostScorer(settings.models, trains=False, estimators=estimators),
        ruleset=ruleset,
        alert_book=AlertBook(
            channel_policies(settings),
            timedelta(seconds=alerts.cooldown_seconds),
            timing,
            most_a_day=settings.models.most_alerts_per_day,
            routes=settings.routes,
        ),
    )


def _detect_waiting(engine: Engine, stages: pipeline.Stages, turns: Turns, stop: Event, report: Reporter) -> bool:
    """Works through what waits, for about a second at a time: then collect and delivery have their turn. Returns
    whether nothing waits any more.

    Whoever waits for SQLite's lock looks for it every 100 ms only, and would never find it free between one snapshot
    and the next.
    """
    until = time.monotonic() + _TURN_SECONDS
    while not stop.is_set() and time.monotonic() < until:
        host_id = turns.next(engine)
        if host_id is None:
            return True
        detected = pipeline.detect_next(engine, host_id, stages)
        turns.took(host_id, found=detected is not None)
        if detected is not None:
            report.detected(detected)
    return False


def _let_pass(engine: Engine, stages: pipeline.Stages, watch: SilenceWatch, escalating: Escalating) -> None:
    """Does what time alone decides: that a host is silent, that an alert, or people, have waited for long enough."""
    for host_id, seconds in watch.silent(engine):
        pipeline.notice_silence(engine, host_id, seconds, stages, now=datetime.now(UTC))
    for host_id, seconds in watch.unsettled(engine):
        pipeline.let_pass(engine, host_id, timedelta(seconds=seconds), stages)
    escalating.look()
