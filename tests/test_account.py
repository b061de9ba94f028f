"""What changes hands when the service is not root's, and what does not."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from detector.account import Account, acting_as, of_service, own_state
from detector.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_SOMEBODY = Account("somebody", 64_001, 64_001, (64_001,))


def test_what_root_left_in_the_state_folder_becomes_the_accounts(tmp_path: Path) -> None:
    """The database, and what waits in the folder below; a folder that is not there yet is made for it alone."""
    state = tmp_path / "state"
    own_state(state, _SOMEBODY)
    assert (state.stat().st_mode & 0o777, state.stat().st_uid) == (0o750, 64_001)

    os.chown(state, 0, 0)
    for path in (state / "detector.db", state / "spool" / "one.snapshot"):
        path.parent.mkdir(exist_ok=True)
        path.touch(0o600)
    own_state(state, _SOMEBODY)
    assert {(path.stat().st_uid, path.stat().st_gid) for path in (state, *state.rglob("*"))} == {(64_001, 64_001)}


def test_no_file_of_others_changes_hands(tmp_path: Path) -> None:
    """Whoever may write to the folder could have made a link to any file of the system."""
    state, secret, others = tmp_path / "state", tmp_path / "shadow", tmp_path / "state" / "others"
    state.mkdir()
    for path in (secret, others):
        path.touch(0o600)
    os.chown(others, 64_002, 64_002)
    (state / "symbolic").symlink_to(secret)
    (state / "hard").hardlink_to(secret)
    (state / "folder").symlink_to(tmp_path)
    own_state(state, _SOMEBODY)
    assert [path.stat().st_uid for path in (secret, others, tmp_path)] == [0, 64_002, 0]


def test_what_is_made_for_an_account_is_its_own_and_root_is_root_afterwards(tmp_path: Path) -> None:
    """Also after a fault."""
    tmp_path.chmod(0o777)
    here = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    with suppress(FileExistsError), acting_as(_SOMEBODY):
        os.mkdir("made", dir_fd=here)
        os.mkdir("made", dir_fd=here)
    os.close(here)
    assert ((tmp_path / "made").stat().st_uid, os.geteuid(), os.getegid()) == (64_001, 0, 0)


def test_an_account_that_is_wanted_must_be_there() -> None:
    """The message has the command that makes it."""
    with pytest.raises(ConfigError, match="there is no account nosuchaccount") as fault:
        of_service("nosuchaccount")
    assert fault.value.hint.startswith("useradd --system")


def test_root_stays_root_if_asked_to_and_where_it_works_on_the_source() -> None:
    """Others can often not read a checkout."""
    assert of_service("root") is None
    assert of_service() is None
