"""Every metric: its name, kind, labels and meaning. What is served and documented is in this list."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Of Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str
    """Without the `_total` that a counter has in addition."""
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The name that queries use."""
        return f"{self.name}_total" if self.kind is Kind.COUNTER else self.name

    @property
    def series(self) -> tuple[str, ...]:
        """All names of its series."""
        if self.kind is Kind.HISTOGRAM:
            return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))
        return (self.shown,)


_HOST = ("host",)

# By the name of `store.totals`.
TOTALS = {
    "snapshots": Metric("detector_snapshots", Kind.COUNTER, "Snapshots that detection has seen", _HOST),
    "incomplete": Metric(
        "detector_snapshots_incomplete",
        Kind.COUNTER,
        "Those of them that lost something, were taken blind, or follow upon a gap",
        _HOST,
    ),
    "blind": Metric(
        "detector_snapshots_blind", Kind.COUNTER, "Those in which the collector did not see a connect of its own", _HOST
    ),
    "late": Metric("detector_snapshots_late", Kind.COUNTER, "Those that were taken later than due", _HOST),
    "waited": Metric("detector_snapshots_waited", Kind.COUNTER, "Those that had to wait for the database", _HOST),
    "clock_steps": Metric("detector_clock_steps", Kind.COUNTER, "Those over which the clock was set", _HOST),
    "gap_seconds": Metric("detector_gap_seconds", Kind.COUNTER, "Seconds in which nobody watched", _HOST),
    "suspended_seconds": Metric(
        "detector_suspended_seconds", Kind.COUNTER, "Seconds in which the machine was suspended", _HOST
    ),
    "rows": Metric("detector_rows", Kind.COUNTER, "Connection counts that detection has seen", _HOST),
    "attempted": Metric("detector_attempts", Kind.COUNTER, "Connects and flows that were begun or accepted", _HOST),
    "findings": Metric("detector_findings", Kind.COUNTER, "Matches of rules", _HOST),
}
LOST = Metric(
    "detector_lost",
    Kind.COUNTER,
    "What could not be counted or named, by kind, see docs/capture.md; kind snapshots: whole ones",
    ("host", "kind"),
)
GIVEN_UP = Metric(
    "detector_snapshots_given_up",
    Kind.COUNTER,
    "Snapshots that had to go for the size of the database before detection had seen them",
    _HOST,
)

CAPTURED = Metric("detector_captured_timestamp_seconds", Kind.GAUGE, "When the last stored snapshot ended", _HOST)
DETECTED = Metric(
    "detector_detected_timestamp_seconds", Kind.GAUGE, "When the last snapshot ended that detection has seen", _HOST
)
LAG = Metric(
    "detector_detection_lag_seconds",
    Kind.GAUGE,
    "From the oldest snapshot that detection has not seen to the last",
    _HOST,
)
INTERVAL = Metric("detector_snapshot_seconds", Kind.GAUGE, "How long the last snapshots were", _HOST)
STOPPED = Metric("detector_collector_stopped", Kind.GAUGE, "1: the collector ended in order, and none is due", _HOST)
WAITING = Metric("detector_snapshots_waiting", Kind.GAUGE, "Stored snapshots that detection has not seen", _HOST)
LEARNT = Metric("detector_host_learnt", Kind.GAUGE, "1: burn-in is over, and rows are scored", _HOST)
HELD = Metric(
    "detector_findings_held", Kind.GAUGE, "What rules found during their burn-in, of which nobody is told", _HOST
)
CAPPED = Metric(
    "detector_findings_capped",
    Kind.GAUGE,
    "What the scores of the last day found beyond `models.most_alerts_per_day`, and is told in one alert",
    _HOST,
)
NOTIFICATIONS = Metric(
    "detector_notifications",
    Kind.GAUGE,
    "Undelivered notifications: pending, or dead, which means given up",
    ("channel", "state"),
)
OLDEST = Metric(
    "detector_notification_waiting_timestamp_seconds",
    Kind.GAUGE,
    "Since when the oldest undelivered notification waits; missing if none does",
    ("channel",),
)
DELIVERY = Metric(
    "detector_delivery_seconds",
    Kind.GAUGE,
    "The longest time from writing to delivery of what was delivered in the last five minutes; missing if nothing was",
    ("channel",),
)
MESSAGES = Metric("detector_messages_last_hour", Kind.GAUGE, "Messages that were taken in the last hour", ("channel",))
ALERTS = Metric("detector_alerts_open", Kind.GAUGE, "Alerts that are not over", ("severity",))
SILENCED = Metric("detector_alerts_silenced", Kind.GAUGE, "Those of them that a silence keeps from being told")
SILENCES = Metric("detector_silences", Kind.GAUGE, "Silences in force")
REFUSED = Metric("detector_rule_files_refused", Kind.GAUGE, "Rule files that are refused", _HOST)
REPLACED = Metric(
    "detector_database_replaced_timestamp_seconds",
    Kind.GAUGE,
    "When a damaged database was last set aside for this one; missing if none was",
)
SIZE = Metric("detector_database_bytes", Kind.GAUGE, "Size of the database: used, on_disk, and SQLite's log", ("part",))
MOST = Metric("detector_database_limit_bytes", Kind.GAUGE, "The most it may take (`[retention]`); 0: no limit")
FREE = Metric("detector_disk_free_bytes", Kind.GAUGE, "Free room on the disk of an SQLite database")
SPOOLED = Metric(
    "detector_spool_snapshots",
    Kind.GAUGE,
    "Snapshots that wait for the database on this machine, if this user may look",
)
SPOOL_BYTES = Metric("detector_spool_bytes", Kind.GAUGE, "Their size")

HEALTHY = Metric("detector_healthy", Kind.GAUGE, "1: /healthz answers 200")
STORE_UP = Metric("detector_store_up", Kind.GAUGE, "1: the database could be read for this answer")
READING = Metric("detector_store_read_seconds", Kind.GAUGE, "How long reading these figures took")
BUILD = Metric("detector_build_info", Kind.GAUGE, "Always 1; the version is a label", ("version",))

STAGE = Metric(
    "detector_stage_seconds",
    Kind.HISTOGRAM,
    "What each stage of detection took of a snapshot, in this process",
    ("stage",),
)
FAULTS = Metric(
    "detector_faults", Kind.COUNTER, "Lines that said that something is wrong, or right again, in this process"
)
TRAININGS = Metric("detector_trainings", Kind.COUNTER, "Forests that were trained in this process")

METRICS = (
    *TOTALS.values(),
    *(
        LOST,
        GIVEN_UP,
        CAPTURED,
        DETECTED,
        LAG,
        INTERVAL,
        STOPPED,
        WAITING,
        LEARNT,
        HELD,
        CAPPED,
        NOTIFICATIONS,
        OLDEST,
        DELIVERY,
    ),
    *(
        MESSAGES,
        ALERTS,
        SILENCED,
        SILENCES,
        REFUSED,
        REPLACED,
        SIZE,
        MOST,
        FREE,
        SPOOLED,
        SPOOL_BYTES,
        HEALTHY,
        STORE_UP,
    ),
    *(READING, BUILD, STAGE, FAULTS, TRAININGS),
)
"""All of them, in the order of the documentation."""
