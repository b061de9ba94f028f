"""What apprise really posts to Slack, received over TLS by a local server that stands in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from detector.domain import Severity
from detector.errors import DeliveryError
from detector.notify.apprise_notifier import AppriseNotifier
from tests.hostile import NAMES
from tests.notify.samples import alert, rendered
from tests.notify.servers import TOKENS, SlackServer

if TYPE_CHECKING:
    from collections.abc import Iterator

URL = f"slack://{'/'.join(TOKENS)}"


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlackServer]:
    """The server for all tests here."""
    with SlackServer(tmp_path_factory.mktemp("slack")).running() as server:
        yield server


@pytest.fixture
def server(one_server: SlackServer, monkeypatch: pytest.MonkeyPatch) -> SlackServer:
    """Slack, as this machine sees it: behind a proxy, with a certificate that it trusts."""
    for name in ("NO_PROXY", "no_proxy", "https_proxy", "ALL_PROXY", "all_proxy", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{one_server.port}")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(one_server.certificate))
    one_server.posts.clear()
    one_server.status, one_server.answer = 200, b"ok"
    return one_server


def texts(value: Any) -> Iterator[str]:
    """All strings in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


def unescaped(text: str) -> str:
    """What Slack shows: three entities, and nothing else, stand for something."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_a_message_arrives_as_it_is(server: SlackServer) -> None:
    """Title and text, plain, at the web hook of the address, without anything that a reader would fetch elsewhere."""
    message = rendered(alert(), "opened")
    AppriseNotifier("ops", URL, 5).send(message)
    (post,) = server.posts
    assert post.path == f"/services/{'/'.join(TOKENS)}"
    (attachment,) = post.body["attachments"]
    header, section, footer = attachment["blocks"]
    assert header["type"] == "header"
    assert unescaped(header["text"]["text"]) == message.title
    assert section["text"]["type"] == "plain_text"
    assert unescaped(section["text"]["text"]) == message.text
    assert footer["elements"] == [{"type": "plain_text", "text": "detector"}]
    assert not [text for text in texts(post.body) if "http" in text]


@pytest.mark.parametrize("options", ["", "?blocks=yes", "?format=markdown", "?format=markdown&blocks=yes"])
@pytest.mark.parametrize("name", NAMES)
def test_no_name_speaks_to_slack(server: SlackServer, name: str, options: str) -> None:
    """No name calls a channel, links, or breaks a limit of Slack, whichever form of message the address asks for."""
    hostile = alert(
        host=name, rule_title=name, rule_id=name, summary=name, group={name: name}, explanations=(name, name)
    )
    AppriseNotifier("ops", URL + options, 5).send(rendered(hostile, "opened"))
    (post,) = server.posts
    for text in texts(post.body):
        assert "<" not in text
        assert ">" not in text
        assert "&" not in text.replace("&lt;", "").replace("&gt;", "").replace("&amp;", "")
        assert text.replace("\n", "").replace("\r", "").isprintable()
    _check_limits(post.body)


def _check_limits(body: dict[str, Any]) -> None:
    """https://docs.slack.dev/reference/block-kit/blocks and messaging: sizes beyond which Slack refuses or cuts."""
    (attachment,) = body["attachments"]
    assert len(attachment.get("text", "")) <= 40_000
    for block in attachment.get("blocks", []):
        if block["type"] == "header":
            assert len(block["text"]["text"]) <= 150
        elif block["type"] == "section":
            assert 1 <= len(block["text"]["text"]) <= 3000
    assert len(attachment.get("blocks", [])) <= 50


@pytest.mark.parametrize(("severity", "colour"), [(Severity.LOW, "#3AA3E3"), (Severity.CRITICAL, "#A32037")])
def test_severity_has_a_colour(server: SlackServer, severity: Severity, colour: str) -> None:
    """The bar beside the message tells a critical alert from a low one."""
    AppriseNotifier("ops", URL, 5).send(rendered(alert(severity=severity), "opened"))
    (post,) = server.posts
    assert post.body["attachments"][0]["color"] == colour


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [(404, b"no_service", "no_service"), (429, b"", "429"), (500, b"rollback_error", "Internal server error")],
)
def test_a_refusal_is_told_in_slacks_words(server: SlackServer, status: int, answer: bytes, reason: str) -> None:
    """The status and what Slack says of it are the reason; the tokens are not."""
    server.status, server.answer = status, answer
    with pytest.raises(DeliveryError) as failure:
        AppriseNotifier("ops", URL, 5).send(rendered(alert(), "opened"))
    assert reason in failure.value.message
    assert str(status) in failure.value.message
    assert not [token for token in TOKENS if token in failure.value.message]
