"""`[heartbeat]`: a sign of life for a service that raises the alarm when it stops."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from detector.config_secrets import SOURCES, named_sources, read_address
from detector.config_section import Section
from detector.config_wording import VARIABLE
from detector.errors import ConfigError


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


def check_heartbeat(heartbeat: Heartbeat, source: str) -> None:
    """Refuses an address in several places.

    Raises:
        ConfigError: with the file and the keys.
    """
    named = named_sources(heartbeat)
    if len(named) > 1:
        raise ConfigError(
            f"{source}: heartbeat has {' and '.join(named)}", hint=f"name at most one of {', '.join(SOURCES)}"
        )
