"""Puts a file of rules in force: into the user's folder, one at a time, with what was there before kept."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from detector import shipped
from detector.cli.rule_changes import said_author
from detector.cli.terminal import note, say
from detector.errors import DetectorError, RuleWriteError
from detector.ruleset.folders import check_is_read, own_folder, replace_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from detector.config import Settings
    from detector.ruleset.evaluate import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a changed file goes."""

    folder: Path
    """The user's."""
    path: Path
    """In it."""
    was: str | None
    """What is there; None: nothing."""
    now: Sequence[Rule]
    """The rules of the file that it takes the place of."""


def place_of(settings: Settings, source: Path) -> Place:
    """Where a change of the file `source` goes: to its own place, or if it ships, to a copy in the user's folder.

    Raises:
        DetectorError: it is not among the rules that are configured.
        RuleWriteError: what is written would not be read, or nothing can be written there.
    """
    from detector.ruleset.load import load_rules
    from detector.ruleset.versions import read

    ours = shipped.folder("rules").resolve()
    folder = next((each for each in settings.rule_folders if source.is_relative_to(each)), None)
    if folder is None:
        raise DetectorError(f"{source} is not below a folder of [rules] folders", hint="edit it as any other file")
    path = source
    if folder.resolve() == ours:
        folder, path = own_folder(settings.rule_folders), own_folder(settings.rule_folders) / source.relative_to(folder)
        check_is_read(folder, settings)
    _check_writable(path)
    loaded = load_rules(settings.rule_folders, channels=settings.channel_names)
    now = [rule for rule in loaded.ruleset.rules if rule.path == str(source)]
    return Place(folder=folder, path=path, was=read(path) if path.exists() else None, now=now)


def new_place(settings: Settings, name: str) -> Place:
    """Where a new file goes.

    Raises:
        RuleWriteError: there is one of this name; what is written would not be read, or nothing can be written there.
    """
    folder = own_folder(settings.rule_folders)
    check_is_read(folder, settings)
    path = folder / name
    if path.exists():
        raise RuleWriteError(f"{path} is there already", hint=f"edit it: detector rules edit {path.stem}")
    _check_writable(path)
    return Place(folder=folder, path=path, was=None, now=())


@contextmanager
def edited_alone(place: Place) -> Iterator[None]:
    """Nobody else edits the same file meanwhile.

    Raises:
        DetectorError: somebody does.
        RuleWriteError: nothing can be written there.
    """
    # Hidden, so that the loader passes over it; it stays, since whoever waits for it holds it open.
    lock = place.path.parent / f".{place.path.name}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise _unwritable(lock, fault) from None
    with os.fdopen(descriptor, "r+", encoding="utf-8", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read(200).strip() or "somebody"
            raise DetectorError(f"{place.path} is being edited by {holder}", hint="wait until that is done") from None
        _say_who(file)
        try:
            yield
        finally:
            file.truncate(0)


def put(settings: Settings, place: Place, text: str) -> None:
    """Puts `text` in its place, once what is there is kept.

    Raises:
        RuleWriteError: the file was changed meanwhile, or nothing can be written; all is as it was.
    """
    from detector.ruleset.versions import keep, read

    there = read(place.path) if place.path.exists() else None
    if there != place.was:
        raise RuleWriteError(f"{place.path} was changed meanwhile by other means", hint="look at it, and edit again")
    if there is not None:
        kept = keep(place.folder, place.path)
        note(f"the version before is kept: {kept.name} (detector rules rollback)")
    replace_file(place.path, text)
    say(f"written: {place.path}; a running detect takes it up within two seconds")
    if settings.database_url.startswith("postgresql"):
        note("other machines that detect have rule files of their own: change them there too")


def _say_who(file: Any) -> None:
    # A full disk is told when it matters.
    with suppress(OSError):
        file.seek(0)
        file.truncate(0)
        file.write(f"{said_author(None)} (process {os.getpid()})\n")
        file.flush()


def _check_writable(path: Path) -> None:
    """Before anybody has written anything that could not be kept."""
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _unwritable(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _unwritable(path: Path, fault: OSError) -> RuleWriteError:
    denied = isinstance(fault, PermissionError)
    hint = "rules are changed by whoever may write there: try it with sudo" if denied else ""
    return RuleWriteError(f"{path}: {fault.strerror}", hint=hint)
