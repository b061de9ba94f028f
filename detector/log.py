"""What a long-running role says: as lines for a person, as JSON for a collector of logs, or as entries of the journal.

Standard library only, since the collector holds it for months.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from io import TextIOBase
from typing import TYPE_CHECKING, Any, TextIO

from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

JOURNAL = "/run/systemd/journal/socket"
"""Where the journal takes entries: systemd's native protocol, https://systemd.io/JOURNAL_NATIVE_PROTOCOL."""
_NAME = "detector"
# An entry of more would need a file in memory that is handed over.
_MOST_BYTES = 48_000
# Whoever cannot be told so soon is told otherwise.
_PATIENCE_SECONDS = 1.0


class Format(StrEnum):
    """How it is said."""

    AUTO = "auto"
    """As entries of the journal, where the standard error goes there; else as text."""
    TEXT = "text"
    JSON = "json"
    JOURNAL = "journal"


class Level(StrEnum):
    """How much it matters, the least first."""

    AUTO = "auto"
    """Of text all is said; else what is more than that all is well."""
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def priority(self) -> int:
        """Of syslog(3); the less, the more it matters."""
        return {"debug": 7, "info": 6, "warning": 4, "error": 3}[self.value]


class Log:
    """Says things of at least a level, in one format.

    Args:
        role: who says it.
        wanted: the format.
        level: what is less is left out.
    """

    def __init__(self, role: str, wanted: Format = Format.AUTO, level: Level = Level.AUTO) -> None:
        self._role = role
        self.format = _chosen(wanted)
        if level is Level.AUTO:
            level = Level.DEBUG if self.format is Format.TEXT else Level.INFO
        self._least = level.priority
        # Kept: what is printed otherwise may be redirected here.
        self._out, self._err = sys.stdout, sys.stderr
        self._unwritable = False

    def say(self, level: Level, event: str, message: str, text: str | None = None, **fields: Any) -> None:
        """Says one thing.

        Args:
            level: how much it matters; from a warning on, text goes to standard error, with the time.
            event: what kind of thing it is, one word.
            message: in words, without the time; what does not print is written out, line by line.
            text: the line for a person, if it is another one; it goes to standard output, whatever its level.
            fields: what a program may want to know of it; None is left out.

        Raises:
            BrokenPipeError: nobody reads the standard output any more.
        """
        if level.priority > self._least:
            return
        known = {name: value for name, value in fields.items() if value is not None}
        if self.format is Format.JSON:
            self._print(self._out, self._json(level, event, message, known))
        elif self.format is not Format.JOURNAL or not self._to_journal(level, event, message, known):
            self._as_text(level, message, text)

    def stream(self, event: str) -> TextIO:
        """What is written there is said as entries, each with what was written at once."""
        return _Entries(self, event)  # type: ignore[return-value]

    def _as_text(self, level: Level, message: str, text: str | None = None) -> None:
        shown = _shown(message if text is None else text)
        if text is not None or level.priority > Level.WARNING.priority:
            self._print(self._out, shown)
            return
        with suppress(OSError):
            print(f"{datetime.now(UTC).astimezone():%H:%M:%S}  {shown}", file=self._err, flush=True)

    def _print(self, stream: TextIO, line: str) -> None:
        """What cannot be written is left out, and that is said once."""
        try:
            print(line, file=stream, flush=True)
        except BrokenPipeError:
            raise
        except OSError as fault:
            # A full disk under the log is no reason to stop counting.
            if not self._unwritable:
                self._as_text(Level.WARNING, f"standard output: {fault.strerror}; lines are left out")
            self._unwritable = True
        else:
            self._unwritable = False

    def _json(self, level: Level, event: str, message: str, fields: Mapping[str, Any]) -> str:
        entry = {
            "time": _now(),
            "level": level.value,
            "role": self._role,
            "event": event,
            "message": message,
            **fields,
        }
        # ASCII, which keeps any terminal safe but for the one control character above the others.
        return json.dumps(entry, separators=(",", ":"), default=_as_json).replace("\x7f", "\\u007f")

    def _to_journal(self, level: Level, event: str, message: str, fields: Mapping[str, Any]) -> bool:
        entry = {
            "MESSAGE": _shown(message),
            "PRIORITY": str(level.priority),
            "SYSLOG_IDENTIFIER": _NAME,
            "DETECTOR_ROLE": self._role,
            "DETECTOR_EVENT": event,
            **{f"DETECTOR_{name.upper()}": _plain(value) for name, value in fields.items()},
        }
        sent = b"".join(_field(name, value) for name, value in entry.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
                journal.settimeout(_PATIENCE_SECONDS)
                journal.sendto(sent, JOURNAL)
        except OSError:
            # Standard error leads there too, or to whoever else is to know.
            return False
        return True


class _Entries(TextIOBase):
    """A stream whose writes are entries of a log."""

    encoding = "utf-8"

    def __init__(self, log: Log, event: str) -> None:
        self._log, self._event = log, event

    def writable(self) -> bool:
        """It is for nothing else."""
        return True

    def write(self, text: str, /) -> int:
        """One entry."""
        if text.strip():
            self._log.say(Level.INFO, self._event, text.rstrip("\n"))
        return len(text)


def _chosen(wanted: Format) -> Format:
    if wanted is not Format.AUTO:
        return wanted
    # systemd.exec(5): device and inode of what it connected standard output or error to.
    told = os.environ.get("JOURNAL_STREAM", "")
    with suppress(OSError, ValueError):
        error = os.fstat(sys.stderr.fileno())
        if told == f"{error.st_dev}:{error.st_ino}":
            return Format.JOURNAL
    return Format.TEXT


def _shown(message: str) -> str:
    return "\n".join(map(visible, message.splitlines()))


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")[:_MOST_BYTES]
    if b"\n" in data:
        return b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
    return b"%s=%s\n" % (name.encode(), data)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    return visible(str(_as_json(value) if isinstance(value, datetime) else value))


def _as_json(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
