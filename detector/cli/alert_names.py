"""What operators call an alert or a silence on the command line: its number, which the shell completes."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from detector.errors import DetectorError
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection

    from detector.domain import Alert
    from detector.store.alert_silences import Silence

_LARGEST = 2**63 - 1
_OFFERED = 50
_SHOWN = 80


class _Number(click.IntRange):
    """The number of something that is stored.

    Args:
        name: what it is called in help.
        described: what has it, and where such numbers stand.
        offered: some such numbers for the shell, each with what it stands for.
    """

    def __init__(self, name: str, described: str, offered: Callable[[Connection], Iterable[tuple[int, str]]]) -> None:
        super().__init__(1, _LARGEST)
        self.name = name
        self._described = described
        self._offered = offered

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """A whole number."""
        try:
            return int(super().convert(value, param, ctx))
        except click.UsageError:
            self.fail(f"{visible(str(value), _SHOWN)!r} is not the number of {self._described}", param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """The numbers that begin so, each with what it stands for."""
        from detector import config
        from detector.cli.store import stored

        # A fault is told when the command is called, not in the middle of its writing.
        with suppress(DetectorError, OSError):
            with stored(config.load(ctx.find_root().params.get("config_file"))) as connection:
                found = list(self._offered(connection))
            return [
                CompletionItem(str(number), help=visible(text, _SHOWN))
                for number, text in found
                if str(number).startswith(incomplete)
            ]
        return []


def _alerts(connection: Connection) -> Iterable[tuple[int, str]]:
    """Those that were active last."""
    from detector.store.alerts import list_alerts

    return [(each.alert_id, f"{each.host}: {each.rule_title}") for each in list_alerts(connection, limit=_OFFERED)]


def _silences(connection: Connection) -> Iterable[tuple[int, str]]:
    """Those that end last, of what has not ended: nobody can end that."""
    from detector.store.alert_silences import list_silences

    now = datetime.now(UTC)
    return [(each.silence_id, each.reason) for each in list_silences(connection, ending_after=now, limit=_OFFERED)]


ALERT_ID = _Number("alert", "an alert; see: detector alerts list", _alerts)
SILENCE_ID = _Number("silence", "a silence; see: detector silence list", _silences)


def find_alert(connection: Connection, alert_id: int) -> Alert:
    """The alert of that number.

    Raises:
        DetectorError: there is none.
    """
    from detector.store.alerts import read_alert

    alert = read_alert(connection, alert_id)
    if alert is None:
        raise DetectorError(f"there is no alert {alert_id}", hint="see: detector alerts list")
    return alert


def find_silence(connection: Connection, silence_id: int) -> Silence:
    """The silence of that number.

    Raises:
        DetectorError: there is none.
    """
    from detector.store.alert_silences import read

    silence = read(connection, silence_id)
    if silence is None:
        raise DetectorError(f"there is no silence {silence_id}", hint="see: detector silence list --all")
    return silence


def state_of(alert: Alert) -> str:
    """How far an alert has come, in a word or two."""
    if alert.state != "resolved":
        if alert.silenced_by is not None:
            return f"silenced by {alert.silenced_by}"
        if alert.acknowledged_by is not None:
            return "acknowledged"
    return alert.state.value


def as_object(value: Any) -> dict[str, Any]:
    """A frozen value under the names of its fields."""
    from dataclasses import fields

    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def _plain(value: Any) -> Any:
    return dict(value) if hasattr(value, "keys") else value
