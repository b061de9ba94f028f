"""The short form of `make torture`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tests.torture.report import show, untold
from tests.torture.torture import possible, torture

if TYPE_CHECKING:
    from random import Random

    from tests.torture.fault import Fault

pytestmark = pytest.mark.kernel

# Those of a row at once.
_ROUNDS = (
    ("the clock set by days",),
    ("kill -9 of collect", "the mail server closes connections"),
    ("the SQLite file cut short",),
)
_SECONDS = (1.5, 2.0)


def test_the_books_balance_after_a_handful_of_faults(capsys: pytest.CaptureFixture[str]) -> None:
    """Connects, snapshots, findings, alerts and mails: all that were made are there, or said to be missing, and why."""
    known = {each.name: each for group in possible(on_postgres=False) for each in group}
    rounds = [[replace(known[name], seconds=_SECONDS) for name in names] for names in _ROUNDS]

    def choose(_: Random) -> list[Fault]:
        return rounds.pop(0) if rounds else []

    outcome = torture(choose, seed=1, seconds=60, on_postgres=False, say=print, quiet_seconds=(0.2, 0.5))
    show(outcome, Console(width=140), "the books")
    shown = capsys.readouterr().out
    assert outcome.balances, shown
    assert not {"the clock set by days", "kill -9 of collect"} & set(untold(outcome)), shown
    assert outcome.lines[0].made > 100
