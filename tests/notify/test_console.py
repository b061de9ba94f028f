"""Alerts on the terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from detector.errors import DeliveryError
from detector.notify.console import ConsoleNotifier
from tests.hostile import NAMES
from tests.notify.samples import alert, rendered

if TYPE_CHECKING:
    from pathlib import Path


def test_a_block_for_each_alert() -> None:
    """Title, text, and an empty line to the next."""
    stream = io.StringIO()
    notifier = ConsoleNotifier(stream)
    notifier.send(rendered(alert(), "opened"))
    notifier.send(rendered(alert(), "grown tenfold"))
    first, second, rest = stream.getvalue().split("\n\n")
    assert first.startswith("== [high] bastion-1: Vertical port scan ==\n  root, via /usr/bin/nc.openbsd, tried")
    assert second.startswith("== [high] bastion-1: Vertical port scan (grown tenfold) ==")
    assert rest == ""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("name", NAMES)
def test_no_name_reaches_the_terminal_as_a_control(name: str, encoding: str, tmp_path: Path) -> None:
    """Only printable text and line ends are written, in any encoding of the terminal."""
    with (tmp_path / "out").open("w", encoding=encoding) as stream:
        ConsoleNotifier(stream).send(rendered(alert(summary=name, host=name, group={name: name}), "opened"))
    written = (tmp_path / "out").read_text(encoding=encoding)
    assert written.replace("\n", "").isprintable()
    assert written.count("\n") == rendered(alert(), "opened").block.count("\n") + 1


def test_a_closed_terminal_is_a_failed_delivery() -> None:
    """The outbox keeps what could not be printed."""
    stream = io.StringIO()
    stream.close()
    with pytest.raises(DeliveryError, match="closed"):
        ConsoleNotifier(stream).send(rendered(alert(), "opened"))
