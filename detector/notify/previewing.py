"""What a kind of channel would be sent, written by what sends it, and sent nowhere."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar

from detector.errors import DeliveryError
from detector.notify.apprise_notifier import AppriseNotifier
from detector.notify.mail_text import beside_html
from detector.notify.message import CHART_NAME, without_picture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.notify.message import Message

CONSOLE, MAIL, SLACK = "console", "mail", "slack"
# Made up: nothing is sent to them.
_ADDRESSES = {
    MAIL: "mailto://detector:secret@example.org?to=operators@example.org",
    SLACK: "slack://T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
    "discord": "discord://100000000000000000/XXXXXXXXXXXXXXXXXXXXXXXX",
    "teams": "workflows://example.org:443/0123456789abcdef0123456789abcdef/XXXXXXXXXXXXXXXXXXXXXXXX",
    "mattermost": "mmosts://example.org/0123456789abcdef0123456789abcdef",
    "matrix": "matrixs://detector:secret@example.org/#operators",
    "pagerduty": "pagerduty://0123456789abcdef@0123456789abcdef",
    "ntfy": "ntfys://example.org/operators",
}
KINDS = (CONSOLE, *_ADDRESSES)
"""What can be shown without any channel that is configured."""
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A message as one channel would be sent it."""

    name: str
    title: str
    body: str
    """As text or Markdown; of mail the plain text."""
    files: dict[str, bytes]
    """By the ends of their names."""


def preview(name: str, message: Message, address: str | None = None) -> Preview:
    """What a channel would be sent.

    Args:
        name: of the channel, or one of `KINDS`.
        message: what it says.
        address: of the channel; None: it is a kind.

    Raises:
        ConfigError: the address is not understood.
    """
    if name == CONSOLE:
        return Preview(name=name, title=message.title, body=message.text, files={".txt": message.block.encode()})
    notifier = _Local(name, address or _ADDRESSES[name], _TIMEOUT_SECONDS)
    body = notifier.written(message)
    files = {}
    if notifier.kind == MAIL:
        mail = _mail(message)
        # Shown by a browser, the picture stands beside the file.
        html = body.replace(f"cid:{CHART_NAME}", CHART_NAME) if message.chart else without_picture(body)
        files = {".html": _page(html).encode(), ".eml": mail.encode()}
        body = message.text
    elif notifier.kind == SLACK:
        files[".json"] = json.dumps(notifier.posted(message), indent=2, ensure_ascii=False).encode() + b"\n"
    return Preview(name=name, title=message.title, body=body, files={".txt": f"{body}\n".encode(), **files})


class _Local(AppriseNotifier):
    """Sends to this process."""

    @property
    def kind(self) -> str:
        """The kind of the channel."""
        return self._kind.name

    def posted(self, message: Message) -> Any:
        """What Slack's web hook would be posted, as JSON."""
        with _listening() as (port, received):
            self._plugin.mode = "hook"
            self._plugin.webhook_url = f"http://127.0.0.1:{port}"
            reason, _ = self._attempt(message)
        if reason is not None:
            raise DeliveryError(reason)
        return json.loads(received[0])


@contextmanager
def _listening() -> Iterator[tuple[int, list[bytes]]]:
    """A server on loopback that takes one request, and keeps it."""
    received: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        kept: ClassVar[list[bytes]] = received

        def do_POST(self) -> None:
            self.kept.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.timeout = _TIMEOUT_SECONDS
        thread = Thread(target=server.handle_request, daemon=True)
        thread.start()
        yield server.server_port, received
        thread.join(_TIMEOUT_SECONDS)


def _mail(message: Message) -> str:
    """The mail as apprise makes it, to somebody who is made up."""
    from apprise.attachment.memory import AttachMemory
    from apprise.plugins.email.base import NotifyEmail

    attach: Any = AttachMemory
    chart = None
    if message.chart is not None:
        chart = [attach(content=message.chart, name=CHART_NAME, mimetype="image/png")]
    made: Any = NotifyEmail
    prepared = made.prepare_emails(
        subject=message.title,
        body=message.html if chart else without_picture(message.html),
        from_addr=("detector", "detector@example.org"),
        to=[("", "operators@example.org")],
        attach=chart,
        inline=True,
    )
    with beside_html(message.plain or message.text):
        text: str = next(iter(prepared)).body
    return text


def _page(html: str) -> str:
    """HTML as a browser shows it, in the colours that the reader has chosen."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        '<meta name="color-scheme" content="light dark">'
    )
    return f"<!doctype html>\n<html><head>{head}</head>\n<body>\n{html}\n</body></html>\n"
