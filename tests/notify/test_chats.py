"""What apprise really posts to chats and pagers, received by a local server that stands in their places."""

from __future__ import annotations

import gc
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from detector.domain import Notice, Severity
from detector.errors import DeliveryError
from detector.notify.apprise_notifier import AppriseNotifier
from detector.notify.digest_message import render_digest
from detector.notify.example import example
from detector.notify.message import render
from detector.notify.notices import render_notice
from detector.notify.together import render_together
from tests.builders import START
from tests.hostile import NAMES
from tests.notify.digests import digest
from tests.notify.samples import alert, notification, rendered
from tests.notify.servers import SlackServer
from tests.notify.test_message import markup_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.notify.message import Message
    from tests.notify.servers import Post

AZURE = "prod-1.westeurope.logic.azure.com"
HOSTS = ("discord.com", "events.pagerduty.com", "slack.com", AZURE)
ANSWER = {
    "ok": True,
    "status": "success",
    "channel": "C1",
    "file_id": "F1",
    "upload_url": "https://slack.com/upload",
    "files": [{"id": "F1"}],
    "access_token": "t",
    "user_id": "@detector:127.0.0.1",
    "home_server": "127.0.0.1",
    "room_id": "!room:127.0.0.1",
    "event_id": "$event",
    "content_uri": "mxc://127.0.0.1/1",
    "joined_rooms": [],
}
PNG = b"\x89PNG\r\n\x1a\nnot drawn"


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlackServer]:
    """The server for all tests here."""
    with SlackServer(tmp_path_factory.mktemp("chats"), HOSTS).running() as server:
        yield server


