"""Totals of alerts are exact, whatever findings name which rows, and cost little."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from detector import shipped
from detector.alerts.book import MOST_A_DAY
from detector.alerts.policy import Decision
from detector.alerts.values import Common, all_of
from detector.domain import Direction, EvidenceRef, Learning, Telling
from detector.store.engine import open_store, reading, writing
from detector.store.held import held_of
from detector.store.tables import alerts, metadata
from detector.uncollected import uncollected
from tests.alerts.hosts import Host, contents, finding, scan
from tests.builders import count, stored
from tests.examples import examples

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlalchemy import Engine

    from detector.domain import ConnectionCount, Finding, SnapshotRef


_COUNTS = st.builds(
    lambda address, port, direction, attempted, refused, session, login, protocol: count(
        address,
        port,
        direction=direction,
        attempted=attempted,
        refused=refused,
        session=session,
        login_address=login,
        protocol=protocol,
        # Inbound keys say who listens.
        login_user="alice",
    ),
    st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1", None]),
    st.sampled_from([1, 2, 3, None]),
    st.sampled_from(["outbound", "inbound"]),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 1),
    st.sampled_from([None, "203.0.113.7", "fd00::7"]),
    st.sampled_from(["tcp", "udp"]),
)


def _says_whence(behind: Collection[ConnectionCount], origins: set[Any]) -> bool:
    """Whether all rows agree on where the login came from, and it is told who connected rather than from where."""
    inbound = {each.key.direction for each in behind} == {Direction.INBOUND}
    return len(origins) == 1 and None not in origins and not inbound


def _values(behind: Collection[ConnectionCount]) -> dict[str, set[str]]:
    """Some of the fields of rows, as alerts keep them."""
    found: dict[str, set[Any]] = {
        "address": {each.key.remote_address for each in behind} - {None},
        "port": {each.key.remote_port or each.key.local_port for each in behind} - {None},
        "direction": {each.key.direction.value for each in behind},
        # Not to know it is a value as well.
        "login_address": {each.login_address or "" for each in behind},
    }
    return {name: {str(value) for value in values} for name, values in found.items() if values}


def _said(engine: Engine, alert_id: int) -> dict[str, set[str]]:
    with reading(engine) as connection:
        common: Common = connection.execute(select(alerts.c.common).where(alerts.c.alert_id == alert_id)).scalar_one()
        said = all_of(connection, {alert_id: common}, fields=["address", "port", "direction", "login_address"])
    assert {name for name, values in said[alert_id].items() if len(values) > 1} == {
        name for name in said[alert_id] if common[name] is None
    }
    return said[alert_id]


def _seconds(host: Host, ref: SnapshotRef, *found: Finding, learning: Learning | None = None) -> float:
    # The processor's time: what else the machine does at the moment must not fail the test; nor must the measurement of
    # coverage, which takes as long as the work itself.
    tracer = sys.gettrace()
    sys.settrace(None)
    start = time.process_time()
    try:
        with uncollected():  # as detection has it
            host.record(ref, *found, learning=learning)
        return time.process_time() - start
    finally:
        sys.settrace(tracer)


def _wiped(engine: Engine) -> Engine:
    with writing(engine) as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))
    return engine


@pytest.fixture(scope="module")
def two_engines() -> Iterator[tuple[Engine, Engine]]:
    """Two databases in memory."""
    engines = open_store("sqlite://"), open_store("sqlite://")
    for engine in engines:
        with writing(engine) as connection:
            metadata.create_all(connection)
    yield engines
    for engine in engines:
        engine.dispose()


@settings(max_examples=examples(40))
@given(data=st.data())
def test_totals_are_those_of_the_distinct_rows(two_engines: tuple[Engine, Engine], data: st.DataObject) -> None:
    """Whatever findings name which rows, in whatever order and however often, totals are exact, each finding has its
    reason, and the contents are the same.
    """
    one, other = (Host(_wiped(engine)) for engine in two_engines)
    snapshots = data.draw(st.integers(1, 4))
    everything: dict[str, dict[EvidenceRef, ConnectionCount]] = {"a" * 32: {}, "b" * 32: {}}
    known: dict[EvidenceRef, ConnectionCount] = {}
    came = set[tuple[int, str, str]]()
    for _ in range(snapshots):
        counts = data.draw(st.lists(_COUNTS, min_size=1, max_size=5, unique_by=lambda each: each.key))
        ref, _ = one.snapshot(*counts)
        other.snapshot(*counts)
        known |= {
            EvidenceRef(seq=ref.seq, key_id=row.key_id, session=row.count.session): row.count
            for row in stored(one.engine, ref)
        }
        named = st.lists(st.sampled_from(sorted(known, key=repr)), min_size=1, max_size=8)
        found = [
            finding(ref, data.draw(named), rule_id=rule, fingerprint=fingerprint)
            for rule, fingerprint in data.draw(
                st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from(sorted(everything))), max_size=5)
            )
        ]
        for each in found:
            everything[each.fingerprint] |= {place: known[place] for place in each.evidence}
            came.add((ref.seq, each.rule_id, each.fingerprint))
        one.record(ref, *found)
        for _ in range(data.draw(st.integers(1, 2))):
            other.record(ref, *data.draw(st.permutations(found)))
    assert len(one.decisions()) == len(came)
    assert set(one.decisions()) <= {each.value for each in Decision}
    for alert in one.alerts():
        behind = everything[alert.fingerprint].values()
        for kind in ("attempted", "established", "refused", "timed_out", "failed"):
            assert getattr(alert, kind) == sum(getattr(each, kind) for each in behind)
        assert alert.destinations == len({each.key.remote_address for each in behind} - {None})
        assert alert.ports == len({each.key.remote_port or each.key.local_port for each in behind} - {None})
        origins = {each.login_address for each in behind}
        assert (f"(ssh from {next(iter(origins))})" in alert.summary) == _says_whence(behind, origins)
        assert _said(one.engine, alert.alert_id) == _values(behind)
    assert contents(one.engine) == contents(other.engine)


def test_many_findings_of_one_snapshot_are_never_compared_with_each_other(sqlite_engine: Engine) -> None:
    """Four times as many take four times as long, also those of the rule whose alerts a day are limited, and in hosts
    that rules wait for.
    """
    host = Host(sqlite_engine)
    took = []
    for number in (500, 2000):
        ref, rows = host.snapshot(count())
        found = [
            finding(ref, rows, rule_id=rule_id, fingerprint=f"{number:08}{rule_id[:4]}{each:020}", telling=telling)
            for rule_id, telling in ((shipped.ANOMALY_RULE, Telling()), ("late", Telling(burn_in=True)))
            for each in range(number)
        ]
        took.append(_seconds(host, ref, *found, learning=Learning(elapsed_seconds=0, required_seconds=1)))
    assert took[1] < 8 * took[0]
    assert len(host.alerts()) == MOST_A_DAY + 1
    with reading(sqlite_engine) as connection:
        assert [each.findings for each in held_of(connection, "late")] == [2500]


def test_a_full_port_scan_takes_as_much_longer_as_it_is_larger(sqlite_engine: Engine) -> None:
    """65,535 rows behind one finding take no more each than a tenth of them do, and less when they are named again."""
    host = Host(sqlite_engine)
    took = []
    for ports, fingerprint in ((6_553, "e" * 32), (65_535, "f" * 32)):
        ref = host.recorder.snapshot(*scan(1, ports))
        rows = [EvidenceRef(seq=ref.seq, key_id=key_id, session=0) for key_id in range(1, ports + 1)]
        took.append(_seconds(host, ref, finding(ref, rows, fingerprint=fingerprint)))
    assert took[1] < 20 * took[0]
    ref, _ = host.snapshot(*scan(22, 22))
    assert _seconds(host, ref, finding(ref, rows)) < took[1] / 2
    alert = next(each for each in host.alerts() if each.fingerprint == "f" * 32)
    assert (alert.attempted, alert.ports, alert.finding_count) == (65_535, 65_535, 2)
    assert "tried 65,535 ports on 127.0.0.1 in 20 s, 65,535 refused." in alert.summary
