"""What a long-running role says, in each format, as whoever reads it gets it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from detector import config, log
from detector.cli.lines import SnapshotReporter
from detector.domain import Losses, Snapshot, SnapshotRef
from detector.errors import ConfigError
from detector.log import Format, Level, Log
from tests.builders import count
from tests.hostile import TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket where the journal's would be."""
    path = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(10)
        monkeypatch.setattr(log, "JOURNAL", str(path))
        yield server


def _fields(datagram: bytes) -> dict[str, str]:
    """As https://systemd.io/JOURNAL_NATIVE_PROTOCOL says."""
    found = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
        else:
            name, size = line, int.from_bytes(datagram[:8], "little")
            value, datagram = datagram[8 : 8 + size], datagram[8 + size + 1 :]
        found[name.decode()] = value.decode()
    return found


def test_text_is_for_a_person_and_what_is_wrong_stands_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything is said, and what is wrong has the time before it."""
    said = Log("collect", Format.TEXT)
    said.say(Level.DEBUG, "snapshot", "snapshot 1", "09:00:00  snapshot 1")
    said.say(Level.WARNING, "snapshot", "snapshot 2", "09:00:10  snapshot 2  LOST: 1 attempted")
    said.say(Level.WARNING, "fault", "the database is away")
    written = capsys.readouterr()
    assert written.out == "09:00:00  snapshot 1\n09:00:10  snapshot 2  LOST: 1 attempted\n"
    assert written.err[8:] == "  the database is away\n"


def test_json_is_an_object_a_line_and_quiet_while_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """A snapshot that lost something is said, and one that is complete is not."""
    reporter = SnapshotReporter(Log("collect", Format.JSON))
    ref = SnapshotRef(host_id=1, host="bastion-1", seq=42, start=_AT, end=_AT)
    for losses in (Losses(), Losses(attempted=7)):
        reporter.snapshot(ref, Snapshot(host="bastion-1", start=_AT, end=_AT, counts=(count(),), losses=losses))
    reporter.fault("the database is away")
    lost, away = map(json.loads, capsys.readouterr().out.splitlines())
    assert lost["message"].startswith("snapshot 42  ")
    assert lost["message"].endswith("LOST: 7 attempted")
    told = {name: lost[name] for name in ("level", "role", "event", "host", "snapshot", "end", "lost", "rows")}
    assert told == {
        "level": "warning", "role": "collect", "event": "snapshot", "host": "bastion-1", "snapshot": 42,
        "end": "2026-03-02T09:00:00Z", "lost": {"attempted": 7}, "rows": 1,
    }  # fmt: skip
    assert (away["event"], away["message"]) == ("fault", "the database is away")
    assert datetime.fromisoformat(away["time"]).utcoffset() is not None
    assert "late_seconds" not in lost


def test_levels_leave_out_what_matters_less(capsys: pytest.CaptureFixture[str]) -> None:
    """By default all in text, and from info on elsewhere."""
    for wanted, level, most in (
        (Format.TEXT, Level.AUTO, 4),
        (Format.JSON, Level.AUTO, 3),
        (Format.TEXT, Level.WARNING, 2),
        (Format.JSON, Level.DEBUG, 4),
        (Format.JSON, Level.ERROR, 1),
    ):
        said = Log("detect", wanted, level)
        for each in (Level.DEBUG, Level.INFO, Level.WARNING, Level.ERROR):
            said.say(each, "event", f"matters {each}")
        written = capsys.readouterr()
        assert (written.out + written.err).count("matters") == most


def test_the_journal_gets_fields_and_a_block_as_one_entry(journal: socket.socket) -> None:
    """With the priority that journalctl -p goes by; an alert's lines stay together."""
    said = Log("detect", Format.JOURNAL)
    said.say(Level.WARNING, "fault", "mail: refused\x1b[2J", host="bastion-1", lost={"attempted": 7}, none=None)
    print("bastion-1: alice\nmore of it\n", file=said.stream("alert"), end="")
    wrong, alert = (_fields(journal.recv(65536)) for _ in range(2))
    assert wrong == {
        "MESSAGE": "mail: refused\\x1b[2J", "PRIORITY": "4", "SYSLOG_IDENTIFIER": "detector", "DETECTOR_ROLE": "detect",
        "DETECTOR_EVENT": "fault", "DETECTOR_HOST": "bastion-1", "DETECTOR_LOST": '{"attempted": 7}',
    }  # fmt: skip
    assert (alert["MESSAGE"], alert["PRIORITY"]) == ("bastion-1: alice\nmore of it", "6")


def test_without_a_journal_it_is_said_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error, which leads there as well, or to whoever else is to know."""
    monkeypatch.setattr(log, "JOURNAL", str(tmp_path / "none"))
    Log("detect", Format.JOURNAL).say(Level.WARNING, "fault", "mail: refused")
    assert capsys.readouterr().err.endswith("  mail: refused\n")


def test_the_journal_is_chosen_where_systemd_has_connected_it(tmp_path: Path) -> None:
    """By device and inode of the standard error, as systemd.exec(5) says; another one's is text."""
    program = "from detector.log import Log; print(Log('run').format)"
    with (tmp_path / "err").open("wb") as error:
        there = os.fstat(error.fileno())
        for stream, expected in ((f"{there.st_dev}:{there.st_ino}", "journal"), ("1:1", "text"), ("", "text")):
            environment = os.environ | {"JOURNAL_STREAM": stream}
            done = subprocess.run(
                [sys.executable, "-c", program], env=environment, stderr=error, stdout=subprocess.PIPE, check=True
            )
            assert done.stdout.decode().strip() == expected


@given(TEXT)
def test_no_name_forges_a_line_or_moves_a_cursor(name: str) -> None:
    """A line stays a line, in printable ASCII, and gives the name back."""
    line = Log("collect", Format.JSON)._json(Level.INFO, "snapshot", name, {"host": name})
    assert line.isascii()
    assert line.isprintable()
    told: dict[str, Any] = json.loads(line)
    assert told["message"] == told["host"] == name


def test_a_word_that_is_no_format_or_level_is_refused_with_those_that_are() -> None:
    """From the environment as from the file."""
    with pytest.raises(ConfigError) as fault:
        config.load(None, {"DETECTOR_LOG_FORMAT": "xml"})
    assert "DETECTOR_LOG_FORMAT" in fault.value.message
    assert fault.value.hint == "one of: auto, text, json, journal"
    with pytest.raises(ConfigError) as fault:
        config.load(None, {"DETECTOR_LOG_LEVEL": "loud"})
    assert "warning" in fault.value.hint
    assert config.load(None, {"DETECTOR_LOG_LEVEL": "error"}).log.level is Level.ERROR


def test_what_a_role_ends_with_is_an_entry_like_others(tmp_path: Path) -> None:
    """A program that reads the log has no line that it cannot parse, and the exit code says the same."""
    environment = {**os.environ, "DETECTOR_LOG_FORMAT": "json", "DETECTOR_STATE_FOLDER": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "detector", "detect"], env=environment, capture_output=True, text=True, check=False
    )
    (told,) = map(json.loads, done.stdout.splitlines())
    assert (told["level"], told["event"], told["role"]) == ("error", "ended", "detect")
    assert told["message"].startswith("there is no database at ")
    assert told["hint"] == "run: detector db upgrade"
    assert done.returncode == told["exit_code"] == 74
    assert done.stderr == ""
