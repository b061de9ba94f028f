"""A view of the store on the whole terminal, drawn anew when it changes."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol

from detector.errors import StoreError

if TYPE_CHECKING:
    from rich.console import RenderableType

POLL_SECONDS = 1.0
"""How often the store is asked: there is nothing in it to wait for."""


class View(Protocol):
    """What is shown."""

    def look(self) -> object:
        """Looks at the store; gives something true if what is shown has changed.

        Raises:
            StoreError: the database is away.
        """

    def draw(self, width: int, height: int, fault: str | None) -> RenderableType:
        """All of it, no higher than the terminal, or what is wrong above what was seen last."""


def watch(view: View) -> None:
    """Shows a view that has been looked at until Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    console = Console(file=sys.stdout)
    fault: str | None = None
    with Live(view.draw(*console.size, None), console=console, screen=True, auto_refresh=False) as live:
        size = console.size
        while True:
            time.sleep(POLL_SECONDS)
            before = fault
            try:
                changed = bool(view.look())
                fault = None
            except StoreError as gone:
                # It may come back: what was seen last stays, under what is wrong.
                fault, changed = gone.message, False
            if changed or fault != before or console.size != size:
                size = console.size
                live.update(view.draw(*size, fault), refresh=True)
