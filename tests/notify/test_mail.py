"""Mail, as a real server receives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from detector.domain import NotificationState, Severity
from detector.errors import DeliveryError
from detector.notify.apprise_notifier import AppriseNotifier
from detector.notify.example import example
from detector.notify.message import render, trial
from detector.notify.outbox import deliver_channel
from detector.store.engine import open_store
from detector.store.outbox import StoredOutbox
from tests.hostile import NAMES
from tests.notify.samples import POLICY, Clock, alert, enqueue, entries, rendered
from tests.notify.servers import MailServer, part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from detector.notify.outbox import DeliveryReport

TIMEOUT_SECONDS = 2


@pytest.fixture
def server() -> Iterator[MailServer]:
    """A mail server that takes everything."""
    with MailServer().running() as running:
        yield running


def deliver(engine: Engine, clock: Clock, server: MailServer) -> DeliveryReport:
    """One pass over the outbox by a new process: nothing is left of earlier ones but the database."""
    fresh = open_store(engine.url.render_as_string(hide_password=False))
    try:
        notifier = AppriseNotifier("mail", server.url, TIMEOUT_SECONDS)
        return deliver_channel(StoredOutbox(fresh), "mail", notifier, clock=clock, policy=POLICY)
    finally:
        fresh.dispose()


def test_a_mail_says_it_all(server: MailServer) -> None:
    """Subject, plain text and HTML arrive, from the address and to the address that are configured."""
    message = rendered(alert(), "opened")
    AppriseNotifier("mail", server.url, TIMEOUT_SECONDS).send(message)
    (mail,) = server.received
    assert mail["Subject"] == "[high] bastion-1: Vertical port scan"
    assert mail["To"] == "ops@example.com"
    assert "detector@example.com" in mail["From"]
    assert server.recipients == [["ops@example.com"]]
    assert mail.get_content_type() == "multipart/alternative"
    assert part(mail, "html").strip() == message.html
    assert part(mail, "plain").strip() == message.text.strip()


def test_the_chart_stands_in_the_mail(server: MailServer) -> None:
    """The HTML names the picture by its content id, and the part with that id is the picture, byte for byte."""
    picture = b"\x89PNG\r\n\x1a\nnot drawn"
    message = render(example(), "opened", chart=picture)
    assert AppriseNotifier("mail", server.url, TIMEOUT_SECONDS).send(message) is None
    (mail,) = server.received
    assert mail.get_content_type() == "multipart/related"
    assert part(mail, "html").count("<img ") == 1
    assert 'src="cid:chart.png"' in part(mail, "html")
    (image,) = [each for each in mail.walk() if each.get_content_maintype() == "image"]
    assert image["Content-ID"] == "<chart.png>"
    assert image.get_content_disposition() == "inline"
    assert image.get_payload(decode=True) == picture
    assert part(mail, "plain").strip() == message.text.strip()


def test_a_machine_that_cannot_write_a_file_fails_one_delivery(
    server: MailServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when no descriptor is left: it is tried again like any other, and whoever delivers goes on."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    notifier = AppriseNotifier("mail", server.url, 5)
    with pytest.raises(DeliveryError, match="from this machine: No such file or directory"):
        notifier.send(render(example(), "opened"))
    monkeypatch.undo()
    notifier.send(render(example(), "opened"))
    assert len(server.received) == 1


def test_a_mail_without_a_chart_has_no_place_for_one(server: MailServer) -> None:
    """Nothing in it is missing."""
    AppriseNotifier("mail", server.url, TIMEOUT_SECONDS).send(render(example(), "opened"))
    (mail,) = server.received
    assert mail.get_content_type() == "multipart/alternative"
    assert "<img" not in part(mail, "html")


def test_mails_share_a_connection() -> None:
    """Those that follow one another do; one that the server has closed is replaced, and no mail is lost by that."""
    server, sessions = MailServer(), set()

    async def handle_EHLO(_: object, session: Any, _envelope: object, name: str, answer: list[str]) -> list[str]:  # noqa: N802
        session.host_name = name
        sessions.add(session.peer)
        return answer

    server.handle_EHLO = handle_EHLO  # type: ignore[attr-defined]
    notifier = AppriseNotifier("mail", server.url, TIMEOUT_SECONDS)
    with server.running():
        for _ in range(3):
            notifier.send(trial("mail", "bastion-1"))
    assert len(sessions) == 1
    with server.running():
        notifier.send(trial("mail", "bastion-1"))
        server.answers = ["451 later", ""]
        for _ in server.answers.copy():
            with pytest.raises(DeliveryError):
                notifier.send(trial("mail", "bastion-1"))
        notifier.send(trial("mail", "bastion-1"))
    assert len(server.received) == 5


@pytest.mark.parametrize("name", NAMES)
def test_no_name_forges_a_mail(server: MailServer, name: str) -> None:
    """Whatever names say: one recipient, the same headers, a subject of one printable line, and no tags in the HTML."""
    notifier = AppriseNotifier("mail", server.url, TIMEOUT_SECONDS)
    notifier.send(rendered(alert(), "opened"))
    hostile = alert(
        host=name, rule_title=name, rule_id=name, summary=name, group={name: name}, explanations=(name, name)
    )
    message = rendered(hostile, "opened")
    notifier.send(message)
    plain, forged = server.received
    assert server.recipients == [["ops@example.com"]] * 2
    assert sorted(forged.keys()) == sorted(plain.keys())
    assert str(forged["Subject"]).isprintable()
    assert " ".join(str(forged["Subject"]).split()) == " ".join(message.title.replace("=?", "= ?").split())
    assert part(forged, "html").strip() == message.html
    assert "<script" not in part(forged, "html")
    assert part(forged, "plain").replace("\n", "").isprintable()


@pytest.mark.parametrize("answer", ["451 4.3.0 try again later", "554 5.7.1 rejected", ""])
def test_what_the_server_refuses_comes_again(sqlite_engine: Engine, server: MailServer, answer: str) -> None:
    """Refused or cut off, the mail stays in the outbox with the reason, and is delivered later by another process."""
    enqueue(sqlite_engine, titles=("one", "two"))
    server.answers = [answer, answer]
    clock = Clock()
    for _ in range(2):
        failure = deliver(sqlite_engine, clock, server).failure
        assert failure is not None
        assert (answer[4:] or "onnection") in failure.error
        clock.pass_time(seconds=60)
    assert [(each.state, each.attempts) for each in entries(sqlite_engine)] == [
        (NotificationState.PENDING, 2),
        (NotificationState.PENDING, 0),
    ]
    assert server.received == []
    assert deliver(sqlite_engine, clock, server).delivered == 2
    assert [each["Subject"] for each in server.received] == ["[high] bastion-1: one", "[high] bastion-1: two"]
    assert {each.state for each in entries(sqlite_engine)} == {NotificationState.DELIVERED}


def test_a_server_that_is_away_is_waited_for(engine: Engine) -> None:
    """Nobody listens: the reason says so; when the server is back, the mail arrives."""
    enqueue(engine)
    server, clock = MailServer(), Clock()
    failure = deliver(engine, clock, server).failure
    assert failure is not None
    assert "Connection refused" in failure.error
    clock.pass_time(seconds=15)
    with server.running():
        assert deliver(engine, clock, server).delivered == 1
    assert len(server.received) == 1


def test_a_recipient_that_the_server_does_not_know_is_a_failure(server: MailServer) -> None:
    """The server's own words are the reason."""
    server.answers = ["550 5.1.1 no such user here"]
    with pytest.raises(DeliveryError, match=r"550.*no such user here"):
        AppriseNotifier("mail", server.url, TIMEOUT_SECONDS).send(trial("mail", "bastion-1"))


