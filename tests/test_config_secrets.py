"""Addresses in systemd credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from detector import config_secrets
from detector.config import Channel
from detector.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_ADDRESS = "json://collector.example.org/token"


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the unit has its credentials from, with one of them; this is no unit."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    folder = tmp_path / "secrets"
    folder.mkdir(0o700)
    (folder / "mail").write_text(f"{_ADDRESS}\n")
    (folder / "mail").chmod(0o600)
    monkeypatch.setattr(config_secrets, "SECRETS", folder)
    return folder


def test_a_credential_is_what_the_unit_gives_under_its_name(
    secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the folder that it was loaded from is closed by now."""
    given = tmp_path / "given"
    given.mkdir()
    (secrets / "mail").rename(given / "secrets_mail")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    assert Channel(name="mail", url_credential="secrets_mail").address == _ADDRESS


@pytest.mark.usefixtures("secrets")
def test_root_at_a_terminal_has_it_from_where_the_unit_has_it() -> None:
    """`detector notify test` tries what the service will use."""
    assert Channel(name="mail", url_credential="secrets_mail").address == _ADDRESS


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("secrets_none", "secrets/none: No such file or directory", ""),
        ("other", "there are no systemd credentials here", "add LoadCredential=other:PATH to the unit"),
        ("secrets_../../mail", "is a path", "write the name that LoadCredential= gives it"),
    ],
)
@pytest.mark.usefixtures("secrets")
def test_a_credential_that_is_not_there_is_named(name: str, message: str, hint: str) -> None:
    """With what to write where."""
    with pytest.raises(ConfigError) as fault:
        _ = Channel(name="mail", url_credential=name).address
    assert message in fault.value.message
    assert hint in fault.value.hint


def test_a_secret_that_everyone_can_read_is_refused(secrets: Path) -> None:
    """With the command that mends it, and without the secret."""
    (secrets / "mail").chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by everyone") as fault:
        _ = Channel(name="mail", url_credential="secrets_mail").address
    assert fault.value.hint == f"chmod 0600 {secrets / 'mail'}"
    assert "token" not in fault.value.message
