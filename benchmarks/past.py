"""A past of many counts, in an SQLite database: written through the store's packing, rolled up by the store itself."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import accumulate
from math import cos, log10, pi
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, update

from detector.domain import ConnectionKey, Direction, Observation, Protocol
from detector.store import rollups
from detector.store.cursors import create_cursors
from detector.store.engine import open_store, writing
from detector.store.migrating import upgrade
from detector.store.numbering import digest
from detector.store.packing import pack_counts
from detector.store.packing_observations import pack_observations
from detector.store.tables import (
    connection_keys,
    destination_names,
    detection_cursors,
    hosts,
    login_origins,
    packed_counts,
    packed_observations,
    snapshots,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

KEYS = 20_000
COUNTS = 250
"""In a snapshot, on average over the day."""
INTERVAL = timedelta(seconds=10)
USERS = 150
ADDRESSES = 4_000
SCANNER = "mallory"
"""Who scans the ports of one address in some hours, if that is asked for."""
_HOUR_SNAPSHOTS = 360
# Within an hour much is the same: so many snapshots of it differ.
_DISTINCT = 36
_SCANNED_PORTS = 40
_SCAN_EVERY = timedelta(days=5)
_KEY_FIELDS = tuple(ConnectionKey.__dataclass_fields__)


@dataclass(frozen=True)
class Past:
    """What was written."""

    url: str
    counts: int
    end: datetime
    users: Sequence[str]
    addresses: Sequence[str]


def write(
    path: Path, counts: int, *, end: datetime | None = None, size: int = COUNTS, novel: float = 1.0, scans: bool = False
) -> Past:
    """Fills a database with about so many counts, up to three quarters of an hour that is not rolled up yet.

    Args:
        path: the database.
        counts: how many.
        end: of the last snapshot; None: about now.
        size: how many a snapshot has, on average over the day.
        novel: which part of the counts detection calls new.
        scans: whether SCANNER scans ports, in an hour of every fifth day.
    """
    chance = random.Random(7)
    end = (end or datetime.now(UTC)).replace(minute=45, second=0, microsecond=0)
    number = counts // size
    begin = end - number * INTERVAL
    engine = open_store(f"sqlite:///{path}")
    upgrade(engine)
    users = [f"user{each:03}" for each in range(USERS)]
    addresses = [
        str(ip_address((10 << 24 if each % 8 else 192 << 24) + each % 7 * 65_536 + each * 37 % 65_536))
        for each in range(ADDRESSES)
    ]
    keys = [*_keys(chance, users, addresses), *(_scan(addresses[0]) if scans else ())]
    # Most are there from the beginning, the others come one by one.
    comes = [begin if each % 3 else begin + (end - begin) * chance.random() for each in range(len(keys))]
    with writing(engine) as connection:
        connection.execute(insert(hosts).values(host_id=1, host="bastion-1", created_at=begin))
        connection.execute(insert(login_origins), list(_origins()))
        connection.execute(insert(destination_names), list(_names(addresses)))
        connection.execute(
            insert(connection_keys),
            [
                {
                    "host_id": 1,
                    "key_id": key_id,
                    "digest": digest([key_id]),
                    "first_seen": come,
                    "last_seen": come,
                    **key,
                }
                for key_id, (key, come) in enumerate(zip(keys, comes, strict=True), start=1)
            ],
        )
        create_cursors(connection)
    written, seq, start = 0, 0, begin
    scores = _Scores(chance, novel)
    scan = begin + _SCAN_EVERY / 2
    while seq < number:
        hour_end = rollups.floor(start, rollups.HOUR) + rollups.HOUR
        scanned = scans and scan < hour_end
        if scanned:
            scan += _SCAN_EVERY
        distinct = list(_hour(chance, start, size, [each <= start for each in comes[:KEYS]], scanned=scanned))
        rows = []
        while start < hour_end and seq < number:
            seq += 1
            rows.append((seq, start, *distinct[seq % len(distinct)]))
            start += INTERVAL
        _store(engine, rows, scores)
        written += sum(row[2] for row in rows)
        while rollups.advance(engine, 1, now=start).more:
            pass
    engine.dispose()
    return Past(url=f"sqlite:///{path}", counts=written, end=start, users=users, addresses=addresses)


def _keys(chance: random.Random, users: Sequence[str], addresses: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Few users have most keys, few addresses most users."""
    for _ in range(KEYS):
        user = users[min(int(chance.paretovariate(0.6)) - 1, USERS - 1)]
        address = addresses[
            min(int(chance.paretovariate(0.35)) - 1, ADDRESSES - 1)
            if chance.random() < 0.5
            else chance.randrange(ADDRESSES)
        ]
        values: dict[str, Any] = {
            **dict.fromkeys(_KEY_FIELDS),
            "direction": Direction.OUTBOUND.value,
            "protocol": Protocol.TCP.value,
            "executable": f"/usr/bin/program{chance.randrange(60)}",
            "command": "program",
            "user": user if chance.random() < 0.9 else "root",
            "login_user": user,
            "unit": "session.scope",
            "remote_address": ip_address(address),
            "remote_port": chance.choice((22, 22, 22, 443, 443, 5432, 8080, 25)),
        }
        yield values


