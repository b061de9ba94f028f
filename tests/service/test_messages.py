"""Messages as they are written of stored alerts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from detector import apart, shipped
from detector.config import Notify, Settings
from detector.domain import Alert, Verdict
from detector.errors import ChartError
from detector.notify import templates
from detector.notify.message import render
from detector.notify.outbox import deliver_channel
from detector.ruleset.evaluate import RuleSet
from detector.ruleset.load import load_rules
from detector.service import messages
from detector.service.briefing import brief, strangeness
from detector.service.messages import Messages, TemplateFiles
from detector.store.alerts import list_alerts
from detector.store.deliveries import channel_standings
from detector.store.engine import reading, writing
from detector.store.feedback import record
from detector.store.outbox import StoredOutbox
from detector.visible import visible
from tests.alerts.hosts import Host, finding, scan
from tests.builders import START, count
from tests.notify.samples import POLICY, Clock, Receiver, enqueue, entries

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from detector.notify.message import Message


@dataclass
class Told:
    """Keeps what is reported."""

    faults: list[str] = field(default_factory=list)

    def fault(self, message: str) -> None:
        """Notes it."""
        self.faults.append(message)


@dataclass
class Pictures(Receiver):
    """A channel that takes pictures."""

    takes_pictures = True
    shows_html = False
    messages: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> None:
        """Takes a message."""
        super().send(message)
        self.messages.append(message)


def stored_alert(engine: Engine) -> Alert:
    """The last one."""
    with reading(engine) as connection:
        return list_alerts(connection)[0]


def writer(engine: Engine, report: Told | None = None, settings: Settings | None = None) -> Messages:
    """Writes messages without rules in force."""
    return Messages(engine, settings or Settings(), RuleSet, report or Told())


def test_a_briefing_tells_what_is_stored(engine: Engine) -> None:
    """Rows, what is new of them, and the rule's record on the host, with what people said of it."""
    enqueue(engine, titles=("Scan", "Scan again"))
    with reading(engine) as connection:
        first, second = sorted(list_alerts(connection), key=lambda each: each.alert_id)
    with writing(engine) as connection:
        record(connection, first.alert_id, Verdict.BENIGN, author="ops", now=START)
    with reading(engine) as connection:
        found = brief(connection, second, None, Settings().models)
    assert len(found.rows) == 1
    assert found.rows[0].connection.startswith("-> ")
    assert "This was never seen before." in found.normal[-1].replace("Who, with what and where to: this", "This")
    # Of a host that has been there for ten seconds nobody knows what a day brings.
    assert found.rule == ("It made 1 other alert on this host in 10 s, of which people called 1 false.",)
    assert found.chart is not None
    assert found.chart.values[-1] > 0


def test_a_rules_record_is_as_long_as_its_host_is_known(sqlite_engine: Engine) -> None:
    """Thirty days at most; of a host that has been there for two it is two."""
    enqueue(sqlite_engine, titles=("Scan",))
    enqueue(sqlite_engine, titles=("Scan again",), after=timedelta(days=2))
    with reading(sqlite_engine) as connection:
        first, second = sorted(list_alerts(connection), key=lambda each: each.alert_id)
    with writing(sqlite_engine) as connection:
        record(connection, first.alert_id, Verdict.BENIGN, author="ops", now=START)
    with reading(sqlite_engine) as connection:
        found = brief(connection, second, None, Settings().models)

    assert found.rule == (
        "It made 1 other alert on this host in 2 days, of which people called 1 false: 0.5 false ones a day.",
    )


def test_what_nobody_judged_has_no_rate(sqlite_engine: Engine) -> None:
    """That none was called false says nothing of alerts that nobody has answered."""
    enqueue(sqlite_engine, titles=("Scan",))
    enqueue(sqlite_engine, titles=("Scan again",), after=timedelta(days=2))
    with reading(sqlite_engine) as connection:
        found = brief(connection, list_alerts(connection)[0], None, Settings().models)

    assert found.rule == ("It made 1 other alert on this host in 2 days; nobody has said whether it was right.",)


