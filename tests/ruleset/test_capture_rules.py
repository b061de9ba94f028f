"""Rules about capture: each snapshot is one event, and is its own evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event as sql_event

from detector import shipped
from detector.domain import CaptureHealth, EvidenceRef, Losses
from detector.ruleset.categories import CATEGORIES
from detector.ruleset.load import load_rules
from tests.builders import Recorder, count, observe
from tests.ruleset.writing import CAPTURE, correlation, evaluated, event, loaded, rule_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from detector.domain import ConnectionCount, SnapshotRef


def test_a_snapshot_is_one_event(engine: Engine, tmp_path: Path) -> None:
    """A snapshot that matches is one finding about its host, whatever was counted in it; its evidence is itself."""
    rules = loaded(tmp_path, event({"Lost|gte": 3, "SelfTest": "passed"}, logsource=CAPTURE))
    recorder = Recorder(engine)
    passed = CaptureHealth(self_test_passed=True)
    for counts in ((), (count(), count(port=80))):
        assert evaluated(engine, rules, recorder.snapshot(*counts, losses=Losses(missed=2), health=passed)) == []
        ref = recorder.snapshot(*counts, losses=Losses(missed=2, inbound=1), health=passed)
        (finding,) = evaluated(engine, rules, ref)
        assert finding.group == {"host": "bastion-1"}
        assert (finding.start, finding.end) == (ref.start, ref.end)
        assert finding.evidence == (EvidenceRef(seq=ref.seq, key_id=0, session=0),)


def test_folded_counts_and_names_are_no_losses_but_incomplete(engine: Engine, tmp_path: Path) -> None:
    """What was counted without its destination is not lost; a snapshot with it is not complete."""
    rules = loaded(
        tmp_path,
        event({"Lost|gt": 0}, number=1, logsource=CAPTURE),
        event({"Complete": False}, number=2, logsource=CAPTURE),
    )
    recorder = Recorder(engine)
    for losses, expected in (
        (Losses(folded=9), [2]),
        (Losses(names=9), [2]),
        (Losses(unnumbered=9), [1, 2]),
        (Losses(), []),
    ):
        found = evaluated(engine, rules, recorder.snapshot(losses=losses))
        assert [finding.rule_id for finding in found] == [rule_id(number) for number in expected]


def test_every_loss_has_a_field() -> None:
    """Whatever a snapshot may lose, a rule can ask for it by the name of its column."""
    words = {field.word for field in CATEGORIES["capture"].fields.values()}
    assert {f"lost_{kind}" for kind in Losses.__dataclass_fields__} <= words


def test_snapshots_are_counted_over_a_window(engine: Engine, tmp_path: Path) -> None:
    """A correlation counts each snapshot once, whatever it lost; its evidence is all of them."""
    rules = loaded(
        tmp_path,
        event({"Lost|gt": 0}, logsource=CAPTURE),
        correlation(["Host"], {"gte": 3}, timespan="1m"),
    )
    recorder = Recorder(engine)
    bad = Losses(attempted=1000)
    refs = [recorder.snapshot(count(), losses=losses) for losses in (bad, Losses(), bad, bad, bad)]
    found = [evaluated(engine, rules, ref) for ref in refs]
    assert [len(findings) for findings in found] == [0, 0, 0, 1, 1]
    assert [each.seq for each in found[4][0].evidence] == [1, 3, 4, 5]
    assert found[4][0].group == {"host": "bastion-1"}


def _statements(engine: Engine, rules: Any, ref: SnapshotRef) -> list[tuple[str, Any]]:
    seen: list[tuple[str, Any]] = []

    def remember(_c: Connection, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.startswith("SELECT"):
            seen.append((statement, parameters))

    sql_event.listen(engine, "before_cursor_execute", remember)
    assert evaluated(engine, rules, ref)
    sql_event.remove(engine, "before_cursor_execute", remember)
    return seen


def test_capture_rules_look_at_one_row(sqlite_engine: Engine, tmp_path: Path) -> None:
    """They reach the snapshot by its primary key, and read no connections."""
    rules = loaded(tmp_path, event({"Complete": False}, logsource=CAPTURE, group_by=["SelfTest"]))
    ref = Recorder(sqlite_engine).snapshot(count(), losses=Losses(missed=1))
    ((statement, parameters),) = _statements(sqlite_engine, rules, ref)
    with sqlite_engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    assert [row.detail for row in plan] == ["SEARCH snapshots USING PRIMARY KEY (host_id=? AND seq=? AND end=?)"]


def test_only_what_a_rule_names_is_joined(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Where logins came from and what destinations are called is read by rules that ask for it, and by no others."""
    ref = Recorder(sqlite_engine).snapshot(count(login_address="198.51.100.7", remote_name="db.example.org"))
    for selection, tables in (
        ({"User": "alice"}, set()),
        ({"LoginIp|exists": True}, {"login_origins"}),
        ({"DestinationHostname": "db*"}, {"destination_names"}),
    ):
        ((statement, _),) = _statements(sqlite_engine, loaded(tmp_path, event(selection)), ref)
        assert {name for name in ("login_origins", "destination_names") if name in statement} == tables


def _busy_but_healthy(turn: int) -> Iterator[ConnectionCount]:
    """A bastion with a DNS resolver of its own that serves others, monitoring by ping, and people at work."""
    unbound: dict[str, Any] = {"executable": "/usr/sbin/unbound", "user": "unbound", "login_user": None}
    for number in range(40):
        yield count(f"198.51.100.{(turn * 40 + number) % 250}", 53, protocol="udp", **unbound)
        yield count(f"10.0.7.{number}", 32768 + (turn * 977 + number * 131) % 28000, protocol="udp", **unbound)
    yield count("127.0.0.1", 40000 + turn, protocol="udp", executable="/usr/lib/systemd/systemd-resolved")
    yield count("10.0.0.2", 53, protocol="udp", executable="/usr/bin/curl", attempted=4000)
    yield count("10.0.4.1", None, protocol="icmp", executable="/usr/bin/ping")
    yield count(None, None, protocol="packet", executable="/usr/sbin/dhclient", login_user=None)
    if turn % 6 == 0:
        yield count("10.0.4.12", 22, login_address="203.0.113.7")
    yield count("203.0.113.7", 22, direction="inbound", executable="/usr/sbin/sshd", user="root", established=1)


@pytest.mark.parametrize("pause", [0, 20, 45], ids=["runs", "restarted", "upgraded"])
def test_the_shipped_rules_are_quiet_on_a_healthy_host(sqlite_engine: Engine, pause: int) -> None:
    """Minutes of work, with a restart of the service in it: nobody is told anything."""
    rules = load_rules([shipped.folder("rules")]).ruleset
    recorder = Recorder(sqlite_engine)
    healthy = CaptureHealth(self_test_passed=True, late_seconds=0.02, unseen=("names of destinations",))
    for turn in range(70):
        losses = Losses()
        if turn == 35:
            recorder.pass_time(seconds=pause)
            # Of connects that were under way when capture began again.
            losses = Losses(unmatched=2 if pause else 0)
        ref = recorder.snapshot(*_busy_but_healthy(turn), losses=losses, health=healthy)
        observe(sqlite_engine, ref)
        assert evaluated(sqlite_engine, rules, ref) == []
