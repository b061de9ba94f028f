"""A mail server that behaves badly in turn, and an outbox whose delivery is killed meanwhile: what comes of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.notify.killed_delivery import TIMEOUT_SECONDS
from tests.notify.servers import MailServer

if TYPE_CHECKING:
    from collections.abc import Iterator

_DRIVER = Path(__file__).with_name("killed_delivery.py")
TAKES, CLOSES, HANGS = "250 OK", "", "hangs"
ANSWERS = (*[TAKES] * 4, "451 later", TAKES, "554 never", *[TAKES] * 3, CLOSES, TAKES, "421 too busy", *[TAKES] * 3)


@dataclass
class UnrulyServer(MailServer):
    """Answers each mail with the next of `turns`, and keeps the subjects of those that it has taken."""

    turns: Iterator[str] = field(default_factory=lambda: cycle(ANSWERS))
    taken: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Takes a mail or not, as its turn is."""
        turn = next(self.turns)
        self.answered[turn] += 1
        (line,) = (line for line in envelope.content.splitlines() if line.lower().startswith(b"subject:"))
        title = line.decode().rpartition(" ")[2]
        if turn == HANGS:
            self.hung.append(title)
            await asyncio.sleep(TIMEOUT_SECONDS + 1)
            turn = CLOSES
        self.answers.append(turn)
        if turn == TAKES:
            self.taken.append(title)
        return await super().handle_DATA(server, session, envelope)


def kill(database: str, server: MailServer, times: int) -> list[dict[str, list[int]]]:
    """Has delivery killed so often (0: lets it end); the notifications that were under way at each kill, as "killed",
    and those whose answer did not come in time, as "late".
    """
    # Not measured: what is killed could not say what it ran, and measuring slows it down.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, str(_DRIVER), database, server.url, str(times)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=900)
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(titles: list[str], server: UnrulyServer, said: list[dict[str, list[int]]]) -> None:
    """None is lost, none is out of order, and only that came twice of which nobody could know that it had arrived.

    That is what was under way at a kill, and what a busy machine has answered too late: once more for each.

    Args:
        titles: of the alerts, in the order of their notifications, which are numbered from 1.
        server: where the mails have arrived.
        said: by `kill`.
    """
    assert list(dict.fromkeys(server.taken)) == titles
    assert all(len(each.get("killed", ())) <= 1 for each in said)

    def told(what: str) -> Counter[str]:
        return Counter(titles[number - 1] for each in said for number in each.get(what, ()))

    again = Counter(server.taken) - Counter(titles)
    assert again <= told("killed") + (told("late") - Counter(server.hung))
    # What comes twice comes at once: nothing was taken between.
    taken = server.taken
    assert [each for place, each in enumerate(taken) if taken[place - 1 : place] != [each]] == titles