def test_a_message_says_what_to_do(sqlite_engine: Engine) -> None:
    """What a shipped rule advises stands whole in the message of its alert, as a sentence of its own."""
    enqueue(sqlite_engine)
    # The longest that ships, and one as they are.
    named = ("host_silent.yml", "shell_connects_out.yml")
    rules = load_rules([shipped.folder("rules") / name for name in named]).ruleset.rules
    assert len(rules) == len(named)
    with reading(sqlite_engine) as connection:
        alert = list_alerts(connection)[0]
        for rule in rules:
            found = brief(connection, alert, rule, Settings().models)
            (advice,) = [each for each in found.rule if each.startswith("What to do: ")]
            assert f"- {visible(advice)}\n" in render(found, "opened").text


def test_all_rows_behind_an_alert_are_counted(sqlite_engine: Engine) -> None:
    """More than are looked at: how many others there are is true, and what is said of the first says so."""
    host = Host(sqlite_engine)
    ref, evidence = host.snapshot(*scan(1, 251))
    host.record(ref, finding(ref, evidence))
    (alert,) = host.alerts()
    with reading(sqlite_engine) as connection:
        found = brief(connection, alert, None, Settings().models)
    assert len(found.rows) + found.more_rows == 251
    assert found.normal[-1] == "None of the first 200 was ever seen before."


def test_of_a_scan_what_answered_is_shown_first(sqlite_engine: Engine) -> None:
    """Behind hundreds of rows that were refused as well; otherwise rows stand in the order of time."""
    host = Host(sqlite_engine)
    answered = count("127.0.0.1", 999, attempted=1, established=1)
    for counts in (scan(1, 300), (*scan(301, 400), answered)):
        ref, evidence = host.snapshot(*counts)
        host.record(ref, finding(ref, evidence))
    (alert,) = host.alerts()
    with reading(sqlite_engine) as connection:
        shown = brief(connection, alert, None, Settings().models).rows
    assert [each.connection for each in shown[:2]] == ["-> 127.0.0.1:999", "-> 127.0.0.1:1"]
    assert shown[0].connects == "1 established"


@pytest.mark.parametrize(
    ("surprise", "often"),
    [
        (2.5, "once in 316 hours"),
        (4.0, "once in 417 days"),
        (5.0, "once in 11 years"),
        (5.97, "less than once in 100 years"),
        (13.8, "less than once in 100 years"),
        (400.0, "less than once in 100 years"),
    ],
)
def test_how_seldom_is_no_more_precise_than_it_is_known(surprise: float, often: str) -> None:
    """Beyond a hundred years nobody counts the days; no score is too high for a sentence."""
    row = {"surprise": surprise, "score": 1.0, "channel": None}
    assert strangeness([row]) == (f"Score 1.0000: an hour without an attack holds something as strange {often}.",)


