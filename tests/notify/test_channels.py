"""The channels of a configuration."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from detector.config import Channel, Notify, Settings
from detector.errors import ConfigError
from detector.notify.channels import open_channels
from detector.notify.message import trial
from tests.notify.servers import MailServer, part

if TYPE_CHECKING:
    from pathlib import Path


def test_each_channel_has_its_notifier(tmp_path: Path) -> None:
    """Addresses come from the configuration or from a file; the console is one more channel."""
    server = MailServer()
    secret = tmp_path / "address"
    secret.write_text(f"{server.url}\n")
    secret.chmod(0o600)
    settings = Settings(channels=(Channel(name="direct", url=server.url), Channel(name="filed", url_file=str(secret))))
    console = io.StringIO()
    opened = open_channels(settings, console)
    assert list(opened) == ["console", "direct", "filed"]
    with server.running():
        for name, notifier in opened.items():
            notifier.send(trial(name, "bastion-1"))
    assert "through the channel console" in console.getvalue()
    assert [
        "through the channel direct" in part(server.received[0], "plain"),
        "through the channel filed" in part(server.received[1], "plain"),
    ] == [True, True]


def test_the_console_can_be_switched_off() -> None:
    """Then there is no such channel."""
    assert open_channels(Settings(notify=Notify(console=False)), io.StringIO()) == {}


def test_a_bad_address_is_refused_by_name(tmp_path: Path) -> None:
    """A file that everyone can read, or an address that apprise does not know, names its channel."""
    secret = tmp_path / "address"
    secret.write_text("slack://whatever")
    secret.chmod(0o644)
    for channel in (Channel(name="ops", url="unheard://of"), Channel(name="ops", url_file=str(secret))):
        with pytest.raises(ConfigError, match="channel 'ops'"):
            open_channels(Settings(channels=(channel,)), io.StringIO())


def test_without_channels_apprise_is_not_loaded() -> None:
    """The console alone costs no memory for what apprise brings with it."""
    script = (
        "import sys\n"
        "from detector.config import Settings\n"
        "from detector.notify.channels import open_channels\n"
        "open_channels(Settings(), sys.stdout)\n"
        "sys.exit('apprise' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
