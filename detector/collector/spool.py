"""The folder in which snapshots wait for the database: a file for each, which survives the death of the collector.

A file's name is the snapshot's mark, which begins with its number: names in order are snapshots in order. Beside them
lies what is left of those that were given up (`GivenUp`), until it is in the database too.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from detector.collector import frame
from detector.collector.given_up import GivenUp
from detector.domain import Losses
from detector.errors import SpoolError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from detector.domain import Snapshot

_MARK_BYTES, _NUMBER_BYTES = 16, 6
_WAITING, _LOST = ".snapshot", ".lost"
# What a file system hands out at a time.
_BLOCK = 4096
_LONGEST_RECORD = 64 * 1024


def new_mark(number: int) -> bytes:
    """What tells a snapshot from every other, of this host or another: its number, and chance."""
    return number.to_bytes(_NUMBER_BYTES, "big") + os.urandom(_MARK_BYTES - _NUMBER_BYTES)


def number_of(mark: bytes) -> int:
    """Its place in the line."""
    return int.from_bytes(mark[:_NUMBER_BYTES], "big")


@dataclass(frozen=True, slots=True)
class SpoolState:
    """What waits in a folder."""

    waiting: int
    bytes: int
    oldest: datetime | None
    """The end of the oldest snapshot that waits; None if there is none, or it is damaged."""


class Spool:
    """The files. One collector at a time (see `collecting`), and whoever calls it takes care that one thread does."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        """`most_bytes` is what the files may take of the disk; 0: nothing new is spooled.

        Raises:
            SpoolError: the folder cannot be made or read.
        """
        self._path = folder
        self.most_bytes = most_bytes
        self.found: list[bytes] = []
        """Marks of the snapshots that waited here already, the oldest first."""
        self.records: list[GivenUp] = []
        """What is left of others, in their order."""
        self._unsaved: list[GivenUp] = []
        self.bytes = 0
        """What the files take of the disk."""
        with self._faults_named():
            if not folder.is_dir():
                folder.mkdir(mode=0o700)
            # A link would lead elsewhere, and this process may be root.
            self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            self._load()

    def close(self) -> None:
        """Gives back what it holds; the files stay."""
        os.close(self._folder)

    def write(self, mark: bytes, snapshot: Snapshot) -> None:
        """Puts `snapshot` last. When this returns, it survives whatever happens to this machine's power.

        Raises:
            SpoolError: it cannot; nothing is left of the attempt.
        """
        name = _name(mark)
        with self._faults_named():
            self._save_records()
            raw = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._folder)
            try:
                with open(raw, "wb") as file:  # noqa: PTH123  a descriptor
                    frame.write(file, mark, snapshot)
                    os.fsync(file.fileno())
                os.fsync(self._folder)
            except OSError:
                self._unlink(name)
                raise
            self.bytes += self._size(name)

    def read(self, mark: bytes) -> Snapshot:
        """The snapshot of `mark`.

        Raises:
            DamagedFrameError: the file is not what was written.
            SpoolError: it cannot be read.
        """
        with self._faults_named(), self._open(_name(mark)) as file:
            return frame.read(file)[1]

    def given_up(self, mark: bytes) -> GivenUp:
        """What is left of a snapshot if it is given up, as far as its file can be read."""
        number = number_of(mark)
        try:
            with self._open(_name(mark)) as file:
                head = frame.read_head(file)
        except (OSError, frame.DamagedFrameError):
            return GivenUp(first=number, last=number, losses=Losses(snapshots=1))
        return GivenUp(first=number, last=number, losses=head.lost, start=head.start, health=head.health)

    def remove(self, mark: bytes) -> None:
        """Forgets a snapshot.

        Raises:
            SpoolError: the file cannot be removed.
        """
        # Nothing to forget if somebody removed it.
        with self._faults_named(), suppress(FileNotFoundError):
            name = _name(mark)
            size = self._size(name)
            os.unlink(name, dir_fd=self._folder)
            self.bytes -= size

    def record(self, left: GivenUp) -> None:
        """Keeps what is left of others, in place of what is kept of some of them.

        Raises:
            SpoolError: it is kept in memory only.
        """
        replaced = [each for each in self.records if left.first <= each.first and each.last <= left.last]
        self.records = sorted([each for each in self.records if each not in replaced] + [left], key=_place)
        self._unsaved = [each for each in self._unsaved if each not in replaced] + [left]
        if self.most_bytes:
            with self._faults_named():
                self._save_records()
                for each in replaced:
                    self._unlink(_record_name(each))

    def told(self, records: list[GivenUp]) -> None:
        """Forgets what the database has.

        Raises:
            SpoolError: a file cannot be removed.
        """
        self.records = [each for each in self.records if each not in records]
        self._unsaved = [each for each in self._unsaved if each not in records]
        with self._faults_named():
            for each in records:
                self._unlink(_record_name(each))
            # Before the snapshot that told of them goes: it alone would be known again.
            os.fsync(self._folder)

    def _load(self) -> None:
        names = sorted(os.listdir(self._folder))  # noqa: PTH208  of a descriptor
        records = [self._record_in(name) for name in names if name.endswith(_LOST)]
        for record in sorted((each for each in records if each), key=_place):
            inside = any(each.first <= record.first and record.last <= each.last for each in self.records)
            if inside:
                # Another one took its place, and death came between.
                self._unlink(_record_name(record))
            else:
                self.records.append(record)
        for name in names:
            mark = _mark_in(name)
            if mark is None:
                continue
            if any(each.first <= number_of(mark) <= each.last for each in self.records):
                # As above: it is counted as lost already.
                self._unlink(name)
            else:
                self.found.append(mark)
                self.bytes += self._size(name)

    def _record_in(self, name: str) -> GivenUp | None:
        """None: it was not written to its end, and the snapshots that it was to be about are still there."""
        with self._open(name) as file:
            record = GivenUp.from_bytes(file.read(_LONGEST_RECORD))
        if record is None:
            self._unlink(name)
        return record

    def _save_records(self) -> None:
        while self._unsaved:
            self._save(self._unsaved[0])
            del self._unsaved[0]

    def _save(self, left: GivenUp) -> None:
        name = _record_name(left)
        raw = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=self._folder)
        try:
            with open(raw, "wb") as file:  # noqa: PTH123  a descriptor
                file.write(left.as_bytes())
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self._unlink(name)
            raise
        os.fsync(self._folder)

    def _open(self, name: str) -> BinaryIO:
        raw = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        return open(raw, "rb")  # noqa: PTH123  a descriptor

    def _size(self, name: str) -> int:
        size = os.stat(name, dir_fd=self._folder, follow_symlinks=False).st_size
        return max(1, -(-size // _BLOCK)) * _BLOCK

    def _unlink(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._folder)

    @contextmanager
    def _faults_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            hint = "make room on its disk, or mend its permissions"
            raise SpoolError(f"spool {self._path}: {fault.strerror}", hint=hint) from fault


def spool_state(folder: Path) -> SpoolState:
    """What waits in `folder`, without changing anything there.

    Raises:
        SpoolError: it cannot be read.
    """
    waiting = total = 0
    oldest = None
    try:
        for path in sorted(path for path in folder.iterdir() if _mark_in(path.name)) if folder.exists() else ():
            # The collector may store and remove what was listed a moment ago.
            with suppress(FileNotFoundError):
                total += path.stat().st_size
                waiting += 1
                if waiting == 1:
                    with path.open("rb") as file, suppress(frame.DamagedFrameError):
                        oldest = frame.read_head(file).end
    except OSError as fault:
        raise SpoolError(f"spool {folder}: {fault.strerror}", hint="run this as the user that collects") from fault
    return SpoolState(waiting, total, oldest)


def _name(mark: bytes) -> str:
    return mark.hex() + _WAITING


def _mark_in(name: str) -> bytes | None:
    stem = name.removesuffix(_WAITING)
    if stem == name:
        return None
    with suppress(ValueError):
        mark = bytes.fromhex(stem)
        return mark if len(mark) == _MARK_BYTES else None
    return None


def _record_name(left: GivenUp) -> str:
    return f"{left.first:015d}-{left.last:015d}{_LOST}"


def _place(left: GivenUp) -> tuple[int, int]:
    # Of two that begin alike the longer one first: the other is contained in it.
    return left.first, -left.last
