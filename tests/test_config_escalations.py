"""Escalations that cannot be meant are refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from detector import config
from detector.errors import ConfigError
from tests.test_config_routes import CHANNELS

if TYPE_CHECKING:
    from pathlib import Path


def _step(text: str = "", channels: str = '["pager"]', after: str = "900") -> str:
    return f"[[escalations]]\nafter_seconds = {after}\nchannels = {channels}\n{text}\n"


def test_escalations_are_read(tmp_path: Path) -> None:
    """A channel that only escalations name is reached by them, whatever the routes are."""
    file = tmp_path / "detector.toml"
    file.write_text(CHANNELS + '[[routes]]\nchannels = ["mail"]\n' + _step('severity = ["critical"]'))
    (step,) = config.load(file, {}).escalations
    assert (step.after_seconds, step.channels, step.severity) == (900, ("pager",), ("critical",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_step(channels='["pagr"]'), "escalations[0].channels: there is no channel 'pagr'"),
        (_step(channels='["console"]'), "escalations[0].channels: the console is told of all alerts at once"),
        (_step(channels="[]"), "escalations[0].channels: there is none"),
        (_step('severity = ["low", "high"]'), "escalations[0].channels: 'pager' does not take low alerts"),
        (
            _step() + _step('severity = ["high"]'),
            "escalations[1] tells 'pager' of high alerts when escalations[0] does",
        ),
        (_step(after="0"), "escalations[0].after_seconds"),
        ('[[escalations]]\nchannels = ["pager"]\n', "escalations[0] has no after_seconds"),
        (_step("severty = []"), "unknown key escalations[0].severty"),
        ('[escalations]\nchannels = ["pager"]\n', "escalations: expected"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """With the file, the step and the key."""
    file = tmp_path / "detector.toml"
    file.write_text(CHANNELS + text)
    with pytest.raises(ConfigError) as fault:
        config.load(file, {})
    assert fault.value.message.startswith(f"{file}: {message}")


def test_a_misspelt_key_has_a_neighbour(tmp_path: Path) -> None:
    """The hint names a key of escalations."""
    file = tmp_path / "detector.toml"
    file.write_text(CHANNELS + _step("severty = []"))
    with pytest.raises(ConfigError) as fault:
        config.load(file, {})
    assert "severity" in (fault.value.hint or "")
