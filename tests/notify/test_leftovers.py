"""What a detector that was killed leaves in the folder for temporary files does not stay there."""

from __future__ import annotations

import os
import tempfile
import time
from typing import TYPE_CHECKING

from detector.notify.leftovers import PREFIX, clear

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_what_is_old_and_ours_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders with what is in them, and files; but nothing new, nobody else's, no link, and nothing of another name."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    for name in (f"{PREFIX}a", f"{PREFIX}new", f"{PREFIX}theirs", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fontlist.json").touch()
        (tmp_path / name / "link").symlink_to(kept)
    (tmp_path / f"{PREFIX}b.png").touch()
    (tmp_path / f"{PREFIX}link").symlink_to(kept)
    os.chown(tmp_path / f"{PREFIX}theirs", 1234, -1)
    now = time.time() + 7200
    os.utime(tmp_path / f"{PREFIX}new", (now, now))

    clear(now)

    left = {each.name for each in tmp_path.iterdir()}
    assert left == {"kept", "other", f"{PREFIX}link", f"{PREFIX}new", f"{PREFIX}theirs"}
    assert (kept / "file").exists()
