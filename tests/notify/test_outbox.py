"""Delivery of what is due: every notification, in order, whatever a channel does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from detector.domain import NotificationState
from detector.notify.limits import UNLIMITED, RateLimit
from detector.notify.outbox import deliver_channel
from detector.store.engine import writing
from detector.store.outbox import StoredOutbox
from tests.notify.samples import POLICY, Clock, Receiver, enqueue, entries

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.notify.message import Message
    from detector.notify.outbox import FailedDelivery, Notifier


@dataclass(frozen=True)
class Pass:
    """What one pass over all channels did."""

    delivered: int
    failures: tuple[FailedDelivery, ...]


def deliver(engine: Engine, clock: Clock, limit: RateLimit = UNLIMITED, **notifiers: Notifier) -> Pass:
    """One pass over the outbox; everything is made anew, as after a restart."""
    outbox = StoredOutbox(engine)
    done = [
        deliver_channel(outbox, name, notifiers.get(name), clock=clock, policy=POLICY, limit=limit)
        for name in outbox.due_channels(clock())
    ]
    return Pass(sum(each.delivered for each in done), tuple(each.failure for each in done if each.failure))


def test_all_that_is_due_is_sent_in_order(engine: Engine) -> None:
    """Each channel gets each alert once, the oldest first."""
    enqueue(engine, channels=("mail", "slack"), titles=("one", "two", "three"))
    mail, slack = Receiver(), Receiver()
    report = deliver(engine, Clock(), mail=mail, slack=slack)
    expected = [f"[high] bastion-1: {title}" for title in ("one", "two", "three")]
    assert mail.titles == slack.titles == expected
    assert (report.delivered, report.failures) == (6, ())
    assert deliver(engine, Clock(), mail=mail, slack=slack).delivered == 0
    assert {(each.state, each.attempts) for each in entries(engine)} == {(NotificationState.DELIVERED, 1)}


def test_a_failing_channel_holds_up_no_other(engine: Engine) -> None:
    """It is asked once a pass; the others get everything."""
    enqueue(engine, channels=("broken", "mail"), titles=("one", "two", "three"))
    broken, mail = Receiver(error="away"), Receiver()
    report = deliver(engine, Clock(), broken=broken, mail=mail)
    assert len(mail.titles) == 3
    assert broken.attempts == 1
    (failure,) = report.failures
    assert (failure.notifications[0].channel, failure.error, failure.dead) == ("broken", "away", ())


def test_what_failed_comes_again_in_order(engine: Engine) -> None:
    """Nothing is tried before its time; when the channel is back, all come in the order in which they were written."""
    enqueue(engine, titles=("one", "two"))
    mail, clock = Receiver(error="away"), Clock()
    assert len(deliver(engine, clock, mail=mail).failures) == 1
    clock.pass_time(seconds=5)
    assert deliver(engine, clock, mail=mail).failures == ()
    clock.pass_time(seconds=10)
    assert len(deliver(engine, clock, mail=mail).failures) == 1
    mail.error = None
    clock.pass_time(seconds=30)
    assert deliver(engine, clock, mail=mail).delivered == 2
    assert mail.titles == ["[high] bastion-1: one", "[high] bastion-1: two"]
    assert [each.attempts for each in entries(engine)] == [3, 1]


def test_one_bad_message_does_not_stop_a_channel(engine: Engine) -> None:
    """A message that the channel refuses for ever is overtaken after some failures."""
    enqueue(engine, titles=("refused", "good"))
    clock = Clock()

    class Picky(Receiver):
        takes_pictures = False
        shows_html = False

        def send(self, message: Message) -> None:
            self.error = "400 Bad Request" if "refused" in message.title else None
            super().send(message)

    picky = Picky()
    for _ in range(POLICY.patience):
        assert picky.titles == []
        deliver(engine, clock, mail=picky)
        clock.pass_time(hours=1)
    deliver(engine, clock, mail=picky)
    deliver(engine, clock, mail=picky)
    assert picky.titles == ["[high] bastion-1: good"]


def test_a_message_that_cannot_be_written_does_not_stop_a_channel(sqlite_engine: Engine) -> None:
    """Somebody has changed its row: it is tried again, with a reason, and all others are told."""
    enqueue(sqlite_engine, titles=("One", "Two"))
    with writing(sqlite_engine) as connection:
        connection.execute(text("UPDATE alerts SET attempted = 'many' WHERE alert_id = 1"))
    channel, clock = Receiver(), Clock()
    for _ in range(POLICY.patience):
        (failure,) = deliver(sqlite_engine, clock, mail=channel).failures
        assert failure.error.startswith("its message could not be written: ValueError")
        clock.pass_time(hours=1)
    deliver(sqlite_engine, clock, mail=channel)
    deliver(sqlite_engine, clock, mail=channel)
    assert channel.titles == ["[high] bastion-1: Two"]


def test_after_the_stated_time_it_is_dead(engine: Engine) -> None:
    """It is tried for as long as the policy says, then kept as dead with its last error."""
    enqueue(engine)
    mail, clock = Receiver(error="550 no such user"), Clock()
    deaths = []
    for _ in range(80):
        deaths += [each for each in deliver(engine, clock, mail=mail).failures if each.dead]
        clock.pass_time(hours=1)
    (entry,) = entries(engine)
    assert (entry.state, entry.last_error) == (NotificationState.DEAD, "550 no such user")
    assert [each.notifications[0].notification_id for each in deaths] == [entry.notification_id]
    assert 70 <= entry.attempts <= 75
    assert mail.attempts == entry.attempts


def test_a_channel_that_is_gone_is_a_failure_with_that_reason(engine: Engine) -> None:
    """A notification for a channel that the configuration no longer names says so, and waits for it."""
    enqueue(engine, channels=("old",))
    clock = Clock()
    assert [each.error for each in deliver(engine, clock).failures] == [
        "there is no channel 'old' in the configuration"
    ]
    clock.pass_time(minutes=1)
    assert deliver(engine, clock, old=Receiver()).delivered == 1


def test_an_alert_that_grew_while_it_waited_is_told_as_it_is_now(engine: Engine) -> None:
    """A late message tells the present state of the alert, and why it was sent."""
    clock, mail = Clock(), Receiver(error="away")
    enqueue(engine, fingerprint="f" * 32)
    deliver(engine, clock, mail=mail)
    enqueue(engine, fingerprint="f" * 32)
    mail.error = None
    clock.pass_time(seconds=15)
    assert deliver(engine, clock, mail=mail).delivered == 1
    (text,) = mail.texts
    assert "made 2 connects to 10.0.4.12:22 in 30 s, 2 established." in text
    assert "Sent because: opened" in text


def test_a_pass_ends_early_when_told(engine: Engine) -> None:
    """Stopping is asked before each attempt; what was not sent stays due."""
    enqueue(engine, titles=("one", "two", "three"))
    mail = Receiver()
    report = deliver_channel(
        StoredOutbox(engine), "mail", mail, clock=Clock(), policy=POLICY, stopping=lambda: mail.attempts >= 2
    )
    assert report.delivered == 2
    assert deliver(engine, Clock(), mail=mail).delivered == 1


def test_slow_delivery_does_not_outlive_its_lease(engine: Engine) -> None:
    """Each claim's lease counts from the moment of the claim, not from the beginning of the pass."""
    enqueue(engine, titles=("one", "two"))
    clock = Clock()
    leases = []

    class Slow(Receiver):
        takes_pictures = False
        shows_html = False

        def send(self, message: Message) -> None:
            leases.append(max(each.leased_until for each in entries(engine) if each.leased_until) - clock.now)
            clock.pass_time(minutes=10)
            super().send(message)

    deliver(engine, clock, mail=Slow())
    assert leases == [timedelta(minutes=2)] * 2