@pytest.fixture
def server(one_server: SlackServer, monkeypatch: pytest.MonkeyPatch) -> SlackServer:
    """The services, as this machine sees them: behind a proxy, with a certificate that it trusts."""
    for name in ("NO_PROXY", "no_proxy", "https_proxy", "ALL_PROXY", "all_proxy", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{one_server.port}")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(one_server.certificate))
    # A Matrix channel of another test says goodbye when it is forgotten: now.
    gc.collect()
    one_server.posts.clear()
    one_server.status, one_server.answer = 200, json.dumps(ANSWER).encode()
    return one_server


ADDRESSES = {
    "discord": "discord://100000000000000000/XXXXXXXXXXXXXXXXXXXXXXXX",
    "discord embeds": "discord://100000000000000000/XXXXXXXXXXXXXXXXXXXXXXXX?format=markdown",
    "teams": f"workflows://{AZURE}:443/0123456789abcdef0123456789abcdef/XXXXXXXXXXXXXXXXXXXXXXXX",
    "mattermost": "mmost://127.0.0.1:{port}/0123456789abcdef0123456789abcdef",
    "rocketchat": "rocket://hook1/hook2@127.0.0.1:{port}/#ops?mode=webhook",
    "matrix": "matrix://detector:secret@127.0.0.1:{port}/#operators",
    "ntfy": "ntfy://127.0.0.1:{port}/operators",
    "pagerduty": "pagerduty://0123456789abcdef@0123456789abcdef",
}
IN_MARKDOWN = ("discord", "discord embeds", "teams", "mattermost")


def notifier(server: SlackServer, kind: str) -> AppriseNotifier:
    """A channel of a kind, at the server."""
    return AppriseNotifier(kind.replace(" ", "-"), ADDRESSES[kind].format(port=server.port), 5)


def said(kind: str, posts: list[Post]) -> str:
    """What people are shown of what was posted; the title, if it has a place of its own, first."""
    if kind == "matrix":
        (text,) = [post.body["body"] for post in posts if "msgtype" in post.body]
        return str(text)
    (post,) = posts
    body: Any = post.body
    if kind == "discord embeds":
        (embed,) = body["embeds"]
        return f"{embed['title']}\n{embed['description']}"
    if kind == "teams":
        title, block = body["attachments"][0]["content"]["body"]
        assert body["attachments"][0]["content"]["msteams"] == {"width": "full"}
        return f"{title['text']}\n{block['text']}"
    if kind == "ntfy":
        return f"{body['title']}\n{body['message']}"
    if kind == "pagerduty":
        return str(body["payload"]["summary"])
    return str(body["content"] if kind == "discord" else body["text"])


LIMITS = {
    "discord": 2000,
    "discord embeds": 6000,
    "teams": 2000,
    "mattermost": 4000,
    "ntfy": 4096,
    "pagerduty": 1024,
    "matrix": 65_000,
}


@pytest.mark.parametrize("kind", LIMITS)
def test_a_long_message_has_room(server: SlackServer, kind: str) -> None:
    """What is posted keeps to the service's limit, begins with title and first line, and ends with a command."""
    message = render(example(), "opened")
    assert notifier(server, kind).send(message) is None
    text = said(kind, server.posts)
    assert len(text) <= LIMITS[kind]
    plain = text.replace("\\", "").replace("**", "")
    assert "[high] bastion-1: Vertical port scan" in plain
    assert "alice (ssh from 203.0.113.7), via /usr/bin/nc.openbsd, tried 1,024 ports" in plain
    assert "detector alerts show 4711" in plain
    assert text.count("```") in (0, 2)


def _naming(name: str) -> Iterator[Message]:
    """All that is ever told, with a name in all places where there may be one."""
    hostile = alert(
        host=name, rule_title=name, rule_id=name, summary=name, group={name: name}, explanations=(name, name)
    )
    yield rendered(hostile, "opened")
    yield render_together([(notification(reason=name), hostile), (notification(reason="opened"), hostile)])
    yield render_digest(digest(name, many=3), Severity.HIGH)
    content = {"title": f"Held back: {name}", "lines": [name, name]}
    told = {"notice_id": 1, "kind": "held back", "subject": name, "severity": Severity.LOW, "created_at": START}
    yield render_notice(Notice(**told, content=content))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", LIMITS)
def test_no_name_speaks_to_a_chat(server: SlackServer, kind: str) -> None:
    """No name makes markup, links, or calls anybody, wherever it is told: in an alert, several together, a digest, or
    what else there is to tell; and nobody is asked to be called.
    """
    sender = notifier(server, kind)
    for message in (message for name in NAMES for message in _naming(name)):
        server.posts.clear()
        sender.send(message)
        assert server.posts, message.title
        text = said(kind, server.posts)
        assert re.sub(r"[\r\n]", "", text).isprintable()
        if kind in IN_MARKDOWN:
            assert markup_in(text) is None
            assert "allow_mentions" not in server.posts[0].body
        for post in server.posts:
            assert "http://" not in post.raw.decode().replace("adaptivecards.io", "").replace("http://", "", 1)
            assert post.body.get("format") != "org.matrix.custom.html" or "<script" not in post.raw.decode()


def illustrated() -> Message:
    """The example with a picture, which nobody looks at here."""
    return replace(render(example(), "opened"), chart=PNG)


def test_discord_is_sent_the_picture_after_the_message(server: SlackServer) -> None:
    """The message, a caption, and the file."""
    assert notifier(server, "discord").send(illustrated()) is None
    first, *_, last = server.posts
    assert "alice" in first.body["content"]
    assert PNG in last.raw
    assert b'filename="chart.png"' in last.raw


def test_a_picture_that_is_refused_is_no_reason_to_say_it_again(server: SlackServer) -> None:
    """The message was taken: it is delivered, and what became of the chart is told."""
    sender = notifier(server, "discord")
    answers = iter([200, 413, 413])
    original = server.posts
    server.posts = _Switching(server, answers)
    try:
        fault = sender.send(illustrated())
    finally:
        server.posts = original
    assert fault is not None
    assert "413" in fault


class _Switching(list["Post"]):
    """Has the server answer otherwise from one post to the next."""

    def __init__(self, server: SlackServer, statuses: Iterator[int]) -> None:
        super().__init__()
        self._server, self._statuses = server, statuses

    def append(self, post: Post) -> None:
        """Notes a post, and what the answer to it is."""
        self._server.status = next(self._statuses)
        super().append(post)


def test_ntfy_is_sent_the_picture_with_the_message(server: SlackServer) -> None:
    """One request has both: the message stands in its address, and is short enough for that."""
    assert notifier(server, "ntfy").send(illustrated()) is None
    (post,) = server.posts
    asked = parse_qs(urlsplit(post.path).query)
    assert post.raw == PNG
    assert asked["filename"] == ["chart.png"]
    assert "detector alerts show 4711" in asked["message"][0]
    assert len(post.path) < 6000


def test_matrix_is_sent_the_picture_after_the_message(server: SlackServer) -> None:
    """It is uploaded, and named in a message of its own."""
    assert notifier(server, "matrix").send(illustrated()) is None
    kinds = [post.body["msgtype"] for post in server.posts if "msgtype" in post.body]
    assert kinds[0] == "m.text"
    assert "m.image" in kinds[1:]
    assert any(PNG in post.raw for post in server.posts)


def test_slack_is_sent_the_picture_by_a_bot(server: SlackServer) -> None:
    """A bot uploads it; the message itself is as that of a web hook."""
    sender = AppriseNotifier("slack", "slack://xoxb-1234-1234-abc124/#operators", 5)
    assert sender.takes_pictures
    assert sender.send(illustrated()) is None
    message, _caption = [post for post in server.posts if "attachments" in post.body]
    assert message.body["attachments"][0]["blocks"][0]["type"] == "header"
    assert any(PNG in post.raw for post in server.posts)


@pytest.mark.parametrize("kind", ["teams", "pagerduty"])
def test_what_takes_no_files_is_sent_none(server: SlackServer, kind: str) -> None:
    """The message goes, and no chart is missed."""
    sender = notifier(server, kind)
    assert not sender.takes_pictures
    assert sender.send(illustrated()) is None
    assert PNG not in server.posts[0].raw


def test_a_refused_message_is_a_failure(server: SlackServer) -> None:
    """Its picture is not sent after it."""
    server.status = 500
    with pytest.raises(DeliveryError, match="500"):
        notifier(server, "discord").send(illustrated())
    assert len(server.posts) == 1
