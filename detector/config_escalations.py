"""`[[escalations]]`: who is told when nobody has acknowledged an alert in time, and what is wrong with that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from detector.config_section import Section
from detector.config_wording import nearest
from detector.domain import Severity
from detector.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class Escalation(Section, frozen=True):
    """Who is told of alerts that nobody has acknowledged in time."""

    after_seconds: Annotated[float, msgspec.Meta(ge=1, le=7 * 86400)]
    """From when the alert was told, or became more severe."""
    channels: tuple[str, ...]
    """The channels that are told then."""
    severity: tuple[Severity, ...] = ()
    """Only of alerts of these; none: of all."""


def check_escalations(escalations: Sequence[Escalation], channels: Mapping[str, Severity], source: str) -> None:
    """Refuses steps that cannot be meant.

    Args:
        channels: the lowest severity that each configured channel takes, by name.
        source: the file, for messages.

    Raises:
        ConfigError: the first fault, with file, step and key.
    """
    said: dict[tuple[str, float, Severity], int] = {}
    for number, step in enumerate(escalations):
        for message, hint in _faults(step, channels):
            raise ConfigError(f"{source}: escalations[{number}].{message}", hint=hint)
        for name in step.channels:
            for severity in step.severity or tuple(Severity):
                before = said.setdefault((name, step.after_seconds, severity), number)
                if before != number:
                    raise ConfigError(
                        f"{source}: escalations[{number}] tells {name!r} of {severity} alerts when "
                        f"escalations[{before}] does",
                        hint="remove one of them, or give it another after_seconds",
                    )


def _faults(step: Escalation, channels: Mapping[str, Severity]) -> Iterator[tuple[str, str]]:
    if not step.channels:
        yield "channels: there is none", "name those that are told"
    for name in step.channels:
        if name == "console":
            yield "channels: the console is told of all alerts at once", "name a configured channel"
        elif name not in channels:
            yield f"channels: there is no channel {name!r}", nearest(name, channels) if channels else ""
        elif step.severity and (low := [each for each in step.severity if each.rank < channels[name].rank]):
            yield (
                f"channels: {name!r} does not take {low[0]} alerts: its min_severity is {channels[name]}",
                "raise severity here, or lower min_severity there",
            )
