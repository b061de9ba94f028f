"""What is told that is no alert: once, in its place among the alerts, and kept as long as it says what was told."""

from __future__ import annotations

from datetime import timedelta
from threading import Thread
from typing import TYPE_CHECKING, Any

from detector.domain import Alert, Notice, NotificationState, Severity
from detector.notify.outbox import deliver_channel
from detector.store import notices
from detector.store.engine import reading, writing
from detector.store.outbox import StoredOutbox
from tests.builders import START
from tests.notify.samples import POLICY, Clock, Receiver, enqueue, entries

if TYPE_CHECKING:
    from sqlalchemy import Engine

NOW = START + timedelta(minutes=1)
CONTENT = {"title": "Silence 3 ends today", "lines": ["It was for <b>maintenance</b>.", "See: detector silence list"]}


def tell(engine: Engine, **values: Any) -> int | None:
    """Tells of the end of a silence; other values by name."""
    told: dict[str, Any] = {"kind": "ending", "subject": "3", "content": CONTENT, "channels": ["mail"], "now": NOW}
    with writing(engine) as connection:
        return notices.tell(connection, **told | values)


def test_a_notice_is_told_once(engine: Engine) -> None:
    """Whoever comes second writes nothing, and is told so; another subject or kind is another notice."""
    first = tell(engine)
    assert first is not None
    assert tell(engine, content={"title": "another"}) is None
    assert tell(engine, subject="4") not in {None, first}
    assert tell(engine, kind="beginning") not in {None, first}
    assert [each.notice_id is None for each in entries(engine)] == [False] * 3
    with reading(engine) as connection:
        assert notices.read(connection, first) == Notice(
            notice_id=first,
            kind="ending",
            subject="3",
            severity=Severity.INFORMATIONAL,
            created_at=NOW,
            content=CONTENT,
        )


def test_many_at_once_tell_it_once(engine: Engine) -> None:
    """Of workers that write it at the same moment one does."""
    told: list[int | None] = []
    threads = [Thread(target=lambda: told.append(tell(engine))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 4
    assert len([each for each in told if each is not None]) == 1
    assert len(entries(engine)) == 1


def test_a_notice_has_its_place_among_the_alerts(engine: Engine) -> None:
    """Alerts that share a message do not overtake it, and it shares none."""
    enqueue(engine, titles=("one", "two"))
    tell(engine)
    enqueue(engine, titles=("three",))
    outbox, sent = StoredOutbox(engine), []
    while claimed := outbox.claim(
        "mail", now=NOW, leased_until=NOW + timedelta(minutes=1), patience=6, share=lambda _: 10
    ):
        sent.append([told.rule_title if isinstance(told, Alert) else told.subject for _, told in claimed])
        outbox.mark_delivered([each.notification_id for each, _ in claimed], now=NOW)
    assert sent == [["one", "two"], ["3"], ["three"]]


def test_a_notice_is_a_message(engine: Engine) -> None:
    """It has its title and its lines, and comes again until it is taken."""
    tell(engine)
    clock, receiver = Clock(), Receiver(error="away")
    for _ in range(2):
        deliver_channel(StoredOutbox(engine), "mail", receiver, clock=clock, policy=POLICY)
        receiver.error = None
        clock.pass_time(seconds=20)
    assert receiver.titles == ["Silence 3 ends today"]
    assert receiver.texts == ["It was for <b>maintenance</b>.\nSee: detector silence list"]
    (sent,) = entries(engine)
    assert (sent.state, sent.attempts, sent.reason) == (NotificationState.DELIVERED, 2, "ending")


def test_what_was_told_last_is_known_for_good(engine: Engine) -> None:
    """Old notices go, but for those that still have to be sent, and the newest of each kind."""
    with writing(engine) as connection:
        notices.begin(connection, kind="ending", subject="2", now=NOW)
    tell(engine)
    tell(engine, subject="4", channels=[])
    tell(engine, subject="5", channels=[])
    with writing(engine) as connection:
        notices.forget(connection, before=NOW + timedelta(days=400))
    with reading(engine) as connection:
        newest = notices.newest(connection, "ending")
        assert newest is not None
        assert newest.subject == "5"
        left = [notices.read(connection, number) for number in range(1, 5)]
    assert [each.subject for each in left if each is not None] == ["3", "5"]
