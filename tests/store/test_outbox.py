"""The outbox: who may take what, and what is kept of it."""

from __future__ import annotations

from datetime import timedelta
from threading import Barrier, Thread
from typing import TYPE_CHECKING

from sqlalchemy import insert

from detector.alerts.book import AlertBook, ChannelPolicy
from detector.domain import Alert, Backlog, EvidenceRef, Finding, NotificationState, Severity
from detector.store.engine import reading, writing
from detector.store.outbox import StoredOutbox, list_notifications
from detector.store.tables import notifications
from tests.builders import START, Recorder, count, stored

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Engine

    from detector.domain import Notification

NOW = START + timedelta(hours=1)
LEASE = timedelta(minutes=1)


def fill(engine: Engine, channels: Sequence[str]) -> list[int]:
    """Writes one alert and a notification for each of `channels`, in that order; their numbers."""
    recorder = Recorder(engine)
    ref = recorder.snapshot(count())
    (row,) = stored(engine, ref)
    found = Finding(
        rule_id="first_contact",
        rule_title="First contact",
        severity=Severity.HIGH,
        fingerprint="f" * 32,
        group={},
        start=ref.start,
        end=ref.end,
        evidence=(EvidenceRef(seq=ref.seq, key_id=row.key_id, session=0),),
    )
    with writing(engine) as connection:
        AlertBook([ChannelPolicy(name="first", min_severity=Severity.LOW)], timedelta(hours=1)).record(
            connection, ref, [found]
        )
        (written,) = list_notifications(connection)
        values = {
            "alert_id": written.alert_id,
            "reason": "opened",
            "state": NotificationState.PENDING,
            "attempts": 0,
            "created_at": ref.end,
            "next_attempt_at": ref.end,
        }
        connection.execute(notifications.delete())
        for channel in channels:
            connection.execute(insert(notifications).values(channel=channel, **values))
        return [each.notification_id for each in reversed(list_notifications(connection, limit=10_000))]


def take(outbox: StoredOutbox, channel: str, now: datetime = NOW, patience: int = 3) -> int | None:
    """Claims the next of a channel; its number."""
    claimed = outbox.claim(channel, now=now, leased_until=now + LEASE, patience=patience)
    return claimed[0][0].notification_id if claimed else None


def fail(outbox: StoredOutbox, number: int, error: str, again: datetime) -> None:
    """Says that sending what was taken at NOW has failed."""
    outbox.mark_failed([number], leased_until=NOW + LEASE, error=error, now=NOW, next_attempt_at=again)


def entries(engine: Engine) -> list[Notification]:
    """All notifications, the oldest first."""
    with reading(engine) as connection:
        return list_notifications(connection)[::-1]


def test_a_host_whose_clock_is_ahead_holds_up_nobody(engine: Engine) -> None:
    """Its alert is of tomorrow; it and the next host's are sent at once."""
    book = AlertBook([ChannelPolicy(name="mail", min_severity=Severity.LOW)], timedelta(hours=1))
    for host, now in (("ahead", NOW + timedelta(days=1)), ("right", NOW)):
        ref = Recorder(engine, host=host, now=now).snapshot(count())
        found = Finding(
            rule_id="r",
            rule_title="t",
            severity=Severity.HIGH,
            fingerprint=host,
            group={},
            start=ref.start,
            end=ref.end,
            evidence=(EvidenceRef(seq=ref.seq, key_id=1, session=0),),
        )
        with writing(engine) as connection:
            book.record(connection, ref, [found])
    outbox = StoredOutbox(engine)
    sent = []
    while claimed := outbox.claim("mail", now=NOW, leased_until=NOW + LEASE, patience=3):
        ((notification, alert),) = claimed
        assert isinstance(alert, Alert)
        sent.append(alert.host)
        outbox.mark_delivered([notification.notification_id], now=NOW)
    assert sent == ["ahead", "right"]


def test_a_channels_notifications_come_in_order(engine: Engine) -> None:
    """The next one is only given out once the one before it is delivered."""
    one, two = fill(engine, ["mail", "mail"])
    outbox = StoredOutbox(engine)
    assert take(outbox, "mail") == one
    assert take(outbox, "mail") is None
    outbox.mark_delivered([one], now=NOW)
    assert take(outbox, "mail") == two


