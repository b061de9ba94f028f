"""The category network_connection: one event is one connect, or one flow of packets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import String, and_, case, func, literal_column

from detector.domain import CHANNELS, Direction, Protocol
from detector.ruleset.clock import utc_hour, utc_weekday
from detector.ruleset.events import Category, Join, Rows
from detector.ruleset.fields import Field, Kind
from detector.store.tables import (
    connection_counts,
    connection_keys,
    daily_counts,
    destination_names,
    hosts,
    login_origins,
    observations,
    snapshots,
)

if TYPE_CHECKING:
    from sqlalchemy import Column, ColumnElement

# Written into the statement: they would be bound anew with every address that a rule compares.
_OUTBOUND = connection_keys.c.direction == literal_column(f"'{Direction.OUTBOUND.value}'", String)
_INBOUND = connection_keys.c.direction == literal_column(f"'{Direction.INBOUND.value}'", String)

NOVELTIES = ("destination", "destination_in_known_network", "address_class", "pair", "port", "common_port")
"""What can be new about a connection, as the models write it to `observations.novelty`."""

OUTCOMES = ("established", "refused", "timed_out", "failed", "attempted")
"""What `Outcome` may be, each a column of counts. Every connect is `attempted`, and at most one of the others."""


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


def _probability(name: str, channel: str, what: str, example: str) -> Field:
    return _score(name, f"p_{channel}", f"probability that a benign hour holds {what}", example)


def _count(name: str, word: str, meaning: str, example: str) -> Field:
    return Field(
        name=name,
        word=word,
        kind=Kind.INTEGER,
        expression=connection_counts.c[word],
        meaning=meaning,
        example=example,
    )


def _who(
    name: str, column: Column[Any], meaning: str, example: str, *, kind: Kind = Kind.TEXT, of: Any = None
) -> Field:
    """A field that says who or what, missing unless the connection's direction is `of` (any, if that is None)."""
    return Field(
        name=name,
        word=column.name,
        kind=kind,
        expression=column if of is None else case((of, column)),
        meaning=meaning,
        example=example,
        groups=True,
        outbound=None if of is None else of is _OUTBOUND,
    )


