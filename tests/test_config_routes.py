"""Routes that cannot be meant are refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from detector import config
from detector.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from detector.config_routes import Route

CHANNELS = """
[[channels]]
name = "mail"
url = "json://127.0.0.1"
[[channels]]
name = "pager"
url = "json://127.0.0.1"
min_severity = "high"
"""
ALL = '[[routes]]\nchannels = ["mail", "pager"]\n'


def _load(folder: Path, routes: str) -> tuple[Route, ...]:
    file = folder / "detector.toml"
    file.write_text(CHANNELS + routes)
    return config.load(file, {}).routes


def _route(text: str, channels: str = '["mail"]') -> str:
    return f"[[routes]]\nchannels = {channels}\n{text}\n"


def test_routes_are_read(tmp_path: Path) -> None:
    """Conditions of all kinds; `continue` is what TOML calls it."""
    first, last = _load(
        tmp_path,
        _route('severity = ["high"]\nhours = "22:00-06:00"\nweekdays = ["sunday"]\ntime_zone = "Europe/Berlin"')
        + _route("continue = false", '["pager", "mail"]'),
    )
    assert (first.severity, first.hours, first.weekdays) == (("high",), "22:00-06:00", ("sunday",))
    assert not first.matches_all
    assert (last.matches_all, last.goes_on) == (True, False)


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        (_route("", '["male"]') + ALL, "routes[0].channels: there is no channel 'male'"),
        (_route("", '["console"]') + ALL, "routes[0].channels: the console is no matter of routes"),
        (_route('host = ["b-*"]'), "routes: an alert that none of them matches would go nowhere"),
        (_route("continue = true", '["mail", "pager"]'), "routes: an alert that none of them matches would go nowhere"),
        (_route(""), "channel 'pager' is reached by no route"),
        (ALL + _route('host = ["b-1"]'), "routes[1] can never match: routes[0] takes all of it"),
        (_route('host = ["b-*"]') + _route('host = ["b-1"]\nseverity = ["high"]') + ALL, "routes[1] can never match"),
        (_route('hours = "25:00-06:00"') + ALL, "routes[0].hours: expected from and to"),
        (_route('hours = "06:00-06:00"') + ALL, "routes[0].hours: expected from and to"),
        (_route('time_zone = "Europe/Nowhere"') + ALL, "routes[0].time_zone: there is no 'Europe/Nowhere' here"),
        (_route('time_zone = "../../etc/passwd"') + ALL, "routes[0].time_zone: there is no"),
        (_route('rule = [""]') + ALL, "routes[0].rule: an empty pattern"),
        (_route('severity = ["low", "medium"]', '["pager"]') + ALL, "routes[0].channels: 'pager' takes nothing"),
        (_route('hosts = ["x"]') + ALL, "unknown key routes[0].hosts"),
        (_route('weekdays = ["someday"]') + ALL, "routes[0].weekdays[0]"),
        ("[[routes]]\nhost = ['x']\n", "routes[0] has no channels"),
    ],
)
def test_a_bad_route_is_refused(tmp_path: Path, routes: str, message: str) -> None:
    """Each fault names the file, the route and the key."""
    with pytest.raises(ConfigError) as fault:
        _load(tmp_path, routes)
    assert fault.value.message.startswith(f"{tmp_path / 'detector.toml'}: {message}")


@pytest.mark.parametrize(
    "routes",
    [
        _route('host = ["b-*"]\ncontinue = true') + _route('host = ["b-1"]') + ALL,
        _route('host = ["b-1"]') + _route('host = ["b-*"]') + ALL,
        _route('hours = "22:00-06:00"') + _route('host = ["b-*"]') + ALL,
        _route("", "[]").replace("channels = []\n", 'channels = []\nhost = ["test-*"]\n') + ALL,
    ],
)
def test_what_can_match_is_not_refused(tmp_path: Path, routes: str) -> None:
    """A narrower route before a wider one, one that continues, one for some hours, one that sends nowhere."""
    assert _load(tmp_path, routes)
