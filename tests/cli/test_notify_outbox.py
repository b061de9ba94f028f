"""`detector notify status` and `detector notify resend`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from detector.config_escalations import Escalation
from detector.domain import NotificationState
from detector.service.escalating import Escalating
from detector.store.outbox import StoredOutbox
from tests.notify.samples import enqueue, entries

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.cli.conftest import Call

LEASE = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with two channels."""
    path = tmp_path / "detector.toml"
    channel = '[[channels]]\nname = "{}"\nurl = "json://127.0.0.1/s3cret"\n'
    path.write_text(channel.format("mail") + channel.format("slack"))
    return path


def _give_up(engine: Engine, channel: str, error: str) -> int:
    """Has the first notification of a channel fail for the last time; its number."""
    outbox, now = StoredOutbox(engine), datetime.now(UTC)
    ((notification, _),) = outbox.claim(channel, now=now, leased_until=LEASE, patience=9)
    outbox.mark_dead([notification.notification_id], leased_until=LEASE, error=error, now=now)
    return notification.notification_id


def test_the_state_of_each_channel_is_shown(call: Call, engine: Engine, file: Path) -> None:
    """What waits, what was given up and why, and what was taken; also of a channel that is gone, or had nothing."""
    enqueue(engine, channels=("mail", "old"), titles=("one", "two"))
    _give_up(engine, "mail", "550 \x1b[31mno such user")
    now = datetime.now(UTC)
    outbox = StoredOutbox(engine)
    ((taken, _),) = outbox.claim("mail", now=now, leased_until=LEASE, patience=9)
    outbox.mark_delivered([taken.notification_id], now=now)

    table = call("--config", file, "notify", "status")
    shown = {each["channel"]: each for each in json.loads(call("--config", file, "notify", "status", "--json").out)}

    assert list(shown) == ["mail", "slack", "console", "old"]
    mail, old = shown["mail"], shown["old"]
    assert (mail["waiting"], mail["dead"], mail["delivered"], mail["messages_last_minute"]) == (0, 1, 1, 1)
    assert (mail["last_error"], mail["messages_per_minute"]) == ("550 \x1b[31mno such user", 20)
    assert (old["waiting"], old["configured"], shown["slack"]["waiting"]) == (2, False, 0)
    assert r"550 \x1b[31mno such user" in table.out
    assert "1 of 20/min, 1 of 200/h" in table.out
    assert "old (not configured)" in table.out
    assert "detector notify resend --dead" in table.out
    assert "s3cret" not in table.out


def test_the_dead_are_sent_once_more(call: Call, engine: Engine, file: Path) -> None:
    """They are due at once, before what is newer, and are tried for as long as at first; others are left alone."""
    enqueue(engine, channels=("mail", "slack"), titles=("one", "two"))
    dead = _give_up(engine, "mail", "550 no")
    assert call("--config", file, "notify", "resend", "--dead").out.startswith("1 notification sent once more, 0 tried")
    (entry,) = (each for each in entries(engine) if each.notification_id == dead)
    assert (entry.state, entry.attempts) == (NotificationState.PENDING, 0)
    assert datetime.now(UTC) - entry.created_at < timedelta(minutes=1)
    outbox, now = StoredOutbox(engine), datetime.now(UTC)
    ((first, _),) = outbox.claim("mail", now=now, leased_until=LEASE, patience=9)
    assert first.notification_id == dead


def test_what_waits_is_tried_at_once_and_what_is_under_way_is_left_alone(
    call: Call, engine: Engine, file: Path
) -> None:
    """`--channel` ends the wait of its notifications; one that is being sent is not sent a second time."""
    enqueue(engine, channels=("mail", "slack"))
    outbox, now = StoredOutbox(engine), datetime.now(UTC)
    lease = now + timedelta(minutes=1)
    for channel in ("mail", "slack"):
        outbox.claim(channel, now=now, leased_until=lease, patience=9)
    mail = next(each for each in entries(engine) if each.channel == "mail")
    outbox.mark_failed(
        [mail.notification_id], leased_until=lease, error="away", now=now, next_attempt_at=now + timedelta(hours=1)
    )
    assert outbox.due_channels(now) == []
    for channel, count in (("mail", 1), ("slack", 0)):
        said = call("--config", file, "notify", "resend", "--channel", channel).out
        wanted = f"0 notifications sent once more, {count} tried at once" if count else "there is nothing to be sent"
        assert said.startswith(wanted)
    assert outbox.due_channels(now) == ["mail"]


