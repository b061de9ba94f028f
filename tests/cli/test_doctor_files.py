"""What `detector doctor` says of whom files are open to, and whose they are; its remedies are run as they stand."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from detector import config
from detector.cli.checks import files

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from detector.config import Settings


def _said(settings: Settings, path: Path | None) -> list[tuple[str, str, str]]:
    return [(check.verdict.value, check.finding, check.remedy) for check in files.files(settings, path)]


def test_looser_modes_are_told_with_the_command_that_mends_them(tmp_path: Path) -> None:
    """Configuration 0640, secrets 0600, state 0750; what everyone may read is bad, what a group may is doubtful,
    and so are rules that everyone may read.
    """
    state, rules = tmp_path / "state", tmp_path / "rules"
    for folder in (state, rules):
        folder.mkdir()
    path, secret, rule, stored = tmp_path / "it.toml", tmp_path / "token", rules / "own.yml", state / "detector.db"
    secret.write_text("json://s3cret.example")
    path.write_text(
        f'state_folder = "{state}"\n[rules]\nfolders = ["{rules}"]\n'
        f'[[channels]]\nname = "a"\nurl_file = "{secret}"\n[[channels]]\nname = "b"\nurl = "json://localhost"\n'
    )
    rule.touch()
    stored.touch()
    modes = {path: 0o640, secret: 0o600, state: 0o750, rules: 0o750, rule: 0o644, stored: 0o640}
    for each, mode in modes.items():
        each.chmod(mode)
    settings = config.load(path, {})
    assert _said(settings, path) == [("good", "none is open to more users than it should be", "")]
    for each, mode in {path: 0o644, secret: 0o640, state: 0o755, rules: 0o755, rule: 0o666, stored: 0o644}.items():
        each.chmod(mode)
    found = _said(settings, path)
    assert {remedy for _, _, remedy in found} == {f"chmod {mode:04o} {each}" for each, mode in modes.items()}
    assert [verdict for verdict, _, remedy in found] == [
        "doubtful" if remedy.endswith(("token", "rules")) else "bad" for _, _, remedy in found
    ]
    for _, _, remedy in found:
        subprocess.run(remedy.split(), check=True)
    assert [verdict for verdict, _, _ in _said(settings, path)] == ["good"]


def test_a_folder_that_is_closed_to_others_stays_open_to_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the service reads rules by everybody's right, it is given its group's before that is taken away."""
    monkeypatch.setattr(files, "SERVICE", "daemon")
    rules = tmp_path / "rules"
    rules.mkdir(mode=0o755)
    settings = config.Settings(rules=config.Rules(folders=(str(rules),)), state_folder=str(tmp_path / "state"))
    ((verdict, finding, remedy),) = _said(settings, None)
    assert (verdict, finding) == ("doubtful", f"a folder of rules: everyone may read {rules} (mode 0755)")
    subprocess.run(remedy, shell=True, check=True)  # noqa: S602 - as a person would paste it
    assert (rules.group(), rules.stat().st_mode & 0o777) == ("daemon", 0o750)
    assert [verdict for verdict, _, _ in _said(settings, None)] == ["good"]


def test_a_backup_that_root_puts_back_is_told_with_the_command_that_gives_it_to_the_service(tmp_path: Path) -> None:
    """The service cannot open it; what root keeps in folders of its own is root's affair."""
    state = tmp_path / "state"
    state.mkdir(mode=0o750)
    stored = state / "detector.db"
    stored.touch(mode=0o640)
    settings = config.Settings(state_folder=str(state))
    assert [verdict for verdict, _, _ in _said(settings, None)] == ["good"]
    shutil.chown(state, "daemon", "daemon")
    ((verdict, finding, remedy),) = _said(settings, None)
    assert (verdict, finding) == ("bad", f"{stored} belongs to root, and its folder to daemon, who cannot change it")
    subprocess.run(remedy.split(), check=True)
    assert (stored.owner(), stored.group()) == ("daemon", "daemon")
    assert [verdict for verdict, _, _ in _said(settings, None)] == ["good"]


def test_a_folder_in_which_everyone_can_replace_the_configuration_is_bad(tmp_path: Path) -> None:
    """However closed the file is; in a folder such as /tmp nobody can."""
    folder = tmp_path / "etc"
    folder.mkdir()
    path = folder / "detector.toml"
    path.write_text(f'state_folder = "{tmp_path / "state"}"\n')
    path.chmod(0o640)
    settings = config.load(path, {})
    for mode, wanted in ((0o755, "good"), (0o1777, "good"), (0o777, "bad")):
        folder.chmod(mode)
        ((verdict, finding, remedy),) = _said(settings, path)
        assert verdict == wanted
    assert finding == f"the folder of the configuration: everyone may change {folder} (mode 0777)"
    subprocess.run(remedy.split(), check=True)
    assert [verdict for verdict, _, _ in _said(settings, path)] == ["good"]


def test_an_address_that_members_of_the_group_can_read_is_doubtful(tmp_path: Path) -> None:
    """They are to ask, and to read no secret. A file for root alone holds whatever it likes."""
    path = tmp_path / "it.toml"
    path.write_text(
        f'state_folder = "{tmp_path}"\n[heartbeat]\nurl = "https://s3cret.example"\n'
        '[[channels]]\nname = "a"\nurl = "json://s3cret"\n[[channels]]\nname = "b"\nurl_credential = "secrets_b"\n'
    )
    path.chmod(0o640)
    settings = config.load(path, {})
    assert [verdict for verdict, _, _ in _said(settings, path)] == ["good"]
    shutil.chown(path, group="daemon")
    ((verdict, finding, remedy),) = _said(settings, path)
    assert (verdict, remedy) == (
        "doubtful", "put it into a file of /etc/detector/secrets, and name that: url_credential"
    )  # fmt: skip
    assert finding == f"{path} holds the address of channel a, the heartbeat, which members of its group may read"
