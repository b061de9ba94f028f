"""Where a user's changes go, and that a file there is old or new, and nothing in between."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

import pytest

from detector import config, shipped
from detector.errors import RuleWriteError
from detector.ruleset.documents import rule_files
from detector.ruleset.folders import alone, check_is_read, own_folder, replace_file
from tests.disks import fill, small_disk

_SHIPPED = shipped.folder("rules")


def test_changes_go_to_the_last_folder_that_does_not_ship(tmp_path: Path) -> None:
    """The shipped folder is never written to, however it is spelt, nor is a single file a folder."""
    mine, more = tmp_path / "mine", tmp_path / "more"
    assert own_folder([_SHIPPED, mine]) == mine
    assert own_folder([mine, more, _SHIPPED / ".." / _SHIPPED.name, tmp_path / "one.yml"]) == more
    assert own_folder([_SHIPPED]) == Path("/etc/detector/rules")


def test_a_folder_that_is_not_read_is_not_written_to() -> None:
    """Where the shipped rules alone are configured, the fault says what to write; by default the folder is made."""
    system = config.SYSTEM_FILE.parent / "rules"
    check_is_read(system, config.Settings())
    with pytest.raises(RuleWriteError) as fault:
        check_is_read(system, config.Settings(rules=config.Rules(folders=(str(_SHIPPED),))))
    assert fault.value.hint.endswith(f'folders = ["{_SHIPPED}", "/etc/detector/rules"]')


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    """A file keeps mode and owner, a link stays a link; nothing is left beside it.

    A new file can be read by whoever may look into the folder.
    """
    path = tmp_path / "deep" / "rule.yml"
    before = os.umask(0o077)
    try:
        replace_file(path, "one")
    finally:
        os.umask(before)
    assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o750, 0o644)
    path.chmod(0o640)
    link = tmp_path / "link.yml"
    link.symlink_to(path)
    replace_file(link, "two")
    assert link.is_symlink()
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("two", 0o640)
    assert [each.name for each in path.parent.iterdir()] == ["rule.yml"]


def test_a_new_folder_is_for_the_service_to_read(tmp_path: Path) -> None:
    """Its group is that of the folder around it: /etc/detector belongs to the service's."""
    os.chown(tmp_path, 0, 4321)
    path = tmp_path / "rules" / "rule.yml"
    replace_file(path, "one")
    assert (path.parent.stat().st_gid, path.parent.stat().st_mode & 0o777) == (4321, 0o750)


def test_what_cannot_be_written_is_as_it_was(tmp_path: Path) -> None:
    """A disk that is full leaves the old file and nothing else."""
    with small_disk(tmp_path / "disk", "256k") as disk:
        path = disk / "rule.yml"
        replace_file(path, "old")
        filler = fill(disk)
        with pytest.raises(RuleWriteError, match=r"rule\.yml: No space left on device"):
            replace_file(path, "new")
        filler.unlink()
        assert [(each.name, each.read_text()) for each in disk.iterdir()] == [("rule.yml", "old")]


def test_one_at_a_time_changes_a_folder(tmp_path: Path) -> None:
    """Who comes second waits until the first is through."""
    order = []

    def second() -> None:
        with alone(tmp_path / "rules"):
            order.append("second")

    waiting = Thread(target=second)
    with alone(tmp_path / "rules"):
        waiting.start()
        waiting.join(0.2)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]


def test_what_is_hidden_is_not_read(tmp_path: Path) -> None:
    """Neither earlier versions in `.versions` nor files that are being written are rules."""
    for name in ("rule.yml", ".rule.yml", ".versions/rule.yml", "below/.old/rule.yml", "below/rule.yml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    found, faults = rule_files(tmp_path)
    assert [str(each.relative_to(tmp_path)) for each in found] == ["below/rule.yml", "rule.yml"]
    assert faults == []
