"""How far an import is, on a terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import RenderableType

    from detector.collector.log_lines import Tally
    from detector.service.importing import ImportResult


@contextmanager
def bar(tally: Tally, result: ImportResult, waiting: Callable[[], int], *, total: int, quiet: bool) -> Iterator[None]:
    """A bar on standard error while the body runs, if that is a terminal.

    First it says how much of `total` bytes is read, then how many of the snapshots that wait are stored.
    """
    if quiet or not sys.stderr.isatty():
        yield
        return
    with _Bar(tally, result, waiting, total):
        yield


@contextmanager
def looking(*, quiet: bool) -> Iterator[None]:
    """A word on standard error while the body finds out what a log is, if that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    with Console(stderr=True).status("looking through the log"):
        yield


class _Bar(Progress):
    """Looks for itself, ten times a second, so that reading and storing need not know of it."""

    def __init__(self, tally: Tally, result: ImportResult, waiting: Callable[[], int], total: int) -> None:
        self._tally, self._result, self._waiting, self._bytes = tally, result, waiting, total
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[said]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar = self.add_task("reading", total=total, said="")

    def get_renderables(self) -> Iterable[RenderableType]:
        """Brings the bar up to date before it is drawn."""
        if self.tasks:
            tally, stored = self._tally, self._result.snapshots
            said = f"{tally.rows:,} rows, {stored:,} snapshots stored"
            if tally.bytes < self._bytes:
                self.update(self._bar, completed=tally.bytes, said=said)
            else:
                self.update(
                    self._bar, description="storing", total=stored + self._waiting() + 1, completed=stored, said=said
                )
        return super().get_renderables()
