"""The fields that rules may name: one table of Sigma's names, their types, and the SQL behind them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import String, case, func, literal_column

from detector.domain import Direction, Protocol
from detector.store.tables import connection_counts, connection_keys, hosts, observations

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from detector.domain import Scalar

# Written into the statement: they would be bound anew with every address that a rule compares.
_OUTBOUND = connection_keys.c.direction == literal_column(f"'{Direction.OUTBOUND.value}'", String)
_INBOUND = connection_keys.c.direction == literal_column(f"'{Direction.INBOUND.value}'", String)
_MOST = 2**63 - 1

NOVELTIES = ("destination", "destination_in_known_network", "address_class", "pair", "port", "common_port")
"""What can be new about a connection, as the models write it to `observations.novelty`."""

CHANNELS = ("novelty", "volume", "forest")
"""What can decide an anomaly score, as the models write it to `observations.channel`."""

OUTCOMES = ("established", "refused", "timed_out", "failed", "attempted")
"""What `Outcome` may be, each a column of counts. Every connect is `attempted`, and at most one of the others."""


class Kind(StrEnum):
    """Type of a field's values; decides which modifiers apply."""

    TEXT = "text"
    CHOICE = "choice"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ADDRESS = "address"
    OUTCOME = "outcome"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """One field: Sigma's name, the system's own word for it, its type, and the SQL that gives its value.

    A field that `groups` says who or what, and may stand in group-by and in a value_count; the others are measures.
    """

    name: str
    word: str
    kind: Kind
    expression: ColumnElement[Any]
    meaning: str
    example: str
    choices: tuple[str, ...] = ()
    minimum: float = 0
    maximum: float = _MOST
    groups: bool = False


def _score(name: str, word: str, meaning: str, example: str, maximum: float = 1) -> Field:
    return Field(
        name=name,
        word=word,
        kind=Kind.NUMBER,
        expression=observations.c[word],
        meaning=f"{meaning}; missing while the host is being learnt",
        example=example,
        maximum=maximum,
    )


def _count(name: str, word: str, meaning: str, example: str) -> Field:
    return Field(
        name=name,
        word=word,
        kind=Kind.INTEGER,
        expression=connection_counts.c[word],
        meaning=meaning,
        example=example,
    )


def _name(name: str, word: str, meaning: str, example: str) -> Field:
    return Field(
        name=name,
        word=word,
        kind=Kind.TEXT,
        expression=connection_keys.c[word],
        meaning=meaning,
        example=example,
        groups=True,
    )