def test_what_is_over_the_limit_is_told_together(engine: Engine) -> None:
    """Nothing is lost, and no more messages are sent than the channel takes: one tells of several, each by number."""
    enqueue(engine, titles=[f"Scan {number}" for number in range(8)])
    clock, mail = Clock(), Receiver()
    limit = RateLimit(per_minute=3, per_hour=4)
    assert deliver(engine, clock, limit, mail=mail).delivered == 8
    assert mail.titles == ["[high] bastion-1: 8 alerts"]
    assert mail.texts[0].splitlines()[1] == "- alert 1 [high] bastion-1: Scan 0 (opened)"
    assert {each.told_with for each in entries(engine)} == {1}

    enqueue(engine, titles=("one", "two"))
    deliver(engine, clock, limit, mail=mail)
    assert mail.titles[1:] == ["[high] bastion-1: one", "[high] bastion-1: two"]
    enqueue(engine, titles=("three", "four"))
    clock.pass_time(seconds=61)
    deliver(engine, clock, limit, mail=mail)
    assert mail.titles[3:] == ["[high] bastion-1: 2 alerts"]


def test_over_the_limit_everything_waits(engine: Engine) -> None:
    """When the last message of the hour is sent, the rest stays due until the hour is over."""
    limit, clock, mail = RateLimit(per_hour=1), Clock(), Receiver()
    enqueue(engine, titles=("one",))
    deliver(engine, clock, limit, mail=mail)
    enqueue(engine, titles=("two", "three"))
    clock.pass_time(minutes=59)
    assert deliver(engine, clock, limit, mail=mail) == Pass(0, ())
    clock.pass_time(minutes=1)
    assert deliver(engine, clock, limit, mail=mail).delivered == 2
    assert mail.titles == ["[high] bastion-1: one", "[high] bastion-1: 2 alerts"]


def test_a_digest_that_fails_comes_again_whole(engine: Engine) -> None:
    """All of its alerts are tried again, in order, at the same time."""
    limit, clock, mail = RateLimit(per_minute=1), Clock(), Receiver(error="away")
    enqueue(engine, titles=("one", "two", "three"))
    (failure,) = deliver(engine, clock, limit, mail=mail).failures
    assert len(failure.notifications) == 3
    assert len({each.next_attempt_at for each in entries(engine)}) == 1
    mail.error = None
    clock.pass_time(seconds=15)
    assert deliver(engine, clock, limit, mail=mail).delivered == 3
    assert mail.titles == ["[high] bastion-1: 3 alerts"]
    assert {(each.attempts, each.last_error) for each in entries(engine)} == {(2, "away")}


def test_what_is_young_outlives_the_old_that_it_was_told_with(engine: Engine) -> None:
    """A digest that fails gives up only those of its alerts whose own time is over."""
    limit, clock, mail = RateLimit(per_minute=1), Clock(), Receiver(error="away")
    enqueue(engine, titles=("old",))
    for _ in range(POLICY.patience - 1):
        deliver(engine, clock, limit, mail=mail)
        clock.pass_time(hours=20)
    enqueue(engine, titles=("young",), after=timedelta(hours=99))
    (failure,) = deliver(engine, clock, limit, mail=mail).failures
    assert len(failure.notifications) == 2
    assert [each.notification_id for each in failure.dead] == [1]
    assert [each.state for each in entries(engine)] == [NotificationState.DEAD, NotificationState.PENDING]
