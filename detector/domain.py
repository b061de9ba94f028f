"""The nouns of the system: frozen values, standard library only.

Field names are those of database columns, JSON output and the documentation.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

IPAddress = IPv4Address | IPv6Address
"""An IPv4-mapped IPv6 address is always held as the IPv4 address that it is."""

Scalar = str | int | float | bool | None


class Direction(StrEnum):
    """Which end of the connection this host was."""

    OUTBOUND = "outbound"
    INBOUND = "inbound"


class Protocol(StrEnum):
    """How a connection, or a flow of packets, travels.

    `RAW` is an IP socket of another protocol or one that writes its own headers, `PACKET` one below IP (AF_PACKET).
    """

    TCP = "tcp"
    SCTP = "sctp"
    UDP = "udp"
    ICMP = "icmp"
    RAW = "raw"
    PACKET = "packet"


class Outcome(StrEnum):
    """How an attempt ended. `FAILED` is every end that is not one of the others, giving up included."""

    ESTABLISHED = "established"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    FAILED = "failed"


class Severity(StrEnum):
    """How much a person should care; Sigma's `level`. Ordered by `rank`, not by name."""

    INFORMATIONAL = "informational"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 (informational) to 4 (critical)."""
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionKey:
    """Who connects where. What is unknown is None, never guessed.

    `user` is the account that the process ran as, `login_user` the one that logged in (it survives sudo and su);
    both are names where the host knows one, else the number as text. Outbound keys have a remote port (if the protocol
    has ports) and no local port; inbound keys have the listening port as `local_port`, no remote port, and say who
    listens. `remote_address` is None where the kernel did not show it (AF_PACKET) and for what was counted only by its
    process, since there were too many keys (see `Losses.folded`).
    """

    direction: Direction
    protocol: Protocol
    remote_address: IPAddress | None
    remote_port: int | None = None
    local_port: int | None = None
    executable: str | None = None
    """Path of the program; one that was deleted or replaced since it started ends with " (deleted)"."""
    script: str | None = None
    """Path of the script that the executable was started to interpret (`#!`)."""
    parent_executable: str | None = None
    command: str | None = None
    user: str | None = None
    login_user: str | None = None
    unit: str | None = None
    container: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionCount:
    """What one key did in one snapshot, in one login session (`session` 0: none).

    An attempt and its outcome may fall into different snapshots, so `attempted` need not be the sum of the rest.
    Of protocols without connections, `attempted` counts flows: sockets that sent to the key's address and port in this
    snapshot, however many packets; `failed` the sends that the kernel refused (no route …).
    Handshake times are microseconds from the first SYN to the established connection.

    `login_address` is where the login session came from; `login_source` says how that was learnt. `remote_name` is the
    name last looked up on this host that had the remote address for an answer; `remote_name_source` says how it was
    learnt ("udp answer of 10.0.0.2"). `remote_country` (ISO 3166 code) and `remote_network` (owner of the network)
    come from files that the operator names.
    """

    key: ConnectionKey
    session: int = 0
    login_address: IPAddress | None = None
    login_source: str | None = None
    remote_name: str | None = None
    remote_name_source: str | None = None
    remote_country: str | None = None
    remote_network: str | None = None
    attempted: int = 0
    established: int = 0
    refused: int = 0
    timed_out: int = 0
    failed: int = 0
    handshake_us_total: int = 0
    handshake_us_max: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What a snapshot could not count or name, by kind. All zero: the snapshot is complete."""

    attempted: int = 0
    """Attempts that found no room in the map of counts."""
    established: int = 0
    refused: int = 0
    timed_out: int = 0
    failed: int = 0
    """Outcomes that found no room in the map of counts, each by its kind."""
    inbound: int = 0
    """Accepted inbound connections that found no room."""
    pending_full: int = 0
    """Attempts that were counted but whose outcome cannot be: too many were under way at once."""
    unmatched: int = 0
    """Outcomes whose attempt was not seen, or found no room among those under way."""
    unnamed: int = 0
    """Connects whose executable could not be named: its path was unreadable or the table of paths full."""
    unread: int = 0
    """Reads of kernel memory that failed."""
    missed: int = 0
    """Events that the kernel did not show: a program was running on that processor already."""
    folded: int = 0
    """Attempts and outcomes counted only by their process, without address and port: there were too many keys."""
    unnumbered: int = 0
    """Attempts whose process could not be recorded at all: the table of processes was full."""
    names: int = 0
    """DNS answers that could not be read, or were overwritten before they were."""
    snapshots: int = 0
    """Whole snapshots that were given up before this one: the database was away for longer than they can wait, or what
    was written of them is damaged. What they had counted is among the losses above, as far as it is known."""

    def __add__(self, other: Losses) -> Losses:
        return Losses(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Losses)})

    def __sub__(self, other: Losses) -> Losses:
        return Losses(**{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(Losses)})

    @property
    def complete(self) -> bool:
        """Whether nothing was lost."""
        return not any(getattr(self, f.name) for f in fields(Losses))

    def nonzero(self) -> dict[str, int]:
        """The kinds of loss that happened, with their numbers."""
        return {f.name: value for f in fields(Losses) if (value := getattr(self, f.name))}


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureHealth:
    """How well a snapshot was taken, apart from what was lost in it. Seconds are 0 when all is well."""

    self_test_passed: bool | None = None
    """Whether the connect that the collector makes for every snapshot was counted; None: none was made."""
    blind_since: datetime | None = None
    """When the self-test last passed, or capture began, if it fails now."""
    late_seconds: float = 0.0
    """How much later than due the counts were drained."""
    clock_step_seconds: float = 0.0
    """How far the wall clock was set, forward (positive) or back, since the last snapshot."""
    suspended_seconds: float = 0.0
    """How long the machine was suspended since the last snapshot."""
    stopped: bool = False
    """Whether the collector ended in order with it, so that none is to be expected after it."""
    unseen: tuple[str, ...] = ()
    """What cannot be seen on this kernel, by the words of `detector doctor`: "connects refused by routing" …"""

    def __add__(self, later: CaptureHealth) -> CaptureHealth:
        """Of two snapshots that become one: as bad as the worse, and the sum of what adds up."""
        tests = {self.self_test_passed, later.self_test_passed}
        blind = [each.blind_since for each in (self, later) if each.blind_since is not None]
        return CaptureHealth(
            self_test_passed=next((result for result in (False, True) if result in tests), None),
            blind_since=min(blind, default=None),
            late_seconds=max(self.late_seconds, later.late_seconds),
            clock_step_seconds=self.clock_step_seconds + later.clock_step_seconds,
            suspended_seconds=self.suspended_seconds + later.suspended_seconds,
            stopped=later.stopped,
            unseen=later.unseen,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All counts of one host over [start, end), with what was lost in it. Times are aware, in UTC."""

    host: str
    start: datetime
    end: datetime
    counts: tuple[ConnectionCount, ...]
    losses: Losses = field(default_factory=Losses)
    health: CaptureHealth = field(default_factory=CaptureHealth)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRef:
    """A stored snapshot: `seq` numbers a host's snapshots from 1 in the order they were written."""

    host_id: int
    host: str
    seq: int
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCount:
    """A connection count as the store holds it, with its key's number and first appearance on this host."""

    key_id: int
    count: ConnectionCount
    first_seen: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """How far a host's burn-in has come, in seconds of observed time."""

    elapsed_seconds: float
    required_seconds: float

    @property
    def finished(self) -> bool:
        """Whether scores are given."""
        return self.elapsed_seconds >= self.required_seconds

    def covers(self, burn_in: timedelta | bool) -> bool:
        """Whether a rule's own burn-in is over: a time, or True for that of the models."""
        if isinstance(burn_in, bool):
            return self.finished or not burn_in
        return self.elapsed_seconds >= burn_in.total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdMove:
    """From which surprise on a host's rows are unusual, in times that are well known, once that has changed."""

    at: datetime
    before: float
    after: float
    observed: float
    """What the hours of the host make of what was promised."""
    correction: float
    """What the alerts that were told add to it, or take away."""

    @property
    def why(self) -> str:
        """`hours: 2.31, alerts: +0.10`: what it is made of; both together are bounded."""
        return f"hours: {self.observed:.2f}, alerts: {self.correction:+.2f}"


CHANNELS = (
    "novelty",
    "actor",
    "volume",
    "host_volume",
    "failures",
    "fan_out",
    "port_sweep",
    "beacon",
    "hour",
    "evidence",
    "forest",
)
"""The kinds of strangeness that the models tell apart; an observation has the probability of each as `p_…`."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A stored count with what the models say of it.

    `surprise` is -log10 of the calibrated probability that a benign hour of this host holds anything this strange;
    `score` is one minus that probability, so .96 is about once a day. Both are None while the host is being learnt.
    """

    key_id: int
    session: int
    score: float | None = None
    surprise: float | None = None
    unusual: bool | None = None
    """Whether the surprise reaches the host's threshold (see models.promise); None like the score."""
    channel: str | None = None
    """The channel that decided the score."""
    novelty: str | None = None
    """What is new about the connection ("destination", "port" …; see models.features); None when nothing is."""
    explanation: str | None = None
    """The sentence of the deciding channel; only for scores that a person might be shown."""
    p_novelty: float | None = None
    p_actor: float | None = None
    p_volume: float | None = None
    p_host_volume: float | None = None
    p_failures: float | None = None
    p_fan_out: float | None = None
    p_port_sweep: float | None = None
    p_beacon: float | None = None
    p_hour: float | None = None
    p_evidence: float | None = None
    p_forest: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRef:
    """Points to one stored count of the finding's host; `key_id` 0: to the snapshot itself."""

    seq: int
    key_id: int
    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """How people are told of what a rule finds, where it says so itself."""

    cooldown: timedelta | None = None
    """In place of the configured one."""
    channels: tuple[str, ...] | None = None
    """The channels that are told, whatever they accept otherwise; None: all that accept its severity."""
    burn_in: timedelta | bool = False
    """Nobody is told of a host that was watched for less; True: that is being learnt."""
    explain: str | None = None
    """A template of the alert's sentence (see `sentence`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One match of one rule, with its evidence. Findings that share a fingerprint belong to one alert."""

    rule_id: str
    rule_title: str
    severity: Severity
    fingerprint: str
    group: Mapping[str, Scalar]
    """What the matched rows have in common: design field names to values."""
    start: datetime
    end: datetime
    evidence: tuple[EvidenceRef, ...]
    telling: Telling = field(default_factory=Telling)


class AlertState(StrEnum):
    """How far an alert has come."""

    WAITING = "waiting"
    """It is new: what belongs to it is gathered before people are told."""
    OPEN = "open"
    RESOLVED = "resolved"
    """It is over, or a person has said so; it opens again if more comes within the cooldown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One incident: what a person sees. Totals are over the distinct rows of all its findings."""

    alert_id: int
    host: str
    rule_id: str
    rule_title: str
    severity: Severity
    fingerprint: str
    group: Mapping[str, Scalar]
    opened_at: datetime
    """End of the snapshot that opened it (data time, as all times of an alert)."""
    start: datetime
    end: datetime
    finding_count: int
    attempted: int
    established: int
    refused: int
    timed_out: int
    failed: int
    destinations: int
    """Distinct remote addresses."""
    ports: int
    """Distinct remote ports (local ports for inbound connections)."""
    score: float | None
    """Highest anomaly score among the rows."""
    summary: str
    """The first line of every message: who, with what, where, how many, how unusual."""
    explanations: tuple[str, ...]
    state: AlertState = AlertState.OPEN
    resolved_at: datetime | None = None
    """When it had been quiet for long enough (data time), or when a person said so."""
    resolved_by: str | None = None
    """The person; None: nobody, it was quiet."""
    acknowledged_at: datetime | None = None
    """When a person took it on: it is not repeated since."""
    acknowledged_by: str | None = None
    silenced_by: int | None = None
    """The silence that has kept it from being told when it last should have been."""
    thread_id: int | None = None
    """The first alert of the thread that it belongs to: what the same actor did before; None: it is the first."""
    also_seen_by: Mapping[str, str] = field(default_factory=dict)
    """Other rules that saw some of its rows, and told nobody since this alert does: titles by ids."""


class Verdict(StrEnum):
    """What a person said of an alert."""

    TRUE = "true"
    """It was right to tell: an attack, or what might have been one."""
    BENIGN = "benign"
    """It was a false alert."""


class ReviewAnswer(StrEnum):
    """What a person said of what a host did during its burn-in."""

    ACCEPTED = "accepted"
    NOT_NORMAL = "not normal"


class NotificationState(StrEnum):
    """Where a notification stands in the outbox."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    WITHHELD = "withheld"
    """Never sent: the channel is not for it, and the reason says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One delivery of one alert, or of one notice, to one channel."""

    notification_id: int
    alert_id: int | None
    """None: it tells of a notice."""
    channel: str
    reason: str
    """Why it was sent ("opened", "grown tenfold" …) or withheld ("below the channel's severity" …)."""
    state: NotificationState
    attempts: int
    created_at: datetime
    next_attempt_at: datetime
    delivered_at: datetime | None
    last_error: str | None
    """What the last attempt failed with, also after a later one did not."""
    failed_at: datetime | None = None
    """When it did."""
    leased_until: datetime | None = None
    """It is being sent; should that not end by then, it was left behind, and is sent anew."""
    told_with: int | None = None
    """It was told together with others, of which this is the first; None: in a message of its own."""
    notice_id: int | None = None
    """None: it tells of an alert."""
    chart_fault: str | None = None
    """Why it was delivered without its chart; None: with it, or none belongs to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What people are told that is no alert: a digest, for one. Of one kind and subject there is one."""

    notice_id: int
    kind: str
    """What it is: "daily digest" …"""
    subject: str
    """What it is about: of a digest, when its period ends."""
    severity: Severity
    created_at: datetime
    content: Mapping[str, object] | None
    """What it says, by its kind; None: nothing is told, see `store.notices.begin`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What a channel has before it, and what it was sent."""

    waiting: int
    """Notifications that could be sent now."""
    last_minute: int
    """Messages; one that tells of several notifications is one."""
    last_hour: int