def test_the_alert_comes_with_it(engine: Engine) -> None:
    """A claim gives the notification as it was, and the alert that it is about."""
    (one,) = fill(engine, ["mail"])
    ((notification, alert),) = StoredOutbox(engine).claim("mail", now=NOW, leased_until=NOW + LEASE, patience=3)
    assert notification.notification_id == one
    assert isinstance(alert, Alert)
    assert alert.alert_id == notification.alert_id
    assert alert.rule_id == "first_contact"


def test_channels_do_not_wait_for_one_another(engine: Engine) -> None:
    """A notification under way or failed holds up its own channel alone."""
    mail, slack, _ = fill(engine, ["mail", "slack", "mail"])
    outbox = StoredOutbox(engine)
    assert list(outbox.due_channels(NOW)) == ["mail", "slack"]
    assert take(outbox, "mail") == mail
    assert take(outbox, "slack") == slack
    fail(outbox, mail, "away", NOW + timedelta(seconds=15))
    assert take(outbox, "mail") is None


def test_a_failed_one_comes_again_at_its_time(engine: Engine) -> None:
    """It is kept with its error and the number of attempts, and is due again when it should be."""
    (one,) = fill(engine, ["mail"])
    outbox = StoredOutbox(engine)
    assert take(outbox, "mail") == one
    again = NOW + timedelta(seconds=15)
    fail(outbox, one, "451 try later", again)
    (entry,) = entries(engine)
    assert (entry.state, entry.attempts, entry.last_error) == (NotificationState.PENDING, 1, "451 try later")
    assert list(outbox.due_channels(again - timedelta(seconds=1))) == []
    assert take(outbox, "mail", again) == one


def test_what_a_dead_process_had_taken_comes_again(engine: Engine) -> None:
    """A claim without an answer ends with its lease, not before."""
    (one,) = fill(engine, ["mail"])
    assert take(StoredOutbox(engine), "mail") == one
    survivor = StoredOutbox(engine)
    assert take(survivor, "mail", NOW + LEASE - timedelta(seconds=1)) is None
    assert take(survivor, "mail", NOW + LEASE) == one


def test_a_clock_that_was_ahead_for_a_while_puts_nothing_off(engine: Engine) -> None:
    """A year ahead, one is tried in vain and another taken by a process that dies; put right, both are sent."""
    one, two = fill(engine, ["mail", "pager"])
    outbox = StoredOutbox(engine)
    ahead = NOW + timedelta(days=365)
    assert take(outbox, "mail", ahead) == one
    outbox.mark_failed(
        [one], leased_until=ahead + LEASE, error="451", now=ahead, next_attempt_at=ahead + timedelta(minutes=1)
    )
    assert take(outbox, "pager", ahead) == two
    assert outbox.due_channels(NOW) == ["mail", "pager"]
    assert take(outbox, "mail") == one
    assert take(outbox, "pager") == two


def test_what_was_sent_while_the_clock_was_ahead_counts_for_no_limit_later(engine: Engine) -> None:
    """Else a channel that takes so many messages an hour would be shut until that hour has come."""
    one, two = fill(engine, ["mail", "mail"])
    outbox = StoredOutbox(engine)
    outbox.mark_delivered([one], now=NOW + timedelta(days=365))
    seen: list[Backlog] = []

    def share(backlog: Backlog) -> int:
        seen.append(backlog)
        return 1

    (claimed,) = outbox.claim("mail", now=NOW, leased_until=NOW + LEASE, patience=3, share=share)
    assert claimed[0].notification_id == two
    assert seen == [Backlog(waiting=1, last_minute=0, last_hour=0)]


def test_one_that_fails_too_often_is_overtaken(engine: Engine) -> None:
    """After as many failures as there is patience, those behind it are sent; it still comes at its time."""
    bad, good = fill(engine, ["mail", "mail"])
    outbox = StoredOutbox(engine)
    for _ in range(2):
        assert take(outbox, "mail") == bad
        fail(outbox, bad, "400", NOW)
    assert take(outbox, "mail") == bad
    assert take(outbox, "mail") is None
    fail(outbox, bad, "400", NOW + timedelta(hours=1))
    assert take(outbox, "mail") == good
    assert take(outbox, "mail", NOW + timedelta(hours=1)) == bad


