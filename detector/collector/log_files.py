"""Opens logs that are to be imported, and reads them line by line, whatever they hold.

What is imported must be read twice: what it is has to be known before anything of it is stored. So standard input and
pipes are kept in a temporary file, on the disk and not in memory.
"""

from __future__ import annotations

import gzip
import io
import shutil
import stat
import sys
import tempfile
import zlib
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from detector.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detector.collector.log_lines import Tally

LONGEST_LINE = 1 << 20
"""Bytes of a line, its end included; a Zeek connection has some hundred."""

STANDARD_INPUT = "-"
_CHUNK = 1 << 18
_GZIP = b"\x1f\x8b"


class LogFile:
    """One log: a file, or what standard input or a pipe gave, plain or gzip by its content."""

    def __init__(self, name: str) -> None:
        """Opens `name` ("-": standard input), and keeps a copy of what cannot be read twice.

        Raises:
            LogError: it cannot be opened, or the copy not be written.
        """
        self.name = "standard input" if name == STANDARD_INPUT else name
        try:
            if name == STANDARD_INPUT:
                self._raw: IO[bytes] = _kept(sys.stdin.buffer)
            else:
                self._raw = self._opened(Path(name))
        except OSError as fault:
            raise LogError(f"{self.name}: {fault.strerror or fault}", hint="name a file that can be read") from fault
        self.length = 0
        """Bytes of its content, unpacked; known when `digest` is through."""

    def _opened(self, path: Path) -> IO[bytes]:
        raw = path.open("rb")
        if stat.S_ISREG(path.stat().st_mode):
            return raw
        with raw:
            return _kept(raw)

    def digest(self) -> bytes:
        """16 bytes that identify the content (BLAKE2b), the same whether it is packed or not.

        Raises:
            LogError: it cannot be read to its end.
        """
        state = blake2b(digest_size=16)
        self.length = 0
        with self._content() as content:
            while chunk := content.read(_CHUNK):
                state.update(chunk)
                self.length += len(chunk)
        return state.digest()

    def lines(self, tally: Tally) -> Iterator[tuple[int, bytes]]:
        """Each line that is not empty, with its number, without its end. Lines that are too long are refused.

        No more than was there when the digest was made: what is appended meanwhile belongs to another import.

        Raises:
            LogError: it cannot be read to its end.
        """
        number, left = 0, self.length
        with self._content() as content:
            while left > 0 and (line := content.readline(min(left, LONGEST_LINE))):
                number += 1
                left -= len(line)
                tally.bytes += len(line)
                if len(line) == LONGEST_LINE and left and not line.endswith(b"\n"):
                    skipped = self._skip_line(content, left)
                    left -= skipped
                    tally.bytes += skipped
                    tally.refuse(self.name, number, f"longer than {LONGEST_LINE:,} bytes; break it into lines")
                elif stripped := line.rstrip(b"\r\n"):
                    yield number, stripped

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Frees the file, and the copy if there is one."""
        self._raw.close()

    @staticmethod
    def _skip_line(content: IO[bytes], left: int) -> int:
        skipped = 0
        while skipped < left and (part := content.readline(min(_CHUNK, left - skipped))):
            skipped += len(part)
            if part.endswith(b"\n"):
                break
        return skipped

    @contextmanager
    def _content(self) -> Iterator[IO[bytes]]:
        """From the beginning, unpacked."""
        try:
            self._raw.seek(0)
            packed = self._raw.read(len(_GZIP)) == _GZIP
            self._raw.seek(0)
            # The reader of the module is one in Python, a line at a time.
            yield io.BufferedReader(gzip.GzipFile(fileobj=self._raw), _CHUNK) if packed else self._raw
        except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
            what = "ends in the middle" if isinstance(fault, EOFError) else "is damaged"
            raise LogError(
                f"{self.name}: the packed data {what}",
                hint="fetch the file again; what can be read of it is imported by: gzip -dc FILE | detector import … -",
            ) from fault
        except OSError as fault:
            raise LogError(f"{self.name}: {fault.strerror or fault}", hint="name a file that can be read") from fault


def _kept(source: IO[bytes]) -> IO[bytes]:
    """What `source` gives, in a file without a name that goes when it is closed."""
    kept = tempfile.TemporaryFile()  # noqa: SIM115  the caller closes it
    shutil.copyfileobj(source, kept, _CHUNK)
    return kept


def source_digest(files: Sequence[LogFile]) -> bytes:
    """16 bytes that identify logs that are imported as one: that of the only one, or of all in their order.

    Raises:
        LogError: one cannot be read to its end.
    """
    digests = [each.digest() for each in files]
    return digests[0] if len(digests) == 1 else blake2b(b"".join(digests), digest_size=16).digest()