_ALL = (
    Field(
        name="Host",
        word="host",
        kind=Kind.TEXT,
        expression=hosts.c.host,
        meaning="name of the host that was watched",
        example="bastion-1",
        groups=True,
    ),
    Field(
        name="Initiated",
        word="direction",
        kind=Kind.BOOLEAN,
        expression=connection_keys.c.direction,
        meaning="true: this host connected out; false: it accepted a connection",
        example="true",
        groups=True,
    ),
    _name("Image", "executable", "path of the program", "/usr/bin/ssh"),
    _name("Command", "command", "name of the process, which it may choose itself", "ssh"),
    _name("User", "user", "account that the process ran as", "root"),
    _name("LoginUser", "login_user", "account that logged in; survives sudo and su", "alice"),
    _name("Unit", "unit", "systemd unit", "cron.service"),
    _name("Container", "container", "container that the process ran in", "3f1c0a9b7d42"),
    Field(
        name="Session",
        word="session",
        kind=Kind.INTEGER,
        expression=connection_counts.c.session,
        meaning="the kernel's audit session of the login; 0: none",
        example="17",
        maximum=2**32 - 1,
        groups=True,
    ),
    Field(
        name="Protocol",
        word="protocol",
        kind=Kind.CHOICE,
        expression=connection_keys.c.protocol,
        meaning="transport",
        example="tcp",
        choices=tuple(Protocol),
        groups=True,
    ),
    Field(
        name="DestinationIp",
        word="remote_address",
        kind=Kind.ADDRESS,
        expression=case((_OUTBOUND, connection_keys.c.remote_address)),
        meaning="address connected to; missing for inbound connections",
        example="10.0.4.12",
        groups=True,
    ),
    Field(
        name="SourceIp",
        word="remote_address",
        kind=Kind.ADDRESS,
        expression=case((_INBOUND, connection_keys.c.remote_address)),
        meaning="address that an inbound connection came from; missing for outbound ones",
        example="192.0.2.7",
        groups=True,
    ),
    Field(
        name="DestinationPort",
        word="remote_port",
        kind=Kind.INTEGER,
        expression=func.coalesce(connection_keys.c.remote_port, connection_keys.c.local_port),
        meaning="port connected to: the remote one when outbound, the local one when inbound",
        example="22",
        maximum=65535,
        groups=True,
    ),
    Field(
        name="Outcome",
        word="outcome",
        kind=Kind.OUTCOME,
        # Each value is a column of its own; this one is never read for it.
        expression=connection_counts.c.attempted,
        meaning="how a connect ended; decides what a correlation counts",
        example="refused",
        choices=OUTCOMES,
    ),
    _count("Attempted", "attempted", "connects begun in the snapshot", "12"),
    _count("Established", "established", "connects that succeeded in the snapshot", "12"),
    _count("Refused", "refused", "connects refused in the snapshot", "3"),
    _count("TimedOut", "timed_out", "connects that timed out in the snapshot", "1"),
    _count("Failed", "failed", "connects that ended otherwise (unreachable, given up) in the snapshot", "1"),
    _count("HandshakeUsMax", "handshake_us_max", "longest handshake in the snapshot, in microseconds", "45000"),
    _score("AnomalyScore", "score", "how strange, 0 to 1: one minus the probability in a benign hour", "0.97"),
    _score("Surprise", "surprise", "the same as -log10 of the probability", "1.5", maximum=1000),
    Field(
        name="AnomalyChannel",
        word="channel",
        kind=Kind.CHOICE,
        expression=observations.c.channel,
        meaning="the channel that decided the score; missing when none saw anything, or while the host is being learnt",
        example="novelty",
        choices=CHANNELS,
    ),
    Field(
        name="Novelty",
        word="novelty",
        kind=Kind.CHOICE,
        expression=observations.c.novelty,
        meaning="what is new about the connection; missing when nothing is, or while the host is being learnt",
        example="destination",
        choices=NOVELTIES,
    ),
    _score("PNovelty", "p_novelty", "probability that a benign hour holds something as new", "0.04"),
    _score("PVolume", "p_volume", "probability that a benign hour holds a count as large", "0.2"),
    _score("PForest", "p_forest", "probability that a benign hour holds a row as isolated", "0.6"),
)

FIELDS = {field.name: field for field in _ALL}
"""All fields by Sigma's name, in the order of the documentation."""

ACTOR = {
    Direction.OUTBOUND: (FIELDS["LoginUser"], FIELDS["User"], FIELDS["Image"]),
    Direction.INBOUND: (FIELDS["SourceIp"], FIELDS["DestinationPort"]),
}
"""What the matches of a single-event rule are grouped by when it does not say."""


def group_of(fields: tuple[Field, ...], values: tuple[Any, ...], direction: str | None) -> dict[str, Scalar]:
    """The system's words for `fields` with their values, fit for JSON: addresses as text.

    `direction` tells the two meanings of DestinationPort apart; it may be None where that is not among the fields.
    """
    return {_word(field, direction): _scalar(value) for field, value in zip(fields, values, strict=True)}


def _word(field: Field, direction: str | None) -> str:
    return "local_port" if field.word == "remote_port" and direction == Direction.INBOUND else field.word


def _scalar(value: Any) -> Scalar:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
