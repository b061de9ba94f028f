"""What goes into the Debian package, as far as that shows without building it; `make test-deb` does that."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from detector.account import SERVICE
from detector.config import Settings, load

_ROOT = Path(__file__).parents[2]
_PACKAGING = _ROOT / "packaging"


def test_the_configuration_that_is_installed_changes_nothing_and_shows_every_setting(tmp_path: Path) -> None:
    """Each is a comment with its default, which a line of one's own can follow."""
    commented = re.search(r"sed -E '(s.*)' \"\$checkout/docs/detector.toml\"", (_PACKAGING / "build-deb").read_text())
    assert commented
    written = subprocess.run(
        ["sed", "-E", commented[1], _ROOT / "docs" / "detector.toml"], check=True, capture_output=True, text=True
    ).stdout
    installed = tmp_path / "detector.toml"
    installed.write_text(written)
    assert load(installed, {}) == Settings()
    assert all(not values for values in tomllib.loads(written).values())
    assert "#interval_seconds = 10.0" in written
    installed.write_text(f'{written}\n[[channels]]\nname = "mail"\nurl_credential = "secrets_mail"\n')
    assert [channel.name for channel in load(installed, {}).channels] == ["mail"]


@pytest.mark.parametrize("script", ["build-deb", "test-deb", "debian/detector.postinst", "debian/detector.postrm"])
def test_a_script_is_one(script: str) -> None:
    """The shell reads it to its end."""
    subprocess.run(["sh", "-n", _PACKAGING / script], check=True)


def test_the_account_of_units_and_package_is_that_of_the_program() -> None:
    """`detector run` finds the one that the package makes."""
    made = (_PACKAGING / "debian" / "detector.postinst").read_text(encoding="utf-8")
    assert re.findall(r"adduser .* (\S+)$", made, re.MULTILINE) == [SERVICE]


def test_what_is_not_audited_is_said_and_does_not_fail(tmp_path: Path) -> None:
    """As on a machine without a network: `make lint` goes on."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "python").symlink_to("/usr/bin/python3")
    answers = {
        "exit 1": (1, "pip-audit failed"),
        "echo 'ConnectionError: no route' >&2; exit 1": (0, "NOT AUDITED"),
        """echo '{"dependencies": [{"name": "a", "skip_reason": "?"}]}'""": (0, "1 of 1 packages NOT AUDITED"),
        """echo '{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}'""": (
            0,
            "no known weakness in 1 packages",
        ),
        """echo '{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}]}'
        exit 1""": (1, "a 1: CVE-1; mended in 2"),
    }
    for tool, (code, said) in answers.items():
        (bin_folder / "pip-audit").write_text(f"#!/bin/sh\n{tool}\n")
        (bin_folder / "pip-audit").chmod(0o755)
        done = subprocess.run(
            [bin_folder / "python", _PACKAGING / "audit.py", "lock.txt"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, said in done.stdout) == (code, True), done
