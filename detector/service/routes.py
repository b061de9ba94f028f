"""Where alerts go, by the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.alerts.accounts import accounts_in
from detector.alerts.routing import ChannelPolicy, Routed, Router
from detector.domain import Severity
from detector.notify.channels import CONSOLE

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from detector.alerts.routing import Choice
    from detector.config import Settings
    from detector.config_escalations import Escalation
    from detector.domain import Alert


def channel_policies(settings: Settings) -> list[ChannelPolicy]:
    """What each channel takes, the console last."""
    channels = [ChannelPolicy(name=channel.name, min_severity=channel.min_severity) for channel in settings.channels]
    if settings.notify.console:
        channels.append(ChannelPolicy(name=CONSOLE, min_severity=Severity.INFORMATIONAL, routed=False))
    return channels


def choices(
    connection: Connection, settings: Settings, alert: Alert, named: tuple[str, ...] | None, at: datetime
) -> list[Choice]:
    """Where an alert would go at a moment, and why.

    Args:
        named: the channels that its rule names; None: it names none.
    """
    accounts = accounts_in(connection, alert.alert_id)
    routed = Routed(
        severity=alert.severity,
        rule_id=alert.rule_id,
        rule_title=alert.rule_title,
        host=alert.host,
        at=at,
        users=accounts["user"],
        login_users=accounts["login_user"],
        named=named,
    )
    return Router(tuple(channel_policies(settings)), settings.routes).choose(routed)


def escalations_of(settings: Settings, severity: Severity) -> list[tuple[int, Escalation]]:
    """The steps that alerts of a severity have before them, the first first, each with its place in the file."""
    found = [
        (number, each)
        for number, each in enumerate(settings.escalations)
        if not each.severity or severity in each.severity
    ]
    return sorted(found, key=lambda each: each[1].after_seconds)


def channels_told(settings: Settings, kind: str, title: str, severity: Severity, now: datetime) -> list[str]:
    """Where a notice goes: as an alert of this host would, of a rule that has the kind as its id."""
    told = Routed(severity=severity, rule_id=kind, rule_title=title, host=settings.host_name, at=now)
    chosen = Router(tuple(channel_policies(settings)), settings.routes).choose(told)
    return [each.channel for each in chosen if each.sent]
