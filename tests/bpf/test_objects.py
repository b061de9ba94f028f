"""Compiled programs that are kept for the next start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from detector.bpf.objects import KernelObject, MapDefinition, ObjectCache
from detector.errors import CaptureError

if TYPE_CHECKING:
    from pathlib import Path

_KEY = ("text", "-DTYPES", "6.1.0")
_OBJECT = KernelObject(
    maps={
        "counts": MapDefinition(kind=1, key_bytes=28, value_bytes=56, entries=64, flags=0),
        "active": MapDefinition(kind=12, key_bytes=4, value_bytes=4, entries=1, flags=0, inner="counts"),
    },
    functions={"count": bytes(range(16))},
)


def test_what_was_kept_is_found_again_and_nothing_else_is(tmp_path: Path) -> None:
    """By all that it was compiled from; a folder that is missing is made, for its owner alone."""
    folder = tmp_path / "made" / "cache"
    ObjectCache(folder).put(_KEY, _OBJECT)
    assert ObjectCache(folder).get(_KEY) == _OBJECT
    assert ObjectCache(folder).get((*_KEY[:2], "6.2.0")) is None
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [each.stat().st_mode & 0o777 for each in folder.iterdir()] == [0o600]


@pytest.mark.parametrize("damage", [b"", b"{}", b"0" * 32 + b"\n{}", bytes(100)])
def test_what_is_damaged_is_taken_for_missing(tmp_path: Path, damage: bytes) -> None:
    """Cut off, overwritten, or another program's."""
    cache = ObjectCache(tmp_path)
    cache.put(_KEY, _OBJECT)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage)
    assert cache.get(_KEY) is None
    cache.put(_KEY, _OBJECT)
    assert cache.get(_KEY) == _OBJECT


def test_what_others_can_write_is_neither_read_nor_written(tmp_path: Path) -> None:
    """They could have any program loaded into the kernel."""
    cache = ObjectCache(tmp_path)
    cache.put(_KEY, _OBJECT)
    (path,) = tmp_path.iterdir()
    path.chmod(0o666)
    assert cache.get(_KEY) is None
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert cache.get(_KEY) is None
    path.unlink()
    cache.put(_KEY, _OBJECT)
    assert cache.get(_KEY) == _OBJECT
    tmp_path.chmod(0o777)
    assert cache.get(_KEY) is None
    with pytest.raises(CaptureError, match="can be written to by others"):
        cache.put(_KEY, _OBJECT)


def test_only_the_last_few_are_kept(tmp_path: Path) -> None:
    """A folder does not grow with every kernel that was ever booted."""
    cache = ObjectCache(tmp_path)
    for release in range(12):
        cache.put((*_KEY, str(release)), _OBJECT)
    assert len(list(tmp_path.iterdir())) == 8
    assert cache.get((*_KEY, "11")) == _OBJECT