_KEYS = connection_keys.c
_NAMES = destination_names.c
_ALL = (
    _who("Host", hosts.c.host, "name of the host that was watched", "bastion-1"),
    Field(
        name="Hour",
        word="hour",
        kind=Kind.INTEGER,
        expression=utc_hour(snapshots.c.start),
        meaning="hour of the day in which the snapshot began, in UTC: 0 to 23",
        example="3",
        maximum=23,
        groups=True,
    ),
    Field(
        name="Weekday",
        word="weekday",
        kind=Kind.INTEGER,
        expression=utc_weekday(snapshots.c.start),
        meaning="day of the week on which the snapshot began, in UTC: 1 (Monday) to 7 (Sunday)",
        example="7",
        minimum=1,
        maximum=7,
        groups=True,
    ),
    Field(
        name="Initiated",
        word="direction",
        kind=Kind.BOOLEAN,
        expression=_KEYS.direction,
        meaning="true: this host connected out, or sent; false: it accepted a connection",
        example="true",
        groups=True,
        stored={True: Direction.OUTBOUND.value, False: Direction.INBOUND.value},
    ),
    _who(
        "Image",
        _KEYS.executable,
        'path of the program that connected, or that listens; ends with " (deleted)" if the file was since it started',
        "/usr/bin/ssh",
    ),
    _who("Script", _KEYS.script, "path of the script that the program was started to run (`#!`)", "/opt/backup.py"),
    _who("ParentImage", _KEYS.parent_executable, "path of the program that started it", "/usr/bin/bash"),
    _who("Command", _KEYS.command, "name of the process, which it may choose itself", "ssh"),
    _who("User", _KEYS.user, "account that the process ran as", "root"),
    _who("LoginUser", _KEYS.login_user, "account that logged in; survives sudo and su", "alice"),
    _who(
        "LoginIp",
        login_origins.c.login_address,
        "address that the login session came from; missing outside of such sessions",
        "203.0.113.7",
        kind=Kind.ADDRESS,
    ),
    _who("Unit", _KEYS.unit, "systemd unit", "cron.service"),
    _who("Container", _KEYS.container, "container that the process ran in", "3f1c0a9b7d42"),
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
        expression=_KEYS.protocol,
        meaning="tcp and sctp connect; udp, icmp, raw (other IP) and packet (below IP) send flows",
        example="tcp",
        choices=tuple(Protocol),
        groups=True,
    ),
    _who(
        "DestinationIp",
        _KEYS.remote_address,
        "address connected or sent to; missing for inbound connections, and where it was not seen",
        "10.0.4.12",
        kind=Kind.ADDRESS,
        of=_OUTBOUND,
    ),
    _who(
        "DestinationHostname",
        _NAMES.remote_name,
        "name that this host looked up and was given the address for",
        "db.example.org",
        of=_OUTBOUND,
    ),
    _who(
        "DestinationCountry",
        _NAMES.remote_country,
        "country of the address, as ISO 3166 code; missing unless a file was named to look it up in",
        "DE",
        of=_OUTBOUND,
    ),
    _who(
        "DestinationNetwork",
        _NAMES.remote_network,
        "owner of the address's network; missing unless a file was named",
        "EXAMPLE-NET",
        of=_OUTBOUND,
    ),
    _who(
        "SourceIp",
        _KEYS.remote_address,
        "address that an inbound connection came from; missing for outbound ones",
        "192.0.2.7",
        kind=Kind.ADDRESS,
        of=_INBOUND,
    ),
    _who(
        "SourceHostname",
        _NAMES.remote_name,
        "the same as DestinationHostname, of SourceIp",
        "client.example.org",
        of=_INBOUND,
    ),
    _who("SourceCountry", _NAMES.remote_country, "the same as DestinationCountry, of SourceIp", "DE", of=_INBOUND),
    _who(
        "SourceNetwork",
        _NAMES.remote_network,
        "the same as DestinationNetwork, of SourceIp",
        "EXAMPLE-NET",
        of=_INBOUND,
    ),
    Field(
        name="DestinationPort",
        word="remote_port",
        kind=Kind.INTEGER,
        expression=func.coalesce(_KEYS.remote_port, _KEYS.local_port),
        meaning="port connected or sent to: the remote one when outbound, the local one when inbound; missing where "
        "the protocol has none",
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
    _count("Attempted", "attempted", "connects begun in the snapshot, or flows: sockets that sent there", "12"),
    _count("Established", "established", "connects that succeeded in the snapshot", "12"),
    _count("Refused", "refused", "connects, or packets of flows, refused in the snapshot", "3"),
    _count("TimedOut", "timed_out", "connects that timed out in the snapshot", "1"),
    _count("Failed", "failed", "connects, or sends, that ended otherwise (unreachable, given up) in the snapshot", "1"),
    _count("HandshakeUsMax", "handshake_us_max", "longest handshake in the snapshot, in microseconds", "45000"),
    _score("AnomalyScore", "score", "how strange, 0 to 1: one minus the probability in a benign hour", "0.97"),
    _score("Surprise", "surprise", "the same as -log10 of the probability", "1.5", maximum=1000),
    Field(
        name="Unusual",
        word="unusual",
        kind=Kind.BOOLEAN,
        expression=observations.c.unusual,
        meaning="true: the surprise reaches the host's threshold, which follows from `models.false_alerts_per_day`; "
        "missing while the host is being learnt",
        example="true",
        stored={True: True, False: False},
    ),
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
    _probability("PNovelty", "novelty", "something as new", "0.04"),
    _probability("PActor", "actor", "a program or user that does something as new to it", "0.04"),
    _probability("PVolume", "volume", "a count as large", "0.2"),
    _probability("PHostVolume", "host_volume", "as many connects of the whole host", "0.2"),
    _probability("PFailures", "failures", "as many failures", "0.01"),
    _probability("PFanOut", "fan_out", "as many new destinations on one port", "0.01"),
    _probability("PPortSweep", "port_sweep", "as many new ports of one destination", "0.01"),
    _probability("PBeacon", "beacon", "something new that comes back as often or as regularly", "0.05"),
    _probability("PHour", "hour", "a user at an hour as unusual", "0.05"),
    _probability("PEvidence", "evidence", "a destination that was a little strange as often", "0.05"),
    _probability("PForest", "forest", "a row as isolated", "0.6"),
)
_FIELDS = {field.name: field for field in _ALL}

