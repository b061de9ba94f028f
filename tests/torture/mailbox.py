"""A mail server in one of several moods, and which alerts it has taken mails of."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from typing import Any

from aiosmtpd.controller import Controller

from tests.notify.servers import free_port

TAKES, LATER, NEVER, CLOSES, HANGS = "250 OK", "451 later", "554 never", "", "hangs"
"""Moods: how each mail is answered. What closes the connection or hangs does not answer at all."""
TIMEOUT_SECONDS = 2.0
"""What the service is to wait for an answer."""
_MARK = re.compile(r"mark-\d+")


@dataclass
class Mailbox:
    """Listens until `close`; may be stopped and started in between, on the same port."""

    mood: str = TAKES
    port: int = field(default_factory=free_port)
    taken: Counter[str] = field(default_factory=Counter)
    """How many mails there were of each mark; the others as ""."""
    refused: int = 0
    """How often no mail was taken."""
    _controller: Controller | None = None

    @property
    def url(self) -> str:
        """Its address, as apprise writes it."""
        return f"mailto://127.0.0.1:{self.port}/?from=detector@example.com&to=operators@example.com"

    def start(self) -> None:
        """Listens from now on."""
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    def close(self) -> None:
        """Nobody listens any more."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  aiosmtpd's name
        """Takes a mail, or not."""
        mood = self.mood
        if mood == TAKES:
            mail = message_from_bytes(envelope.content, policy=policy.default)
            body = mail.get_body(("plain",))
            text = f"{mail['subject']} {body.get_content() if body else ''}"
            self.taken.update(set(_MARK.findall(text)) or {""})
            return TAKES
        self.refused += 1
        if mood == HANGS:
            await asyncio.sleep(2 * TIMEOUT_SECONDS)
        if mood in {HANGS, CLOSES}:
            server.transport.abort()
        return mood