def test_a_picture_goes_with_the_message(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn of the alert's chart, for a channel that takes pictures; and nothing is said to be missing."""
    monkeypatch.setattr(messages, "draw", lambda _: b"a picture")
    enqueue(sqlite_engine)
    channel = Pictures()
    deliver_channel(
        StoredOutbox(sqlite_engine), "mail", channel, clock=Clock(), policy=POLICY, writer=writer(sqlite_engine)
    )
    (message,) = channel.messages
    assert message.chart == b"a picture"
    assert 'src="cid:chart.png"' in message.html
    assert entries(sqlite_engine)[0].chart_fault is None


def test_a_chart_that_cannot_be_drawn_holds_nothing_up(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is delivered and says why; the reason is stored, counted and shown."""

    def fail(_: object) -> bytes:
        raise ChartError("was not drawn within 10 s")

    monkeypatch.setattr(messages, "draw", fail)
    enqueue(engine)
    channel = Pictures()
    deliver_channel(StoredOutbox(engine), "mail", channel, clock=Clock(), policy=POLICY, writer=writer(engine))
    assert "Without its chart: was not drawn within 10 s" in channel.texts[0]
    assert entries(engine)[0].chart_fault == "was not drawn within 10 s"
    with reading(engine) as connection:
        standing = channel_standings(connection, START)["mail"]
    assert (standing.without_chart, standing.last_chart_fault) == (1, "was not drawn within 10 s")


def test_a_channel_without_pictures_misses_none(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drawn for it."""
    monkeypatch.setattr(messages, "draw", lambda _: pytest.fail("drawn"))
    enqueue(sqlite_engine)
    channel = Receiver()
    deliver_channel(
        StoredOutbox(sqlite_engine), "mail", channel, clock=Clock(), policy=POLICY, writer=writer(sqlite_engine)
    )
    assert channel.attempts == 1
    assert entries(sqlite_engine)[0].chart_fault is None


def test_what_fails_with_its_chart_is_sent_without(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """After three attempts the chart stays behind: it may be what the other side does not take."""
    monkeypatch.setattr(messages, "draw", lambda _: b"a picture")
    enqueue(sqlite_engine)
    channel, clock = Pictures(error="552 too large"), Clock()
    outbox, writes = StoredOutbox(sqlite_engine), writer(sqlite_engine)
    for _ in range(3):
        deliver_channel(outbox, "mail", channel, clock=clock, policy=POLICY, writer=writes)
        clock.pass_time(hours=1)
    channel.error = None
    deliver_channel(outbox, "mail", channel, clock=clock, policy=POLICY, writer=writes)
    (message,) = channel.messages
    assert message.chart is None
    assert entries(sqlite_engine)[0].chart_fault == "left out, since the message had failed 3 times"


def test_a_fault_of_ours_keeps_no_message_back(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """When what is behind an alert cannot be told, the alert is, and the fault is said and stored."""

    def fail(*_: object) -> None:
        raise ValueError("no address: \x1b")

    monkeypatch.setattr(messages, "brief", fail)
    enqueue(sqlite_engine)
    channel, report = Pictures(), Told()
    deliver_channel(
        StoredOutbox(sqlite_engine), "mail", channel, clock=Clock(), policy=POLICY, writer=writer(sqlite_engine, report)
    )
    why = r"what is behind it could not be told: ValueError: no address: \x1b"
    assert report.faults == [f"alert 1: {why}; report this as a fault of detector"]
    assert entries(sqlite_engine)[0].chart_fault == why
    assert f"Without its chart: {why}" in channel.texts[0]


def test_a_flood_is_told_without_looking_back(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than thirty messages in a minute the rest is what stands in the alerts, and says so."""
    monkeypatch.setattr(messages, "draw", lambda _: b"a picture")
    enqueue(sqlite_engine, titles=[f"Scan {number:02}" for number in range(32)])
    channel = Pictures()
    deliver_channel(
        StoredOutbox(sqlite_engine), "mail", channel, clock=Clock(), policy=POLICY, writer=writer(sqlite_engine)
    )
    assert [message.chart is not None for message in channel.messages] == [True] * 30 + [False] * 2
    assert "more than 30 messages in a minute" in channel.texts[-1]


def test_templates_are_read_again_when_they_change(tmp_path: Path) -> None:
    """A change counts within a second; a fault is told once, and what ships is in force until it is mended."""
    now, told = [0.0], Told()
    files = TemplateFiles(Settings(notify=Notify(templates=str(tmp_path))), told, lambda: now[0])
    assert files.current().own == {}

    def written(text: str) -> templates.Templates:
        path = tmp_path / templates.SUBJECT
        path.write_text(text)
        os.utime(path, ns=(0, int(now[0] * 1e9)))
        now[0] += 2
        return files.current()

    assert written("{{ host }}").own.keys() == {templates.SUBJECT}
    assert written("{{ hots }}").own == {}
    files.current()
    assert written("{{ host }}!").own.keys() == {templates.SUBJECT}
    assert [each.partition(": ")[0] for each in told.faults] == [
        "template refused",
        "all templates of messages are in force again",
    ]
    assert f"{tmp_path / templates.SUBJECT}:1" in told.faults[0]


def test_an_alert_outlives_its_rows(sqlite_engine: Engine) -> None:
    """What has expired is not told, and the message is written all the same."""
    enqueue(sqlite_engine)
    alert = stored_alert(sqlite_engine)
    from dataclasses import replace

    gone = replace(alert, alert_id=999, end=alert.end + timedelta(days=400), start=alert.start + timedelta(days=400))
    message = writer(sqlite_engine).write(gone, "opened", chart=True)
    assert "detector alerts show 999" in message.text


def test_a_template_that_fails_with_an_alert_is_told(sqlite_engine: Engine, tmp_path: Path) -> None:
    """The message goes out in the words that ship; what takes too long is not tried again until it is changed."""
    folder = tmp_path / "templates"
    folder.mkdir()
    path = folder / templates.SUBJECT
    path.write_text("{% if number != 4711 %}{{ 9 ** (9 ** (8 + number)) }}{% endif %}")
    (folder / templates.TEXT).write_text("{{ host }}")
    told, now = Told(), [0.0]
    settings = Settings(notify=Notify(templates=str(folder)))
    files = TemplateFiles(settings, told, lambda: now[0])
    enqueue(sqlite_engine, titles=("One", "Two"))
    channel = Receiver()
    deliver_channel(
        StoredOutbox(sqlite_engine), "mail", channel, clock=Clock(), policy=POLICY,
        writer=Messages(sqlite_engine, settings, RuleSet, told, files),
    )  # fmt: skip
    assert channel.titles[0].startswith("[high] bastion-1")
    # The rest is the operator's again.
    assert channel.texts[1] == "bastion-1"
    fault = f"{path}:1: takes more than 1 s of processor time; write it simpler, with shorter loops"
    assert told.faults == [f"alert 1: template {fault}; it was sent in the words that ship"]
    assert [str(each) for each in files.faults()] == [fault]
    path.write_text("{{ host }}")
    now[0] += 2
    assert files.faults() == ()
    assert files.current().own.keys() == {templates.SUBJECT, templates.TEXT}


def test_a_template_that_fails_with_many_alerts_is_told_once(sqlite_engine: Engine, tmp_path: Path) -> None:
    """In the log, until it is changed; each message goes out in the words that ship."""
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / templates.TEXT).write_text("{{ rows[7].when }}")
    told = Told()
    settings = Settings(notify=Notify(templates=str(folder)))
    enqueue(sqlite_engine, titles=("One", "Two", "Three"))
    channel = Receiver()
    deliver_channel(
        StoredOutbox(sqlite_engine), "mail", channel, clock=Clock(), policy=POLICY,
        writer=Messages(sqlite_engine, settings, RuleSet, told, TemplateFiles(settings, told)),
    )  # fmt: skip
    assert [text.count("What you can do:") for text in channel.texts] == [1, 1, 1]
    (said,) = told.faults
    assert said.startswith(f"alert 1: template {folder / templates.TEXT}:1: list object has no element 7; see docs")


def test_what_was_refused_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been for want of a process: a minute later it is in force, without a change of the file."""
    (tmp_path / templates.SUBJECT).write_text("{{ host }}")
    told, now = Told(), [0.0]
    files = TemplateFiles(Settings(notify=Notify(templates=str(tmp_path))), told, lambda: now[0])
    with monkeypatch.context() as patch:
        patch.setattr(apart, "PYTHON", ("/nonexistent",))
        assert files.current().own == {}
    now[0] += 30
    assert files.current().own == {}
    now[0] += 31
    assert files.current().own.keys() == {templates.SUBJECT}