def test_a_channel_that_nobody_knows_is_refused(call: Call, engine: Engine, file: Path) -> None:
    """A misspelt name is no success; one that was configured once may have something that waits."""
    enqueue(engine, channels=("once",))
    refused = call("--config", file, "notify", "resend", "--channel", "mial")
    assert (refused.code, "there is no channel 'mial'; there is " in refused.err) == (2, True)
    assert call("--config", file, "notify", "resend", "--channel", "once").code == 0


def test_a_delivered_one_is_sent_again_by_its_number_alone(call: Call, engine: Engine, file: Path) -> None:
    """Naming a channel does not repeat everything it ever got; a number that none has is refused, with all others."""
    enqueue(engine)
    outbox, now = StoredOutbox(engine), datetime.now(UTC)
    outbox.mark_delivered([1], now=now)
    call("--config", file, "notify", "resend", "--channel", "mail")
    assert outbox.due_channels(now) == []
    refused = call("--config", file, "notify", "resend", "1", "99")
    assert (refused.code, "there is no notification 99" in refused.err) == (1, True)
    assert outbox.due_channels(now) == []
    assert call("--config", file, "notify", "resend", "1").code == 0
    assert outbox.due_channels(now) == ["mail"]
    assert call("--config", file, "notify", "resend").code == 2


def test_where_an_alert_goes_is_said(call: Call, engine: Engine, file: Path) -> None:
    """For each channel whether it is told, and why; also at another time, and as JSON."""
    enqueue(engine)
    routes = '[[routes]]\nchannels = ["slack"]\nhours = "22:00-06:00"\n[[routes]]\nchannels = ["mail"]\n'
    file.write_text(file.read_text() + routes)

    now = call("--config", file, "notify", "route", "1")
    night = call("--config", file, "notify", "route", "1", "--at", "2026-03-02T23:00:00Z", "--json")

    assert [line.split(maxsplit=2) for line in now.lines[1:]] == [
        ["mail", "yes", "routes[1]"],
        ["slack", "no", "not routed here: routes[1]"],
        ["console", "yes", "it takes this severity"],
    ]
    assert [(each["channel"], each["sent"]) for each in json.loads(night.out)] == [
        ("mail", False),
        ("slack", True),
        ("console", True),
    ]
    assert "there is no alert 9" in call("--config", file, "notify", "route", "9").err


def test_escalations_are_shown(call: Call, engine: Engine, file: Path) -> None:
    """`route` lists what an alert has before it, and `alerts show` when that comes, and what was told."""
    enqueue(engine)
    step = Escalation(after_seconds=900, channels=("slack",))
    file.write_text(file.read_text() + '[[escalations]]\nafter_seconds = 900\nchannels = ["slack"]\n')
    Escalating(engine, [step]).look()

    route = call("--config", file, "notify", "route", "1").out
    before = call("--config", file, "alerts", "show", "1")
    ahead = json.loads(call("--config", file, "alerts", "show", "1", "--json").out)["escalates"]
    Escalating(engine, [step], clock=lambda: datetime.now(UTC) + timedelta(minutes=15)).look()
    after = call("--config", file, "alerts", "show", "1")

    assert "after 15 min" in route
    assert "escalations[0]: unless it is acknowledged or over by then" in " ".join(route.split())
    assert "slack is told" in before.out
    assert [(each["channel"], each["reason"]) for each in ahead] == [("slack", "not acknowledged within 15 min")]
    assert "slack is told" not in after.out
    assert "to slack: not acknowledged within 15 min" in " ".join(after.out.split())
