"""Logs are read line by line, whatever they are packed in and whatever they hold."""

from __future__ import annotations

import gzip
import os
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from detector.collector.log_files import LONGEST_LINE, LogFile, source_digest
from detector.collector.log_lines import Tally
from detector.errors import LogError
from tests.collector.logs import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Written = Callable[[str, bytes], LogFile]


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    """Logs by name and content, ready to be read until the test ends."""
    with ExitStack() as stack:
        yield lambda name, content: stack.enter_context(opened(tmp_path / name, content))


def _lines(file: LogFile, tally: Tally | None = None) -> list[tuple[int, bytes]]:
    return list(file.lines(tally or Tally()))


def test_packed_is_known_by_content(written: Written) -> None:
    """The name says nothing; the same content packed, in one piece or several, is the same log."""
    plain = written("plain.gz", b"one\ntwo\n")
    packed = written("conn.log", gzip.compress(b"one\n") + gzip.compress(b"two\n"))

    assert _lines(plain) == _lines(packed) == [(1, b"one"), (2, b"two")]
    assert plain.digest() == packed.digest()
    assert plain.length == packed.length == 8


def test_empty_lines_are_passed_over_and_counted_as_lines(written: Written) -> None:
    """Numbers are those that an editor shows, with either end of line and none at the end."""
    assert _lines(written("log", b"\n\r\none\r\n\n\x00two")) == [(3, b"one"), (5, b"\x00two")]
    assert _lines(written("log", b"")) == []


@pytest.mark.parametrize("over", [0, 1, 5 * LONGEST_LINE])
def test_a_line_that_is_too_long_is_refused_alone(written: Written, over: int) -> None:
    """It is not held in memory, and the next line is read as it stands."""
    long = b"x" * (LONGEST_LINE - 1 + over)
    file, tally = written("log", b"one\n" + long + b"\ntwo\n"), Tally()

    lines = _lines(file, tally)

    assert [number for number, _ in lines] == ([1, 2, 3] if not over else [1, 3])
    assert (lines[0], lines[-1]) == ((1, b"one"), (3, b"two"))
    assert [each.line for each in tally.refusals] == ([] if not over else [2])
    assert tally.bytes == file.length


def test_what_is_appended_meanwhile_is_not_read(tmp_path: Path, written: Written) -> None:
    """What is imported is what the digest was made of."""
    file = written("log", b"one\n")
    with (tmp_path / "log").open("ab") as log:
        log.write(b"two\n")

    assert _lines(file) == [(1, b"one")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"one\n" * 1000, mtime=0)[:-9], "the packed data ends in the middle"),
        (gzip.compress(b"one\n" * 1000, mtime=0)[:20] + b"\xff" * 40, "the packed data is damaged"),
        (b"\x1f\x8b damaged", "the packed data"),
    ],
)
def test_damaged_packing_is_found_before_anything_is_stored(written: Written, content: bytes, said: str) -> None:
    """It is found when the digest is made, with what to do about it."""
    with pytest.raises(LogError, match=said) as fault:
        written("log.gz", content)
    assert "gzip -dc" in fault.value.hint


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A file that is not there, and a folder."""
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(LogError, match=str(path)):
            LogFile(str(path))


def test_a_pipe_is_read_as_often_as_needed(tmp_path: Path) -> None:
    """What can be read once only is kept."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(gzip.compress(b"one\ntwo\n"),))
    writer.start()
    with LogFile(str(pipe)) as file:
        writer.join()
        source_digest([file])

        assert _lines(file) == _lines(file) == [(1, b"one"), (2, b"two")]


def test_several_files_are_another_log_than_each(written: Written) -> None:
    """Their order matters, too."""
    one, two = written("one", b"one\n"), written("two", b"two\n")

    digests = {source_digest(each) for each in ([one], [two], [one, two], [two, one])}

    assert len(digests) == 4


def test_the_first_refusals_are_kept_and_all_counted() -> None:
    """Twenty lines tell what is wrong; a thousand would hide it."""
    tally = Tally()
    for line in range(1, 1001):
        tally.refuse("log", line, "wrong")

    assert (len(tally.refusals), tally.refused, tally.rows) == (20, 1000, 1000)
    assert str(tally.refusals[-1]) == "log:20: wrong"
    with pytest.raises(LogError, match="log:1: wrong"):
        Tally(strict=True).refuse("log", 1, "wrong")
