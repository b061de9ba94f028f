"""Real servers on loopback, for the life of a test: one that takes mail, one that stands where Slack is."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar

from aiosmtpd.controller import Controller

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage
    from pathlib import Path

SLACK = "hooks.slack.com"
TOKENS = ("T1JJ3T3L2", "A1BRTD4JD", "TIiajkdnlazkcOXrIdevi7")


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class MailServer:
    """An SMTP server. `answers` are given to the next messages, one each; after them all are taken.

    An empty answer closes the connection instead.
    """

    port: int = field(default_factory=free_port)
    answers: list[str] = field(default_factory=list)
    received: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The apprise address of a mailbox here."""
        return f"mailto://127.0.0.1:{self.port}/?from=detector@example.com&to=ops@example.com"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Takes a message, or answers as it was told."""
        answer = self.answers.pop(0) if self.answers else "250 OK"
        if answer.startswith("250"):
            parsed: EmailMessage = message_from_bytes(envelope.content, policy=policy.default)
            self.received.append(parsed)
            self.recipients.append(envelope.rcpt_tos)
        elif not answer:
            server.transport.abort()
        return answer

    @contextmanager
    def running(self) -> Iterator[MailServer]:
        """Listens; may be stopped and started again on the same port."""
        controller = Controller(self, hostname="127.0.0.1", port=self.port)
        controller.start()
        try:
            yield self
        finally:
            controller.stop()


def part(mail: EmailMessage, kind: str) -> str:
    """The text of the plain or html part."""
    body = mail.get_body((kind,))
    assert body is not None
    text: str = body.get_content()
    return text.replace("\r\n", "\n")


@dataclass
class Post:
    """What was posted."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    """Empty where it is no JSON."""
    raw: bytes = b""
    host: str = ""
    """Who was asked, through the proxy."""


class SlackServer:
    """Answers for services on the internet, Slack's web hooks at first, behind a proxy: what asks for them through it
    arrives here, over real TLS. What asks it directly is answered too.
    """

    def __init__(self, folder: Path, hosts: tuple[str, ...] = (SLACK,)) -> None:
        self.hosts = hosts
        names = ",".join(f"DNS:{host}" for host in hosts)
        self.certificate, self._key = folder / "certificate.pem", folder / "key.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
                *("-days", "2", "-subj", f"/CN={SLACK}", "-addext", f"subjectAltName={names}"),
                *("-keyout", self._key, "-out", self.certificate),
            ],
            check=True,
            capture_output=True,
        )
        self.posts: list[Post] = []
        self.status, self.answer = 200, b"ok"
        self.port = free_port()

    @contextmanager
    def running(self) -> Iterator[SlackServer]:
        """Listens as a proxy on `port`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self._key)

        class Handler(_SlackHandler):
            tls = context
            owner = self

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _SlackHandler(BaseHTTPRequestHandler):
    tls: ClassVar[ssl.SSLContext]
    owner: ClassVar[SlackServer]

    def do_CONNECT(self) -> None:
        host, _, port = self.path.partition(":")
        assert port == "443"
        assert host in self.owner.hosts
        self.asked = host
        self.send_response(200)
        self.end_headers()
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.setup_streams()
        self.handle_one_request()
        self.connection.close()

    def setup_streams(self) -> None:
        """From here on the request and its answer go over TLS."""
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = True

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.loads(raw) if raw.startswith(b"{") else {}
        self.owner.posts.append(
            Post(path=self.path, headers=dict(self.headers), body=body, raw=raw, host=getattr(self, "asked", ""))
        )
        self.send_response(self.owner.status)
        self.end_headers()
        self.wfile.write(self.owner.answer)

    do_PUT = do_GET = do_POST  # noqa: N815 - names of the base class

    def log_message(self, *_: object) -> None:
        """Says nothing."""
