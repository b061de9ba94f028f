"""Where addresses that are secrets come from: the configuration, a file, the environment, a systemd credential."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from detector.errors import ConfigError

SOURCES = ("url", "url_file", "url_env", "url_credential")
_FOLDER_VARIABLE = "CREDENTIALS_DIRECTORY"
SECRETS = Path("/etc/detector/secrets")
"""The folder that the unit of `detect` has credentials from; their names begin with `secrets_` there."""
_LOADED = "secrets_"
_LONGEST = 65_536
_WRITE = "write the address into it, as text, with mode 0600"
_LET_IN = "run this as root, or let the user of the service read it"


class Address(Protocol):
    """A section with an address in one of several places."""

    @property
    def url(self) -> str:
        """The address itself."""

    @property
    def url_file(self) -> str:
        """A file with it."""

    @property
    def url_env(self) -> str:
        """An environment variable."""

    @property
    def url_credential(self) -> str:
        """The name of a systemd credential."""


def named_sources(section: Address) -> list[str]:
    """The keys of `SOURCES` that are set."""
    return [key for key in SOURCES if getattr(section, key)]


def read_address(section: Address, owner: str) -> str:
    """The address, from whichever place is named; empty if none is.

    Args:
        owner: what it belongs to, for messages.

    Raises:
        ConfigError: it cannot be read, is empty, or others can read it. The address is never shown.
    """
    if section.url_file:
        return read_secret(Path(section.url_file), f"{owner}: url_file")
    if section.url_env:
        return _from_environment(section.url_env, f"{owner}: url_env")
    if section.url_credential:
        return _credential(section.url_credential, f"{owner}: url_credential")
    return section.url


def read_secret(path: Path, key: str) -> str:
    """The stripped content of a file that only its owner (and group) may read.

    Raises:
        ConfigError: unreadable, empty, or open to everyone; the content is never shown.
    """
    try:
        mode = path.stat().st_mode
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
        text = content.decode().strip()
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "it is not text"
        hint = _LET_IN if isinstance(fault, PermissionError) else _WRITE
        raise ConfigError(f"{key}: {path}: {reason}", hint=hint) from None
    if mode & 0o007:
        raise ConfigError(f"{key}: {path} can be read by everyone", hint=f"chmod 0600 {path}")
    if len(content) > _LONGEST:
        raise ConfigError(f"{key}: {path} is longer than {_LONGEST:,} bytes", hint="name a file with the address alone")
    if not text:
        raise ConfigError(f"{key}: {path} is empty", hint=_WRITE)
    if "\0" in text:
        raise ConfigError(f"{key}: {path} is no text", hint=_WRITE)
    return text


def _from_environment(variable: str, key: str) -> str:
    text = os.environ.get(variable, "").strip()
    if not text:
        raise ConfigError(
            f"{key}: the environment variable {variable} is not set", hint="set it where detector is started"
        )
    return text


def _credential(name: str, key: str) -> str:
    folder = os.environ.get(_FOLDER_VARIABLE)
    if "/" in name or name in (".", ".."):
        raise ConfigError(f"{key}: {name!r} is a path", hint="write the name that LoadCredential= gives it")
    if not folder and name.startswith(_LOADED):
        # Where the unit that ships has it from: for root, who tries a channel at a terminal.
        return read_secret(SECRETS / name.removeprefix(_LOADED), key)
    if not folder:
        raise ConfigError(
            f"{key}: there are no systemd credentials here",
            hint=f"add LoadCredential={name}:PATH to the unit; outside of it, use url_file",
        )
    return read_secret(Path(folder) / name, key)
