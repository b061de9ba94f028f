"""How alerts go on: told after a wait, repeated, resolved, opened again, muted, and linked."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from detector.alerts.book import ChannelPolicy
from detector.alerts.policy import Timing
from detector.domain import AlertState, Severity, Telling
from detector.matchers import parse
from detector.store import alert_silences, answers
from detector.store.engine import reading, writing
from detector.store.tables import alert_events
from detector.store.threads import thread_of, timeline
from tests.alerts.hosts import MAIL, Host, contents, finding, scan
from tests.builders import START, Recorder, count

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.domain import SnapshotRef

_SOON = datetime(2026, 12, 31, tzinfo=START.tzinfo)


def _found(host: Host, port: int = 1, **values: Any) -> SnapshotRef:
    """A snapshot with a finding."""
    ref, rows = host.snapshot(*scan(port, port))
    host.record(ref, finding(ref, rows, **values))
    return ref


def _quiet(host: Host, **amount: float) -> SnapshotRef:
    """Time goes by, and then a snapshot without findings."""
    host.recorder.pass_time(**amount)
    ref, _ = host.snapshot(count())
    host.record(ref)
    return ref


def _events(engine: Engine) -> list[tuple[str, datetime]]:
    with reading(engine) as connection:
        columns = alert_events.c
        return [tuple(row) for row in connection.execute(select(columns.kind, columns.at).order_by(columns.event_id))]


def _silence(engine: Engine, *matchers: str, starts_at: datetime = START, ends_at: datetime = _SOON) -> int:
    with writing(engine) as connection:
        return alert_silences.add(
            connection,
            [parse(each) for each in matchers],
            starts_at=starts_at,
            ends_at=ends_at,
            author="alice",
            reason="planned",
            now=START,
        )


def test_an_alert_is_told_when_its_wait_is_over(engine: Engine) -> None:
    """What comes meanwhile belongs to it: one message, as large as it is by then, also from a quiet snapshot."""
    host = Host(engine, timing=Timing(group_wait=timedelta(seconds=30)))
    for port in (1, 2):
        _found(host, port)
    (alert,) = host.alerts()
    assert (alert.state, host.sent(alert)) == (AlertState.WAITING, [])
    assert host.decisions() == ["held by group_wait", "held by group_wait"]
    _quiet(host)
    assert host.sent(alert) == []
    _quiet(host)
    (alert,) = host.alerts()
    assert (alert.state, alert.ports, host.sent(alert)) == (AlertState.OPEN, 2, [("mail", "opened")])
    _found(host, 3)
    assert host.decisions()[-1] == "grouped"


def test_the_wait_ends_without_a_snapshot(engine: Engine) -> None:
    """Time alone tells of it; a host of which nothing comes is not known to be quiet, so that nothing is resolved."""
    host = Host(engine, timing=Timing(group_wait=timedelta(seconds=30), resolve_after=timedelta(minutes=5)))
    ref = _found(host)
    for seconds, sent in ((20, []), (31, [("mail", "opened")]), (3600, [("mail", "opened")])):
        with writing(engine) as connection:
            host.book.settle(connection, ref, now=ref.end + timedelta(seconds=seconds), quiet=False)
        (alert,) = host.alerts()
        assert host.sent(alert) == sent
    assert alert.state is AlertState.OPEN
    with writing(engine) as connection:
        host.book.settle(connection, ref, now=ref.end + timedelta(hours=1), quiet=True)
    assert host.alerts()[0].state is AlertState.RESOLVED


def test_an_alert_that_is_quiet_is_resolved_and_opens_again(engine: Engine) -> None:
    """When it had been quiet is what counts, not when it was noticed; what comes back soon is not told anew."""
    timing = Timing(resolve_after=timedelta(minutes=5), repeat_interval=timedelta(hours=4))
    host = Host(engine, cooldown=timedelta(hours=1), timing=timing)
    ref = _found(host)
    _quiet(host, minutes=4)
    assert host.alerts()[0].state is AlertState.OPEN
    _quiet(host, minutes=30)
    (alert,) = host.alerts()
    resolved = ref.end + timedelta(minutes=5)
    assert (alert.state, alert.resolved_at, alert.resolved_by) == (AlertState.RESOLVED, resolved, None)
    back = _found(host, 2)
    (alert,) = host.alerts()
    assert (alert.state, alert.resolved_at, alert.ports) == (AlertState.OPEN, None, 2)
    assert host.decisions() == ["opened", "held by cooldown"]
    assert host.sent(alert) == [("mail", "opened")]
    assert _events(engine) == [("resolved", resolved), ("reopened", back.end)]


def test_an_alert_that_goes_on_is_repeated(engine: Engine) -> None:
    """After each repeat interval, until somebody looks after it; that stays with it."""
    host = Host(engine, cooldown=timedelta(hours=2), timing=Timing(repeat_interval=timedelta(hours=1)))
    _found(host)
    for number in range(4):
        host.recorder.pass_time(minutes=40)
        if number == 2:
            with writing(engine) as connection:
                assert answers.acknowledge(connection, 1, author="alice", said="", now=START) is None
        _found(host, number + 2)
    assert host.decisions() == ["opened", "held by cooldown", "reopened", "acknowledged", "acknowledged"]
    (alert,) = host.alerts()
    assert host.sent(alert) == [("mail", "opened"), ("mail", "reopened")]
    assert (alert.acknowledged_by, alert.acknowledged_at) == ("alice", START)


def test_what_a_person_resolved_is_told_when_it_comes_back(engine: Engine) -> None:
    """Then it was not over; nor does anybody look after it any more."""
    host = Host(engine)
    _found(host)
    with writing(engine) as connection:
        assert answers.acknowledge(connection, 1, author="alice", said="mine", now=START) is None
        assert answers.resolve(connection, 1, author="alice", said="", now=START) is None
        assert answers.resolve(connection, 1, author="bob", said="", now=START) == "it is resolved already, by alice"
    _found(host, 2)
    (alert,) = host.alerts()
    assert host.sent(alert) == [("mail", "opened"), ("mail", "reopened")]
    assert (alert.state, alert.resolved_by, alert.acknowledged_by) == (AlertState.OPEN, None, None)


def test_what_becomes_worse_needs_somebody_anew(engine: Engine) -> None:
    """Whoever took on a small thing has not taken on a large one."""
    host = Host(engine)
    _found(host)
    with writing(engine) as connection:
        answers.acknowledge(connection, 1, author="alice", said="", now=START)
    _found(host, 2, severity=Severity.CRITICAL)
    (alert,) = host.alerts()
    assert host.decisions()[-1] == "raised"
    assert alert.acknowledged_by is None


def test_a_silence_mutes_and_says_so(engine: Engine) -> None:
    """Alerts stand there, with the silence that kept them from being told; when it is over, what goes on is told."""
    host = Host(engine)
    number = _silence(engine, "user=alice", "remote_address=127.0.0.0/8", ends_at=START + timedelta(seconds=30))
    for port in (1, 2):
        _found(host, port)
    (alert,) = host.alerts()
    assert host.decisions() == [f"silenced by {number}"] * 2
    assert (alert.silenced_by, host.sent(alert)) == (number, [])
    _found(host, 3)
    (alert,) = host.alerts()
    assert host.decisions()[-1] == "opened"
    assert (alert.silenced_by, host.sent(alert)) == (None, [("mail", "opened")])


def test_a_silence_mutes_only_what_is_all_about_it(engine: Engine) -> None:
    """An alert with rows of somebody else is told, and so is one of which that is not known."""
    host = Host(engine)
    _silence(engine, "user=alice")
    ref, rows = host.snapshot(*scan(1, 2), *scan(3, 4, user="mallory"))
    mine, theirs = {"fingerprint": "a" * 32, "group": {}}, {"fingerprint": "b" * 32, "group": {}}
    host.record(ref, finding(ref, rows[:2], **mine), finding(ref, rows, **theirs))
    told = {alert.fingerprint[0]: host.sent(alert) for alert in host.alerts()}
    assert told == {"a": [], "b": [("mail", "opened")]}


def test_a_silenced_alert_is_muted_when_its_wait_ends(engine: Engine) -> None:
    """Without a finding to say so its time line does."""
    host = Host(engine, timing=Timing(group_wait=timedelta(seconds=10)))
    number = _silence(engine, "rule=vertical_scan")
    _found(host)
    ref = _quiet(host)
    (alert,) = host.alerts()
    assert (alert.state, alert.silenced_by, host.sent(alert)) == (AlertState.OPEN, number, [])
    assert _events(engine) == [(f"silenced by {number}", ref.end)]


def test_a_clock_that_was_ahead_holds_nothing_up(engine: Engine) -> None:
    """An alert from a year ahead is told and resolved once the clock is right; what follows is another one."""
    host = Host(engine, timing=Timing(group_wait=timedelta(seconds=30)))
    host.recorder.now = START + timedelta(days=365)
    _found(host)
    host.recorder.now = START
    _quiet(host)
    (alert,) = host.alerts()
    assert (alert.state, host.sent(alert)) == (AlertState.RESOLVED, [("mail", "opened")])
    _found(host, 2)
    assert len(host.alerts()) == 2


def test_deaf_channels_say_why(engine: Engine) -> None:
    """A rule that names channels leaves the others out, with that reason."""
    host = Host(engine, channels=(MAIL, ChannelPolicy(name="chat", min_severity=Severity.LOW)))
    _found(host, telling=Telling(channels=("chat",)))
    (alert,) = host.alerts()
    assert host.sent(alert) == [("chat", "opened")]
    assert host.withheld(alert) == [("mail", "the rule names other channels")]


def test_a_scan_a_login_and_a_beacon_are_one_thread(engine: Engine) -> None:
    """Whoever logs in from where the scan came from is the same actor; another one is not."""
    host = Host(engine)
    kinds: dict[str, list[Any]] = {
        "a scan": [count("203.0.113.7", port, direction="inbound", established=1) for port in (22, 80)],
        "a login": [count("10.0.4.1", 22, login_address="203.0.113.7", login_user="alice")],
        "a beacon": [count("198.51.100.1", 443, login_user="alice", executable="/tmp/x", user="root")],
        "bob": [count("10.0.4.1", 22, login_user="bob", user="bob")],
    }
    for number, (title, counts) in enumerate(kinds.items()):
        host.recorder.pass_time(minutes=30)
        ref, rows = host.snapshot(*counts)
        host.record(ref, finding(ref, rows, rule_title=title, fingerprint=str(number) * 32, rule_id=str(number)))
    with reading(engine) as connection:
        alerts = {each.rule_title: each for each in host.alerts()}
        threads = {title: [each.rule_title for each in thread_of(connection, alert)] for title, alert in alerts.items()}
        story = timeline(connection, thread_of(connection, alerts["a beacon"]))
    whole = ["a scan", "a login", "a beacon"]
    assert threads == {**dict.fromkeys(whole, whole), "bob": ["bob"]}
    assert [(each.alert_id, each.kind) for each in story if each.kind == "opened"] == [
        (1, "opened"),
        (2, "opened"),
        (3, "opened"),
    ]


def test_alerts_of_one_snapshot_are_linked_in_any_order(engine: Engine) -> None:
    """Ten alerts of one person in one snapshot are one thread, however they come."""
    host, other = Host(engine), Host(engine)
    other.recorder = Recorder(engine, host="bastion-2")
    for each, backwards in ((host, False), (other, True)):
        ref, rows = each.snapshot(*scan(1, 10))
        found = [
            finding(ref, [row], fingerprint=f"{number}" * 32, rule_id=f"r{number}") for number, row in enumerate(rows)
        ]
        each.record(ref, *(found[::-1] if backwards else found))
    alerts = host.alerts()
    firsts = {each.host: each.alert_id for each in alerts if each.thread_id is None}
    assert len(firsts) == 2
    assert all(each.thread_id in (None, firsts[each.host]) for each in alerts)
    by_host = {
        name: [(each.fingerprint, each.thread_id is None) for each in alerts if each.host == name] for name in firsts
    }
    assert by_host["bastion-1"] == by_host["bastion-2"]


def test_recording_again_changes_nothing(engine: Engine) -> None:
    """Each snapshot twice, with waits, silences, resolving and reopening: all stands there as after once."""
    _silence(engine, "remote_port=3")
    timing = Timing(group_wait=timedelta(seconds=15), resolve_after=timedelta(minutes=2))
    host = Host(engine, cooldown=timedelta(hours=1), timing=timing)
    for port in (1, 2, 3, None, 4):
        host.recorder.pass_time(minutes=3 if port is None else 0)
        ref, rows = host.snapshot(*scan(port or 9, port or 9))
        found = [] if port is None else [finding(ref, rows, fingerprint="3" * 32 if port == 3 else "f" * 32)]
        host.record(ref, *found)
        before = contents(engine)
        host.record(ref, *found)
        assert contents(engine) == before


def test_three_users_who_scan_for_an_hour_are_three_alerts(sqlite_engine: Engine) -> None:
    """60,000 connects each, a thousand a minute: three alerts and a message of each, large from the start."""
    host = Host(sqlite_engine, cooldown=timedelta(hours=1))
    host.recorder.interval = timedelta(minutes=5)
    users = ("alice", "bob", "carol")
    for snapshot in range(12):
        ref, rows = host.snapshot(
            *(
                count(f"10.0.4.{number}", port, user=user, login_user=user, attempted=500, refused=500)
                for number, user in enumerate(users)
                for port in range(1 + snapshot * 10, 11 + snapshot * 10)
            )
        )
        host.record(
            ref,
            *(
                finding(ref, rows[10 * number :][:10], fingerprint=f"{number}" * 32, group={"user": user})
                for number, user in enumerate(users)
            ),
        )
    alerts = host.alerts()
    assert sorted((each.group["user"], each.attempted) for each in alerts) == [(user, 60_000) for user in users]
    assert [host.sent(each) for each in alerts] == [[("mail", "opened")]] * 3
