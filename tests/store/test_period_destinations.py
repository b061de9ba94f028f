"""What is new and what became normal: as a loop over all keys would find it, and soon, also after a scan."""

from __future__ import annotations

import time
from datetime import timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from detector.domain import Verdict
from detector.store import feedback
from detector.store.engine import writing
from detector.store.period_destinations import NewDestinations, new_destinations
from detector.store.tables import alert_verdicts, alerts, connection_keys, evidence, hosts, metadata
from tests.builders import START, alert_values
from tests.examples import examples

if TYPE_CHECKING:
    from sqlalchemy import Engine

HOUR = timedelta(hours=1)
SINCE, UNTIL = START, START + 24 * HOUR
# Address, port, hour it was first seen in, hours until it was seen last, the alert that it is behind (0: none).
KEY = st.tuples(
    st.integers(1, 3), st.sampled_from([22, 443, None]), st.integers(-30, 30), st.integers(0, 3), st.integers(0, 2)
)


def _store(engine: Engine, keys: list[tuple[Any, ...]]) -> None:
    """Keys of one host that is known for long; alert 1 tells, alert 2 was called benign."""
    with writing(engine) as connection:
        for table in (alert_verdicts, evidence, alerts, connection_keys, hosts):
            connection.execute(metadata.tables[table.name].delete())
        connection.execute(insert(hosts).values(host_id=1, host="bastion-1", created_at=START))
        for alert_id in (1, 2):
            times = {"start": START, "end": START + HOUR, "opened_at": START}
            connection.execute(insert(alerts).values(**alert_values(alert_id=alert_id, **times)))
        feedback.record(connection, 2, Verdict.BENIGN, author="alice", now=START)
        old = (9, 1, -1000, 0, 0)
        for key_id, (address, port, first, lasts, alert_id) in enumerate([old, *keys], start=1):
            seen = {"first_seen": START + first * HOUR, "last_seen": START + (first + lasts) * HOUR}
            place = {"remote_address": ip_address(f"10.0.0.{address}"), "remote_port": port}
            common = {"host_id": 1, "key_id": key_id, "digest": key_id.to_bytes(16), "direction": "outbound"}
            connection.execute(insert(connection_keys).values(**common, **seen, **place, protocol="tcp"))
            if alert_id:
                row = {"alert_id": alert_id, "seq": 1, "key_id": key_id, "session": 0, "found_seq": 1}
                connection.execute(insert(evidence).values(**row))


def _expected(keys: list[tuple[Any, ...]]) -> tuple[int, int, int]:
    """New, behind an alert, met once."""
    places: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for key in keys:
        if key[2] < 24:
            places.setdefault(key[:2], []).append(key)
    new = alerted = once = 0
    for found in places.values():
        first, last = min(key[2] for key in found), max(key[2] + key[3] for key in found)
        if first >= 0:
            new += 1
            told = any(key[4] == 1 for key in found)
            alerted += told
            once += not told and last - first < 1
    return new, alerted, once


def found(engine: Engine, limit: int = 100) -> NewDestinations:
    """Those of the day."""
    with writing(engine) as connection:
        return new_destinations(connection, SINCE, UNTIL, burn_in=timedelta(0), limit=limit)


@given(keys=st.lists(KEY, max_size=12))
@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_place_is_what_its_keys_say(sqlite_engine: Engine, keys: list[tuple[Any, ...]]) -> None:
    """By the first time that any of them was met, the last, and the alerts behind which they are."""
    _store(sqlite_engine, keys)
    told = found(sqlite_engine)
    assert (told.new, told.alerted, told.once) == _expected(keys)
    assert len(told.usual) == told.normal
    assert [each.last_seen for each in told.usual] == sorted((each.last_seen for each in told.usual), reverse=True)


def test_what_a_host_began_with_is_not_new(engine: Engine) -> None:
    """During its burn-in all is met for the first time; nor is what another host met before."""
    with writing(engine) as connection:
        connection.execute(insert(hosts).values(host_id=1, host="bastion-1", created_at=START))
        for key_id, hours in ((1, 0), (2, 3), (3, 9)):
            values = {"first_seen": START + hours * HOUR, "last_seen": START + (hours + 2) * HOUR, "protocol": "tcp"}
            place = {"remote_address": ip_address(f"10.0.0.{key_id}"), "remote_port": 22, "direction": "outbound"}
            common = {"host_id": 1, "key_id": key_id, "digest": bytes([key_id]) * 16}
            connection.execute(insert(connection_keys).values(**common, **values, **place))
        told = new_destinations(connection, SINCE, UNTIL, burn_in=6 * HOUR, limit=10)
    assert [str(each.remote_address) for each in told.usual] == ["10.0.0.3"]


def test_a_scan_does_not_make_it_slow(sqlite_engine: Engine) -> None:
    """Of 20,000 ports at one address each is looked at once, not each with all the others."""
    with writing(sqlite_engine) as connection:
        connection.execute(insert(hosts).values(host_id=1, host="bastion-1", created_at=START))
        seen = {"first_seen": START + HOUR, "last_seen": START + HOUR}
        place = {"remote_address": ip_address("10.0.0.1"), "direction": "outbound", "protocol": "tcp", "host_id": 1}
        old = {"key_id": 20_001, "digest": b"o" * 16, "remote_port": 1, **place}
        connection.execute(insert(connection_keys).values(**old, first_seen=START - HOUR, last_seen=START))
        rows = [
            {"key_id": port, "digest": port.to_bytes(16), "remote_port": port, **place, **seen}
            for port in range(1, 20_001)
        ]
        connection.execute(insert(connection_keys), rows)
    began = time.process_time()
    told = found(sqlite_engine)
    assert (told.new, told.once) == (19_999, 19_999)
    # Each with all the others took minutes.
    assert time.process_time() - began < 5
