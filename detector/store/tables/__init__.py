"""The database tables, the same on SQLite and Postgres. Every large table is keyed by host first."""

from detector.store.tables.alerted import alert_values, alerts, evidence, findings, notifications
from detector.store.tables.captured import (
    connection_keys,
    destination_names,
    hosts,
    imports,
    login_origins,
    packed_counts,
    packed_observations,
    replacements,
    snapshots,
)
from detector.store.tables.detected import (
    connection_counts,
    detection_cursors,
    held_findings,
    observations,
    rule_faults,
    silences,
)
from detector.store.tables.learnt import (
    alert_verdicts,
    model_adjustments,
    model_channels,
    model_hosts,
    model_hours,
    model_promises,
    model_reviews,
    model_samples,
    model_subjects,
    model_trainings,
    models,
)
from detector.store.tables.listed import list_ranges, named_lists
from detector.store.tables.remembered import noted_fields, seen_terms, usual_counts
from detector.store.tables.rolled_up import daily_counts, hourly_counts
from detector.store.tables.schema import metadata

__all__ = [
    "alert_values",
    "alert_verdicts",
    "alerts",
    "connection_counts",
    "connection_keys",
    "daily_counts",
    "destination_names",
    "detection_cursors",
    "evidence",
    "findings",
    "held_findings",
    "hosts",
    "hourly_counts",
    "imports",
    "list_ranges",
    "login_origins",
    "metadata",
    "model_adjustments",
    "model_channels",
    "model_hosts",
    "model_hours",
    "model_promises",
    "model_reviews",
    "model_samples",
    "model_subjects",
    "model_trainings",
    "models",
    "named_lists",
    "noted_fields",
    "notifications",
    "observations",
    "packed_counts",
    "packed_observations",
    "replacements",
    "rule_faults",
    "seen_terms",
    "silences",
    "snapshots",
    "usual_counts",
]
