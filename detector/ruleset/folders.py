"""Where a user's changes to the rules go, and how a file there is replaced."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from tempfile import mkstemp
from typing import TYPE_CHECKING

from detector import config, shipped
from detector.account import reading_group
from detector.errors import RuleWriteError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# Detection runs as another user than the one who edits.
_MODE = 0o644
FOLDER_MODE = 0o750
"""Of a folder of rules that does not ship, as the package makes it."""


def own_folder(rule_folders: Sequence[Path]) -> Path:
    """The folder that holds what users change: the last of `[rules] folders` that does not ship, else the system's.

    It need not exist: `replace_file` makes it.
    """
    ours = shipped.folder("rules").resolve()
    own = [folder for folder in rule_folders if folder.suffix != ".yml" and folder.resolve() != ours]
    return own[-1] if own else config.SYSTEM_FILE.parent / "rules"


def check_is_read(folder: Path, settings: config.Settings) -> None:
    """Makes sure that what is written to a folder is in force afterwards.

    Raises:
        RuleWriteError: `[rules] folders` leaves it out.
    """
    if settings.rules.folders and folder not in settings.rule_folders:
        named = ", ".join(f'"{each}"' for each in (*settings.rules.folders, folder))
        raise RuleWriteError(
            "[rules] folders names the shipped rules alone, which no change is written to",
            hint=f"name a folder of your own beside them: folders = [{named}]",
        )


def is_hidden(name: str) -> bool:
    """Whether the loader passes over a file or folder of this name: earlier versions, and what is being written."""
    return name.startswith(".")


def replace_file(path: Path, text: str) -> None:
    """Puts `text` at `path`: whoever reads meanwhile sees all of the old, or all of the new, as after a crash.

    A file that is there keeps its mode and owner; a new one can be read by everyone, as rules hold no secrets.
    Folders that are missing are made.

    Raises:
        RuleWriteError: it cannot be written; what was there is as it was.
    """
    try:
        _make(path.parent)
        # A link stays one.
        target = path.resolve()
        descriptor, name = mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                _take_over(target, file.fileno())
                os.fsync(file.fileno())
            os.replace(name, target)  # noqa: PTH105  both are text
        except BaseException:
            with suppress(OSError):
                os.unlink(name)  # noqa: PTH108
            raise
        _sync_folder(target.parent)
    except OSError as fault:
        raise RuleWriteError(f"{path}: {fault.strerror or fault}", hint=_remedy(fault)) from None


def remove_file(path: Path) -> None:
    """Removes a file.

    Raises:
        RuleWriteError: it cannot be removed.
    """
    try:
        path.unlink()
        _sync_folder(path.parent)
    except OSError as fault:
        raise RuleWriteError(f"{path}: {fault.strerror or fault}", hint=_remedy(fault)) from None


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps other commands from changing a folder, which is made when it is missing, until this one is through.

    Raises:
        RuleWriteError: it can be neither made nor read.
    """
    try:
        _make(folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as fault:
        raise RuleWriteError(f"{folder}: {fault.strerror or fault}", hint=_remedy(fault)) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make(folder: Path) -> None:
    """Makes a folder, and those on the way, for the service's account to read as well, whatever root's umask is."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        if (group := reading_group(each)) is not None:
            os.chown(each, -1, group)
        each.chmod(FOLDER_MODE)


def _take_over(target: Path, descriptor: int) -> None:
    """Gives what will be `target` the mode and owner that it has now."""
    try:
        known = target.stat()
    except FileNotFoundError:
        os.fchmod(descriptor, _MODE)
        return
    # Who may write into the folder need not own what is in it.
    with suppress(PermissionError):
        os.fchown(descriptor, known.st_uid, known.st_gid)
    os.fchmod(descriptor, known.st_mode & 0o7777)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remedy(fault: OSError) -> str:
    if isinstance(fault, PermissionError):
        return "rules are changed by whoever may write there: try it with sudo"
    return ""