def test_killed_between_sending_and_noting_it_sends_again(sqlite_engine: Engine, server: MailServer) -> None:
    """A process that dies right after the server took the mail has delivered once; after the lease it comes again."""
    enqueue(sqlite_engine)
    script = """
import os, signal, sys
from detector.notify.apprise_notifier import AppriseNotifier
from detector.notify.outbox import deliver_channel
from detector.store.engine import open_store
from detector.store.outbox import StoredOutbox
from tests.notify.samples import Clock, POLICY, rendered

class Dying(AppriseNotifier):
    def send(self, message):
        super().send(message)
        os.kill(os.getpid(), signal.SIGKILL)

outbox = StoredOutbox(open_store(sys.argv[1]))
deliver_channel(outbox, "mail", Dying("mail", sys.argv[2], 5), clock=Clock(), policy=POLICY)
"""
    died = subprocess.run(
        [sys.executable, "-c", script, sqlite_engine.url.render_as_string(), server.url], check=False, env=os.environ
    )
    assert died.returncode == -signal.SIGKILL
    assert len(server.received) == 1
    clock = Clock()
    assert deliver(sqlite_engine, clock, server).delivered == 0
    clock.now += POLICY.lease
    assert deliver(sqlite_engine, clock, server).delivered == 1
    assert [each["Subject"] for each in server.received] == ["[high] bastion-1: Scan"] * 2


def test_many_mails_arrive_in_order(sqlite_engine: Engine, server: MailServer) -> None:
    """Queued notifications arrive, each once, in the order in which they were written."""
    titles = [f"alert {number:03}" for number in range(30)]
    enqueue(sqlite_engine, titles=titles)
    assert deliver(sqlite_engine, Clock(), server).delivered == 30
    assert [each["Subject"] for each in server.received] == [f"[high] bastion-1: {title}" for title in titles]


def test_plain_text_when_the_address_asks_for_it(server: MailServer) -> None:
    """An address with format=text gets our plain text, as it is."""
    message = rendered(alert(severity=Severity.LOW), "opened")
    AppriseNotifier("mail", f"{server.url}&format=text", TIMEOUT_SECONDS).send(message)
    (mail,) = server.received
    assert mail.get_content_type() == "text/plain"
    assert part(mail, "plain").strip() == message.text
