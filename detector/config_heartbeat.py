"""`[heartbeat]`: a sign of life for a service that raises the alarm when it stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import msgspec

from detector.config_secrets import SOURCES, named_sources, read_address
from detector.config_section import Section
from detector.config_wording import VARIABLE, nearest
from detector.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection


class Heartbeat(Section, frozen=True):
    """A sign of life while capture and detection go on."""

    url: str = ""
    """An http or https address that is asked at each beat. It is a secret. Empty, as all four: there is none."""
    url_file: str = ""
    """A file (mode 0600) that holds the address, in place of `url`."""
    url_env: Annotated[str, msgspec.Meta(pattern=VARIABLE)] = ""
    """An environment variable that holds it."""
    url_credential: str = ""
    """The name of a systemd credential (LoadCredential=) that holds it."""
    interval_seconds: Annotated[float, msgspec.Meta(ge=10, le=86400)] = 60.0
    """Between two beats."""
    fail_suffix: str = "/fail"
    """Put behind the address when something is wrong, which is said there. Empty: then there is no beat at all."""

    channels: tuple[str, ...] = ()
    """Channels that are told from time to time that the detector works."""
    channel_hours: Annotated[float, msgspec.Meta(ge=0.1, le=168)] = 24.0
    """How often."""

    @property
    def address(self) -> str:
        """The address; empty if there is to be no heartbeat.

        Raises:
            ConfigError: it cannot be read, others can read it, or it is none of http or https.
        """
        address = read_address(self, "heartbeat")
        try:
            parts = urlsplit(address)
            good = not address or (parts.scheme in ("http", "https") and bool(parts.hostname) and address.isprintable())
        except ValueError:
            good = False
        if not good or " " in address:
            raise ConfigError("heartbeat: its address is none of http or https", hint="write it as https://host/path")
        return address


def check_heartbeat(heartbeat: Heartbeat, channels: Collection[str], source: str) -> None:
    """Refuses an address in several places, and channels that are not there.

    Raises:
        ConfigError: with the file and the keys.
    """
    named = named_sources(heartbeat)
    if len(named) > 1:
        raise ConfigError(
            f"{source}: heartbeat has {' and '.join(named)}", hint=f"name at most one of {', '.join(SOURCES)}"
        )
    for name in heartbeat.channels:
        if name not in channels:
            raise ConfigError(
                f"{source}: heartbeat.channels: there is no channel {name!r}",
                hint=nearest(name, channels) if channels else "name a configured channel",
            )