_COUNTS = connection_counts.c
# Postgres would replace a bare column by the parameter that it equals. Before it has statistics (of new tables, in
# their first minute) it then goes through all keys of the host for each count, in place of looking one up.
_HOST_ID = _COUNTS.host_id + 0
_OF_KEY = and_(_KEYS.host_id == _HOST_ID, _KEYS.key_id == _COUNTS.key_id)
_OF_ORIGIN = and_(login_origins.c.host_id == _HOST_ID, login_origins.c.origin_id == _COUNTS.origin_id)
_OF_NAME = and_(_NAMES.host_id == _HOST_ID, _NAMES.name_id == _COUNTS.name_id)
_OF_SNAPSHOT = and_(snapshots.c.host_id == _HOST_ID, snapshots.c.seq == _COUNTS.seq)
_OF_OBSERVATION = and_(
    observations.c.host_id == _HOST_ID,
    observations.c.seq == _COUNTS.seq,
    observations.c.key_id == _COUNTS.key_id,
    observations.c.session == _COUNTS.session,
)


def _of_day(columns: Any, number: str) -> ColumnElement[bool]:
    return and_(columns.host_id == daily_counts.c.host_id, columns[number] == daily_counts.c[number])


CONNECTIONS = Category(
    name="network_connection",
    fields=_FIELDS,
    rows=Rows(
        table=connection_counts,
        joined=(Join(table=connection_keys, on=_OF_KEY),),
        others=(
            # A row without an observation is one that the models know nothing of, as while the host is being learnt.
            Join(table=observations, on=_OF_OBSERVATION, outer=True),
            Join(table=login_origins, on=_OF_ORIGIN, outer=True),
            Join(table=destination_names, on=_OF_NAME, outer=True),
            Join(table=hosts, on=hosts.c.host_id == _HOST_ID),
            Join(table=snapshots, on=_OF_SNAPSHOT),
        ),
        place=(_COUNTS.seq, _COUNTS.key_id, _COUNTS.session),
        keys=connection_keys,
    ),
    weights={outcome: _COUNTS[outcome] for outcome in OUTCOMES},
    direction=_KEYS.direction,
    actors={
        Direction.OUTBOUND: (_FIELDS["LoginUser"], _FIELDS["User"], _FIELDS["Image"]),
        Direction.INBOUND: (_FIELDS["SourceIp"], _FIELDS["DestinationPort"]),
    },
    example_group="[User, DestinationIp]",
    example_counted="DestinationPort",
    example_summed="Attempted",
    packed=True,
    alike=("key_id", "session", "origin_id", "name_id"),
    days=Rows(
        table=daily_counts,
        joined=(Join(table=connection_keys, on=_of_day(_KEYS, "key_id")),),
        others=(
            # 0 stands for none, and is the number of none.
            Join(table=login_origins, on=_of_day(login_origins.c, "origin_id"), outer=True),
            Join(table=destination_names, on=_of_day(_NAMES, "name_id"), outer=True),
        ),
        place=(daily_counts.c.key_id, daily_counts.c.origin_id, daily_counts.c.name_id),
    ),
)