def test_a_delivered_one_stays_delivered(engine: Engine) -> None:
    """Another process whose lease ran out cannot bring it back; a success stands, even over a failure."""
    one, two = fill(engine, ["mail", "slack"])
    outbox = StoredOutbox(engine)
    outbox.mark_delivered([one], now=NOW)
    fail(outbox, one, "late", NOW)
    outbox.mark_dead([one], leased_until=NOW + LEASE, error="late", now=NOW)
    assert take(outbox, "slack") == two
    outbox.mark_dead([two], leased_until=NOW + LEASE, error="gone", now=NOW)
    first, second = entries(engine)
    assert (first.state, first.delivered_at, first.last_error) == (NotificationState.DELIVERED, NOW, None)
    assert (second.state, second.attempts, second.last_error) == (NotificationState.DEAD, 1, "gone")
    outbox.mark_delivered([two], now=NOW)
    assert entries(engine)[1].state is NotificationState.DELIVERED


def test_the_dead_are_kept_and_listed(engine: Engine) -> None:
    """What was given up is not due any more, and can be found."""
    one, two = fill(engine, ["mail", "mail"])
    outbox = StoredOutbox(engine)
    assert take(outbox, "mail") == one
    outbox.mark_dead([one], leased_until=NOW + LEASE, error="550 no such user", now=NOW)
    assert take(outbox, "mail") == two
    with reading(engine) as connection:
        (dead,) = list_notifications(connection, state=NotificationState.DEAD)
        assert [each.notification_id for each in list_notifications(connection, limit=1)] == [two]
    assert (dead.notification_id, dead.last_error) == (one, "550 no such user")


def test_two_processes_never_take_the_same(engine: Engine) -> None:
    """Several that empty the outbox at the same time deliver each notification once, in order for each channel."""
    numbers = fill(engine, ["mail", "slack", "pager"] * 20)
    barrier = Barrier(4)
    sent: list[tuple[str, int]] = []

    def work() -> None:
        outbox = StoredOutbox(engine)
        barrier.wait()
        while channels := outbox.due_channels(NOW):
            for channel in channels:
                number = take(outbox, channel)
                if number is not None:
                    sent.append((channel, number))
                    outbox.mark_delivered([number], now=NOW)

    workers = [Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(number for _, number in sent) == numbers
    for channel in ("mail", "slack", "pager"):
        of_channel = [number for name, number in sent if name == channel]
        assert of_channel == sorted(of_channel)


def test_only_who_holds_it_may_say_that_it_failed(engine: Engine) -> None:
    """A process whose lease ran out does not take from another what that is sending."""
    (one,) = fill(engine, ["mail"])
    outbox = StoredOutbox(engine)
    assert take(outbox, "mail") == one
    assert take(outbox, "mail", NOW + LEASE) == one
    fail(outbox, one, "late", NOW)
    assert take(outbox, "mail", NOW + LEASE) is None
    assert entries(engine)[0].attempts == 0


def test_several_are_taken_together(engine: Engine) -> None:
    """As many as are asked for, in order, and no more than have room; one message counts once."""
    numbers = fill(engine, ["mail"] * 5)
    outbox = StoredOutbox(engine)
    seen: list[Backlog] = []

    def share(backlog: Backlog) -> int:
        seen.append(backlog)
        return 4 if len(seen) == 1 else 0

    claimed = outbox.claim(
        "mail", now=NOW, leased_until=NOW + LEASE, patience=3, share=share, fitting=lambda found: len(found) - 1
    )
    assert [each.notification_id for each, _ in claimed] == numbers[:3]
    outbox.mark_delivered(numbers[:3], now=NOW)
    assert take(outbox, "mail") == numbers[3]
    outbox.mark_delivered(numbers[3:4], now=NOW)
    assert [each.told_with for each in entries(engine)] == [numbers[0]] * 3 + [None, None]
    assert outbox.claim("mail", now=NOW, leased_until=NOW + LEASE, patience=3, share=share) == []
    assert seen == [Backlog(waiting=5, last_minute=0, last_hour=0), Backlog(waiting=1, last_minute=2, last_hour=2)]
