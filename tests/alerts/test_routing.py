"""Which channels are told, and why the others are not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.alerts.routing import ALL, BELOW, NAMED, NOT_NAMED, ChannelPolicy, Routed, Router, matches
from detector.config_routes import Route, Weekday
from detector.domain import Severity

MAIL = ChannelPolicy(name="mail", min_severity=Severity.LOW)
PAGER = ChannelPolicy(name="pager", min_severity=Severity.HIGH)
CONSOLE = ChannelPolicy(name="console", min_severity=Severity.INFORMATIONAL, routed=False)
# A Monday.
ALERT = Routed(
    severity=Severity.MEDIUM,
    rule_id="horizontal_scan",
    rule_title="Horizontal port scan",
    host="bastion-1",
    at=datetime(2026, 3, 2, 9, 0, tzinfo=UTC),
    users=frozenset({"root", "alice"}),
    login_users=frozenset({"alice"}),
)


def choose(*routes: Route, **values: Any) -> dict[str, tuple[bool, str]]:
    """Whether each channel is told, and the reason."""
    found = Router((MAIL, PAGER, CONSOLE), routes).choose(replace(ALERT, **values))
    return {each.channel: (each.sent, each.reason) for each in found}


def test_without_routes_severity_decides() -> None:
    """All channels that take so severe an alert."""
    assert choose() == {"mail": (True, ALL), "pager": (False, BELOW), "console": (True, ALL)}


def test_the_first_route_that_matches_decides() -> None:
    """Its channels are told as far as they take the severity; the console is told anyway."""
    scans = Route(channels=("pager",), rule=("*scan*",))
    rest = Route(channels=("mail",))
    medium, high = choose(scans, rest), choose(scans, rest, severity=Severity.HIGH)
    assert medium == {"mail": (False, "not routed here: routes[0]"), "pager": (False, BELOW), "console": (True, ALL)}
    assert high["pager"] == (True, "routes[0]")
    assert choose(scans, rest, rule_id="other", rule_title="Other")["mail"] == (True, "routes[1]")


def test_a_route_that_continues_adds() -> None:
    """Channels of further routes are told as well, each once."""
    routes = Route(channels=("pager",), goes_on=True), Route(channels=("mail", "pager"))
    found = choose(*routes, severity=Severity.HIGH)
    assert (found["mail"], found["pager"]) == ((True, "routes[1]"), (True, "routes[0] and routes[1]"))


def test_a_rule_that_names_channels_comes_first() -> None:
    """Neither routes nor severities count then."""
    found = choose(Route(channels=("mail",)), named=("pager",))
    assert found == {"mail": (False, NOT_NAMED), "pager": (True, NAMED), "console": (False, NOT_NAMED)}


@pytest.mark.parametrize(
    ("conditions", "holds"),
    [
        ({"severity": (Severity.LOW, Severity.MEDIUM)}, True),
        ({"severity": (Severity.HIGH,)}, False),
        ({"rule": ("Horizontal*",)}, True),
        ({"rule": ("horizontal",)}, False),
        ({"host": ("bastion-?",)}, True),
        ({"user": ("ali*",), "login_user": ("alice",)}, True),
        ({"user": ("ali*",), "login_user": ("root",)}, False),
        ({"hours": "09:00-10:00"}, True),
        ({"hours": "08:00-09:00"}, False),
        ({"hours": "09:00-10:00", "time_zone": "Europe/Berlin"}, False),
        ({"hours": "10:00-11:00", "time_zone": "Europe/Berlin"}, True),
        ({"weekdays": (Weekday.MONDAY,)}, True),
        ({"weekdays": (Weekday.TUESDAY,)}, False),
        # The night of Sunday, of which Monday's morning is a part.
        ({"hours": "22:00-09:30", "weekdays": (Weekday.SUNDAY,)}, True),
        ({"hours": "22:00-09:30", "weekdays": (Weekday.MONDAY,)}, False),
    ],
)
def test_conditions(conditions: dict[str, Any], holds: bool) -> None:
    """All of them have to hold."""
    assert matches(Route(channels=("mail",), **conditions), ALERT) is holds


@given(st.integers(0, 7 * 24 * 60), st.integers(0, 1439), st.integers(0, 1439))
def test_hours_and_their_complement_are_the_day(minute: int, first: int, last: int) -> None:
    """At any moment exactly one of a span of hours and the rest of the day holds."""
    if first == last:
        return
    texts = [f"{each // 60:02}:{each % 60:02}" for each in (first, last)]
    alert = replace(ALERT, at=ALERT.at + timedelta(minutes=minute))
    held = [matches(Route(channels=(), hours=f"{a}-{b}"), alert) for a, b in (texts, texts[::-1])]
    assert sorted(held) == [False, True]
