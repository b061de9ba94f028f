"""What the models have learnt. Their times in seconds are observed time: the sum of the lengths of the host's snapshots
that detection has taken in, so that neither a gap nor a jump of the clock makes anything look older.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Double, ForeignKey, Index, Integer, LargeBinary, String, Table, Text

from detector.domain import ReviewAnswer, Verdict
from detector.store.columns import UtcDateTime
from detector.store.tables.schema import metadata, text_enum

model_hosts = Table(
    "model_hosts",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    Column("observed_seconds", Double, nullable=False),
    # The last observed hour with something suspicious that calibration took in all the same; -1: none.
    Column("admitted_hour", BigInteger, nullable=False, server_default="-1"),
    # BLAKE2b-128 over the mark before and what was then written of its subjects; NULL: nothing was yet. Who remembers
    # subjects knows by it whether somebody else has changed them.
    Column("mark", LargeBinary(16)),
)

model_subjects = Table(
    "model_subjects",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    # BLAKE2b-128 over the kind and what it is about: names are of any length and chosen by others.
    Column("subject", LargeBinary(16), primary_key=True),
    # Where it stands: the number of its block, times eight, and its place there.
    Column("number", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# What is known of subjects: up to eight of one kind that were first met together. A snapshot changes something of most
# of what it touches, and a row for each would take ten times as long to write.
model_blocks = Table(
    "model_blocks",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    Column("block", BigInteger, primary_key=True, autoincrement=False),
    # "pair", "destination", "user_executable" …: see detector.models.features.
    Column("kind", String(24), nullable=False),
    # How many places it has, and what stands there, one as long as the other: see detector.models.layout. A place with
    # nothing but zeros is that of a subject that was forgotten.
    Column("places", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

model_channels = Table(
    "model_channels",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    Column("channel", String(32), primary_key=True),
    # The largest value of the observed hour that is under way.
    Column("maximum", Double, nullable=False),
    # The tail in force: see detector.models.calibration.
    Column("threshold", Double, nullable=False),
    Column("exceedance", Double, nullable=False),
    Column("scale", Double, nullable=False),
    sqlite_with_rowid=False,
)

# What a channel's members together said of hours, beside what hours held: see detector.models.record.
model_records = Table(
    "model_records",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    # "p_novelty" …
    Column("channel", String(32), primary_key=True),
    # The largest surprise of the observed hour that is under way.
    Column("maximum", Double, nullable=False),
    # How many hours were counted, and how many of them reached each level of surprise.
    Column("hours", Integer, nullable=False),
    Column("reached", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# The largest values of past hours: of members of channels, of "p_…" as in model_records, and of all together.
model_hours = Table(
    "model_hours",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    Column("channel", String(32), primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("maximum", Double, nullable=False),
    sqlite_with_rowid=False,
)

# From which surprise on a row is unusual: see detector.models.threshold.
model_promises = Table(
    "model_promises",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    Column("false_alerts_per_day", Double, nullable=False),
    # The largest surprise of the observed hour that is under way.
    Column("maximum", Double, nullable=False),
    Column("observed", Double, nullable=False),
    Column("correction", Double, nullable=False),
    Column("hours", BigInteger, nullable=False),
    # What the tail of the hours' surprises began with, and where it is now.
    Column("prior_threshold", Double, nullable=False),
    Column("prior_scale", Double, nullable=False),
    Column("tail_threshold", Double, nullable=False),
    Column("tail_scale", Double, nullable=False),
    # Hours observed by hour of the week: see detector.models.week.
    Column("week", LargeBinary, nullable=False),
    # When burn-in was over; NULL: it is not.
    Column("scored_since", UtcDateTime),
    # How often the host came back after nobody had watched it, and when it last did.
    Column("restarts", BigInteger, nullable=False, server_default="0"),
    Column("restarted_at", UtcDateTime),
    # The end of the last snapshot that was taken in; NULL: it was before restarts were counted.
    Column("until", UtcDateTime),
)

# How the threshold has moved.
model_adjustments = Table(
    "model_adjustments",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("surprise", Double, nullable=False),
    Column("observed", Double, nullable=False),
    Column("correction", Double, nullable=False),
    sqlite_with_rowid=False,
)

# What a person said of a key that was met during burn-in.
model_reviews = Table(
    "model_reviews",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    # Of the key: see `connection_keys`.
    Column("digest", LargeBinary(16), primary_key=True),
    Column("answer", text_enum(ReviewAnswer), nullable=False),
    Column("author", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    sqlite_with_rowid=False,
)

# What a person said of an alert.
alert_verdicts = Table(
    "alert_verdicts",
    metadata,
    Column("alert_id", ForeignKey("alerts.alert_id"), primary_key=True),
    Column("verdict", text_enum(Verdict), nullable=False),
    Column("author", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("reason", Text, nullable=False),
)

# The keys behind such an alert, as they were when it was said: see detector.models.said.
alert_verdict_keys = Table(
    "alert_verdict_keys",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    # Of the key: see `connection_keys`.
    Column("digest", LargeBinary(16), primary_key=True),
    Column("alert_id", ForeignKey("alert_verdicts.alert_id"), primary_key=True),
    # The surprise that it is about.
    Column("level", Double, nullable=False),
    Index(None, "alert_id"),
    sqlite_with_rowid=False,
)

# Some of its rows as the forest sees them, to compare forests by.
alert_verdict_rows = Table(
    "alert_verdict_rows",
    metadata,
    Column("alert_id", ForeignKey("alert_verdicts.alert_id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    # As in `model_samples`.
    Column("layout", BigInteger, nullable=False),
    Column("features", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# What was known of its keys when it was called benign: with that, taking it back unlearns what was learnt since.
alert_verdict_subjects = Table(
    "alert_verdict_subjects",
    metadata,
    Column("alert_id", ForeignKey("alert_verdicts.alert_id"), primary_key=True),
    Column("subject", LargeBinary(16), primary_key=True),
    # Observed time when this was kept.
    Column("kept_seconds", Double, nullable=False),
    # As in `model_blocks`.
    Column("kind", String(24), nullable=False),
    Column("content", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

model_samples = Table(
    "model_samples",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    # Each part of the week has slots of its own: see detector.models.samples.
    Column("slot", BigInteger, primary_key=True, autoincrement=False),
    # What it stands for: a key, in the snapshot that ended then.
    Column("key_id", BigInteger, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    # A number of the person with the executable, and one of the names of the features.
    Column("actor", BigInteger, nullable=False),
    Column("layout", BigInteger, nullable=False),
    # Little-endian float32, in the order of detector.models.features.FEATURES.
    Column("features", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

models = Table(
    "models",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("trained_at", UtcDateTime, nullable=False),
    # When the oldest and the newest row of its training were seen.
    Column("trained_from", UtcDateTime),
    Column("trained_until", UtcDateTime),
    Column("rows", BigInteger, nullable=False),
    Column("features", JSON, nullable=False),
    Column("parameters", JSON, nullable=False),
    # What it did on rows that were held back, beside the one in force: see detector.models.comparison.
    Column("figures", JSON),
    # BLAKE2b-128 over content, features and parameters.
    Column("digest", LargeBinary(16), nullable=False),
    Column("content", LargeBinary, nullable=False),
    # See detector.models.registry.State.
    Column("state", String(16), nullable=False),
    # Why it is in that state.
    Column("reason", Text),
)

model_trainings = Table(
    "model_trainings",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    # Observed time of the last training; NULL: there was none.
    Column("trained_seconds", Double),
    # When the last one was tried, and why it made no forest; NULL: it did.
    Column("tried_at", UtcDateTime),
    Column("obstacle", Text),
    # Until then a worker is at it, or has died of it.
    Column("claimed_until", UtcDateTime),
)
