"""Earlier versions of the files in the user's folder of rules: the last ones are kept, each by when it was replaced."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from detector.errors import RuleWriteError
from detector.ruleset.folders import remove_file, replace_file

if TYPE_CHECKING:
    from pathlib import Path

KEPT = 20
"""So many versions of a file."""
# The loader passes over what is hidden.
_FOLDER = ".versions"
_FORM = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What a file was until it was replaced."""

    name: str
    """When it was replaced, in UTC: 20261128T101500Z; with a number after it where that happened twice in a second."""
    path: Path

    def text(self) -> str:
        """What it was.

        Raises:
            RuleWriteError: it cannot be read.
        """
        return read(self.path)


def read(path: Path) -> str:
    """The text of a rule file.

    Raises:
        RuleWriteError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as fault:
        raise RuleWriteError(f"{path}: {fault.strerror}", hint="let yourself read it, or try it with sudo") from None
    except UnicodeDecodeError:
        raise RuleWriteError(f"{path} is not UTF-8 text", hint="save the file as UTF-8") from None


def versions(folder: Path, path: Path) -> list[Version]:
    """The earlier versions of a file of the user's `folder`, the newest first."""
    found = _place(folder, path).glob("*.yml")
    return [Version(name=each.stem, path=each) for each in sorted(found, key=_age, reverse=True)]


def keep(folder: Path, path: Path) -> Version:
    """Keeps what a file is now, which is about to be replaced; the oldest versions go.

    Raises:
        RuleWriteError: it cannot be read, or written; nothing has changed then.
    """
    text, before = read(path), versions(folder, path)
    moment = datetime.now(UTC).strftime(_FORM)
    last, number = _age(before[0].path) if before else ("", 0)
    # Never an older one's name, though that may be gone.
    name = f"{moment}-{number + 1}" if last == moment else moment
    version = Version(name=name, path=_place(folder, path) / f"{name}.yml")
    replace_file(version.path, text)
    for older in versions(folder, path)[KEPT:]:
        remove_file(older.path)
    return version


def _age(path: Path) -> tuple[str, int]:
    moment, _, number = path.stem.partition("-")
    return moment, int(number) if number.isdecimal() else 1


def _place(folder: Path, path: Path) -> Path:
    return folder / _FOLDER / path.relative_to(folder)