def _scan(address: str) -> Iterator[dict[str, Any]]:
    """The keys of a port scan."""
    for port in range(1, _SCANNED_PORTS + 1):
        yield {
            **dict.fromkeys(_KEY_FIELDS),
            "direction": Direction.OUTBOUND.value,
            "protocol": Protocol.TCP.value,
            "executable": "/usr/bin/nmap",
            "command": "nmap",
            "user": SCANNER,
            "login_user": SCANNER,
            "remote_address": ip_address(address),
            "remote_port": port,
        }


def _origins() -> Iterator[dict[str, Any]]:
    for number in range(1, USERS + 1):
        address = ip_address(f"203.0.113.{number}")
        yield {
            "host_id": 1,
            "origin_id": number,
            "digest": digest([number]),
            "login_address": address,
            "login_source": "logind",
        }


def _names(addresses: Sequence[str]) -> Iterator[dict[str, Any]]:
    for number, address in enumerate(addresses, start=1):
        yield {
            "host_id": 1,
            "name_id": number,
            "digest": digest([number]),
            "remote_name": f"h{address}.example.org",
            "remote_name_source": "udp answer of 10.0.0.2",
            "remote_country": None,
            "remote_network": None,
        }


def _hour(
    chance: random.Random, start: datetime, usual: int, there: Sequence[bool], *, scanned: bool
) -> Iterator[tuple[int, bytes]]:
    """The snapshots of an hour, packed, with the numbers of their rows: at night a third of those at noon."""
    size = round(usual * (1 - 0.5 * cos(2 * pi * (start.hour - 2) / 24)))
    # How often each key is: a few at all times, most now and then, some hardly ever.
    weights = [there[each] / (1 + each * 7919 % KEYS) for each in range(KEYS)]
    sums = list(accumulate(weights))
    numbers = range(1, KEYS + 1)
    for each in range(_DISTINCT):
        chosen: set[int] = set()
        while len(chosen) < size:
            chosen.update(chance.choices(numbers, cum_weights=sums, k=size))
        some = list(chosen)[:size]
        if scanned and not each:
            some += range(KEYS + 1, KEYS + 1 + _SCANNED_PORTS)
        rows = []
        for key_id in some:
            attempted = 1 + int(chance.expovariate(0.7))
            refused = attempted if chance.random() < 0.02 else 0
            rows.append(
                {
                    "key_id": key_id,
                    "session": 1 + key_id % 40,
                    "origin_id": 1 + key_id % USERS if key_id % 3 else None,
                    "name_id": 1 + key_id % ADDRESSES if key_id % 5 else None,
                    "attempted": attempted,
                    "established": attempted - refused,
                    "refused": refused,
                    "timed_out": 0,
                    "failed": 0,
                    "handshake_us_total": 900 * attempted,
                    "handshake_us_max": 1100,
                }
            )
        yield len(rows), pack_counts(rows)


def _store(engine: Any, rows: Sequence[tuple[int, datetime, int, bytes]], scores: _Scores) -> None:
    with writing(engine) as connection:
        places = [{"host_id": 1, "seq": seq, "end": start + INTERVAL} for seq, start, *_ in rows]
        described = {"unseen": ""}
        connection.execute(
            insert(snapshots),
            [place | {"start": row[1]} | described for place, row in zip(places, rows, strict=True)],
        )
        connection.execute(
            insert(packed_counts),
            [place | {"rows": row[2], "content": row[3]} for place, row in zip(places, rows, strict=True)],
        )
        connection.execute(
            insert(packed_observations),
            [
                place | {"content": content}
                for place, row in zip(places, rows, strict=True)
                if (content := scores.of(row[2])) is not None
            ],
        )
        connection.execute(update(detection_cursors).values(seq=rows[-1][0]))


class _Scores:
    """What detection says of snapshots: in a few ways for each number of counts."""

    def __init__(self, chance: random.Random, novel: float) -> None:
        self._chance, self._novel = chance, novel
        self._known: dict[int, list[bytes | None]] = {}

    def of(self, size: int) -> bytes | None:
        """What it says of so many counts, packed."""
        if size not in self._known:
            self._known[size] = [pack_observations([self._one() for _ in range(size)]) for _ in range(5)]
        return self._chance.choice(self._known[size])

    def _one(self) -> Observation:
        p = min(self._chance.random() ** 3 + 1e-4, 0.999)
        return Observation(
            key_id=0,
            session=0,
            score=1 - p,
            surprise=-log10(p),
            channel="novelty",
            novelty="port" if self._chance.random() < self._novel else None,
            p_novelty=p,
            p_volume=0.5,
            p_forest=0.5,
            explanation=None,
        )
