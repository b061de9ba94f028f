"""`detector import`."""

from __future__ import annotations

import gzip
import io
import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from detector import pipeline
from detector.config import Settings
from detector.domain import CHANNELS
from detector.ruleset.load import load_rules
from detector.service.detecting import build_stages
from detector.store.engine import open_store, reading
from detector.store.migrating import upgrade
from detector.store.tables import snapshots
from tests.builders import Recorder, count, every_row, observe
from tests.cli.test_main import verbs
from tests.collector.logs import HOST, json_lines, row, tab_separated

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.cli.conftest import Call

_PROGRAM = Path(sys.executable).with_name("detector")
_ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Three connections of one host, over three minutes."""
    path = tmp_path / "conn.log"
    path.write_bytes(
        tab_separated(row(), row(70, port=22), row(130, resp="198.51.100.8", conn_state="REJ", history="Sr"))
    )
    return path


def _objects(call: Call, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(call("query", "--json", "--limit", "100000", *arguments).out)
    return found


@pytest.mark.usefixtures("zone", "store")
def test_a_log_becomes_a_host(call: Call, log: Path) -> None:
    """What was stored is summed up, with how to go on; the rows are found like any others."""
    result = call("import", "zeek", log, "--host", "web 1", "--address", HOST)

    assert (result.code, result.err) == (0, "")
    assert re.sub(r"[0-9.]+ s \([0-9,]+", "TIME s (RATE", result.out).splitlines() == [
        "3 snapshots stored, of 3 rows among 3, in TIME s (RATE rows/s)",
        "  web 1: 3 snapshots from 2023-11-14 23:14:00+01:00 to 2023-11-14 23:17:00+01:00",
        "detector detect scores it like any host; detector query --host 'web 1' shows it",
    ]
    assert [(each["remote_port"], each["established"], each["refused"]) for each in _objects(call)] == [
        (443, 1, 0), (22, 1, 0), (443, 0, 1)
    ]  # fmt: skip


@pytest.mark.usefixtures("store")
def test_the_same_log_does_nothing_again(call: Call, log: Path, tmp_path: Path) -> None:
    """Under another name, packed, and from standard input: it is known by what it holds."""
    call("import", "zeek", log, "--host", "web-1")
    before = _objects(call)
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(log.read_bytes()))

    result = call("import", "zeek", packed, "--host", "web-1", "--address", HOST)

    assert result.code == 0
    assert re.fullmatch(
        rf"{packed}: imported into web-1 before, .*: 3 snapshots of 3 rows; nothing to do\n", result.out
    )
    assert _objects(call) == before
    again = json.loads(call("import", "zeek", packed, "--host", "web-1", "--json").out)
    assert (again["imported_before"], again["snapshots"]) == (True, 0)


@pytest.mark.usefixtures("store")
def test_standard_input_is_a_file(call: Call, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed or not."""
    for number, content in enumerate((log.read_bytes(), gzip.compress(log.read_bytes()))):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert call("import", "zeek", "-", "--host", f"h{number}").out.startswith("3 snapshots stored")


@pytest.mark.usefixtures("store")
def test_several_files_are_one_log(call: Call, tmp_path: Path) -> None:
    """A connection that is in the file of the next hour is in the snapshot of the hour in which it began."""
    paths = [tmp_path / "1.log", tmp_path / "2.log.gz"]
    paths[0].write_bytes(tab_separated(row(), row(50)))
    paths[1].write_bytes(gzip.compress(json_lines(row(70), row(55))))

    result = call("import", "zeek", *paths, "--host", "web-1", "--address", HOST)

    assert result.out.startswith("2 snapshots stored, of 4 rows")
    assert [each["attempted"] for each in _objects(call)] == [3, 1]


@pytest.mark.usefixtures("store")
def test_addresses_are_not_guessed(call: Call, tmp_path: Path) -> None:
    """Of a log of more than one host, the candidates are named with what to type; of one, the address is said."""
    path = tmp_path / "conn.log"
    path.write_bytes(tab_separated(row(), row(), row(orig="10.0.4.13", resp="10.0.4.14")))

    refused = call("import", "zeek", path, "--host", "web-1")

    assert (refused.code, refused.out) == (65, "")
    assert refused.err.splitlines() == [
        "detector: the log is of more than one host, and does not say which addresses are web-1's",
        "  name each: --address 10.0.4.12; the busiest are:",
        "    10.0.4.12  in 2 rows",
        "    198.51.100.7  in 2 rows",
        "    10.0.4.13  in 1 rows",
        "    10.0.4.14  in 1 rows",
    ]
    assert _objects(call) == []
    chosen = call("import", "zeek", path, "--host", "web-1", "--address", "10.0.4.13", "--address", "fd00::/8")
    assert "left out: 2 rows of other hosts\n" in chosen.out
    path.write_bytes(tab_separated(row(), row(resp="198.51.100.8")))
    one = call("import", "zeek", path, "--host", "web-2")
    assert (one.code, one.err) == (0, f"{HOST} is an end of every connection, and taken for web-2's address\n")


@pytest.mark.usefixtures("store")
def test_bad_lines_are_named_and_counted(call: Call, tmp_path: Path) -> None:
    """The first twenty, in visible text; the others are a number. The exit code says that there were some."""
    path = tmp_path / "conn.log"
    path.write_bytes(tab_separated(row(), *(row(port="\x1b[2J") for _ in range(25)), row(60)))

    result = call("import", "zeek", path, "--host", "web-1", "--address", HOST)

    assert result.code == 65
    lines = result.err.splitlines()
    assert lines[0] == rf"{path}:10: id.resp_p '\x1b[2J' is not a port; write 0 to 65535"
    assert lines[-1] == "and 5 lines more that are refused"
    assert len(lines) == 21
    assert "2 snapshots stored, of 2 rows among 27" in result.out
    assert "refused: 25 lines\n" in result.out
    assert json.loads(call("import", "zeek", path, "--host", "web-2", "--address", HOST, "--json").out)["refused"] == 25


@pytest.mark.usefixtures("store")
def test_strict_ends_at_the_first_bad_line(call: Call, tmp_path: Path) -> None:
    """With what was stored by then, here nothing, said."""
    path = tmp_path / "conn.log"
    path.write_bytes(tab_separated(row(), row(port=99999), row(port=99998)))

    result = call("import", "zeek", path, "--host", "web-1", "--strict", "--address", HOST)

    assert (result.code, result.out) == (65, "")
    assert f"{path}:10: id.resp_p '99999' is not a port" in result.err
    assert "99998" not in result.err
    assert result.err.startswith("interrupted; nothing was stored\n")
    assert _objects(call) == []


@pytest.mark.usefixtures("store")
def test_a_dry_run_says_what_would_be_stored(call: Call, log: Path) -> None:
    """And stores nothing."""
    result = call("import", "zeek", log, "--host", "web-1", "--dry-run")

    assert result.code == 0
    assert result.out.startswith("3 snapshots would be stored, of 3 rows among 3")
    assert "detector detect" not in result.out
    assert _objects(call) == []
    assert json.loads(call("import", "zeek", log, "--host", "web-1", "--dry-run", "--json").out)["dry_run"] is True


def test_a_captured_host_is_not_mixed_with_a_log(
    call: Call, engine: Engine, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one that is in the store, nor the one that this machine would capture as."""
    Recorder(engine).snapshot(count())
    monkeypatch.setenv("DETECTOR_HOST", "bastion-9")

    for host in ("bastion-1", "bastion-9"):
        result = call("import", "zeek", log, "--host", host)
        assert result.code == 74
        assert f"detector: {host} is " in result.err
        assert result.err.endswith("  name another host for the log: --host NAME\n")
    assert len(_objects(call)) == 1


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "a\x1bb"], "is not a name"),
        (["--host", "a" * 256], "is not a name"),
        (["--host", "a", "--interval", "0s"], "write 60s, 5m or 1h"),
        (["--host", "a", "--interval", "2d"], "write 60s, 5m or 1h"),
        (["--host", "a", "--interval", "60"], "write 60s, 5m or 1h"),
        (["--host", "a", "--address", "web"], "write 10.0.4.12"),
        ([], "Missing option '--host'"),
    ],
)
def test_what_is_mistyped_is_refused(call: Call, log: Path, arguments: list[str], said: str) -> None:
    """With what to write instead."""
    result = call("import", "zeek", log, *arguments)

    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert "\x1b" not in result.err


@pytest.mark.usefixtures("store")
def test_a_log_that_cannot_be_read_is_one_message(call: Call, tmp_path: Path) -> None:
    """By its name, with exit code 65; so is one of something else."""
    (tmp_path / "dns.log").write_bytes(tab_separated(row()).replace(b"#path\tconn", b"#path\tdns"))
    for name, said in (("none", "No such file"), ("dns.log", "Zeek's log of 'dns'")):
        result = call("import", "zeek", tmp_path / name, "--host", "a", "--address", HOST)
        assert (result.code, result.out) == (65, "")
        assert said in result.err


def test_what_query_prints_can_be_imported(
    call: Call, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Round trip: rows of two hosts, printed, stored in another database and printed again, are the same rows."""
    for host in ("bastion-1", "bastion-2"):
        recorder = Recorder(engine, host=host)
        recorder.snapshot(
            count(handshake_us_total=901, handshake_us_max=600, attempted=3, established=2, refused=1, session=7),
            count(
                "fd00::1",
                443,
                executable="/opt/größe\n日本",
                script="/opt/a",
                user=None,
                remote_name="db",
                remote_country="NO",
            ),
            count(None, None, protocol="packet", login_address="203.0.113.7", login_source="logind"),
        )
        recorder.snapshot()
        recorder.pass_time(hours=30)
        ref = recorder.snapshot(count("10.0.4.9", 22, direction="inbound"), count(port=53, protocol="udp", failed=3))
        observe(engine, ref, {4: {"score": 0.99, "explanation": "new", "p_forest": 0.5}})
    printed = _objects(call)
    lines = tmp_path / "rows.jsonl"
    lines.write_text("".join(json.dumps(each) + "\n" for each in printed))
    url = f"sqlite:///{tmp_path / 'other.db'}"
    other = open_store(url)
    upgrade(other)
    other.dispose()
    monkeypatch.setenv("DETECTOR_DATABASE_URL", url)

    result = call("import", "jsonl", lines)

    assert result.code == 0, result.err
    told = ("score", "surprise", "unusual", "channel", "novelty", "explanation")
    found_by_detection = (*told, *(f"p_{name}" for name in CHANNELS))
    assert _objects(call) == [{**each, **dict.fromkeys(found_by_detection)} for each in printed]
    assert call("import", "jsonl", lines).out.count("nothing to do") == 2


def test_detection_takes_it_like_any_host(call: Call, engine: Engine, tmp_path: Path) -> None:
    """The pipeline goes through its snapshots, and a shipped rule finds the scan in it."""
    path = tmp_path / "conn.log"
    path.write_bytes(
        tab_separated(*(row(port / 10, port=port, conn_state="REJ", history="Sr") for port in range(1, 301)))
    )
    call("import", "zeek", path, "--host", "web-1", "--address", HOST)

    stages = build_stages(Settings(), load_rules(Settings().rule_folders).ruleset)
    while any(pipeline.detect_next(engine, host_id, stages) for host_id in pipeline.hosts_behind(engine)):
        pass

    assert "Port scan" in call("alerts", "list").out
    assert len(every_row(engine)) == 300


def _big_log(path: Path, rows: int) -> None:
    random_ = random.Random(3)
    path.write_bytes(tab_separated(*(row(at * 10, port=random_.randrange(1, 60_000)) for at in range(rows))))


def _content(engine: Engine, host_id: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    with reading(engine) as connection:
        every = connection.execute(select(snapshots).where(snapshots.c.host_id == host_id).order_by(snapshots.c.seq))
        # The host's name is a part of the hash.
        of_snapshots = [dict(each, host_id=0, chain_hash=None) for each in every.mappings()]
    return of_snapshots, [dict(row, host_id=0) for row in every_row(engine) if row["host_id"] == host_id]


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_import_goes_on(call: Call, engine: Engine, tmp_path: Path, sent: signal.Signals) -> None:
    """At the end it is as if it had not been: nothing twice, nothing missing, and whole snapshots in between."""
    path = tmp_path / "conn.log"
    # Five batches: it is interrupted after the first.
    _big_log(path, 6_000)
    command: list[str | Path] = [_PROGRAM, "import", "zeek", path, "--address", HOST, "--host", "web-1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while True:
            with reading(engine) as connection:
                stored = connection.scalar(select(func.count()).select_from(snapshots)) or 0
            if stored:
                break
            assert time.monotonic() < deadline
            time.sleep(0.01)  # waits for another process, which has no other way to tell
        process.send_signal(sent)
        out, err = process.communicate()

    assert (process.returncode, out) == (130 if sent == signal.SIGINT else -sent, "")
    _, rows = _content(engine, 1)
    assert 0 < sum(each["attempted"] for each in rows) < 6_000
    assert sum(each["attempted"] for each in rows) % 6 == 0
    if sent == signal.SIGINT:
        said = r"interrupted: [0-9,]+ snapshots of [0-9,]+ rows stored \(web-1 until .*\); "
        assert re.fullmatch(said + r"the same command goes on from there", err.strip())
    result = call("import", "zeek", path, "--address", HOST, "--host", "web-1")
    assert "rows stored before the interruption\n" in result.out
    call("import", "zeek", path, "--address", HOST, "--host", "all-at-once")
    assert _content(engine, 1) == _content(engine, 2)
    assert sum(each["attempted"] for each in _content(engine, 1)[1]) == 6_000


@pytest.mark.usefixtures("store")
def test_a_terminal_is_shown_a_bar(tmp_path: Path) -> None:
    """It goes with the last word, and is not there with --quiet or where nobody looks."""
    path = tmp_path / "conn.log"
    _big_log(path, 3000)

    def on_terminal(*arguments: str) -> str:
        leader, follower = pty.openpty()
        command: list[str | Path] = [_PROGRAM, "import", "zeek", path, "--address", HOST, *arguments]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=follower, env={**os.environ, "TERM": "xterm"}
        ) as process:
            os.close(follower)
            shown = b""
            try:
                while part := os.read(leader, 4096):
                    shown += part
            except OSError:
                pass
        os.close(leader)
        assert process.returncode == 0
        return shown.decode()

    assert "storing" in on_terminal("--host", "a")
    assert on_terminal("--host", "b", "--quiet") == ""


def test_every_option_is_documented() -> None:
    """docs/import.md mentions each."""
    text = (_ROOT / "docs" / "import.md").read_text()

    for words, command in verbs():
        if words[0] == "import":
            for parameter in command.params:
                assert any(option in text for option in parameter.opts) or parameter.name == "names", parameter.opts


def test_memory_does_not_grow_with_the_log(store: str, tmp_path: Path) -> None:
    """A log of ten times the rows, all over the same intervals, takes no more than a little more."""
    assert store
    peaks = []
    script = (
        "import sys\nfrom pathlib import Path\nfrom detector.cli import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "print('PEAK', Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])\n"
    )
    for times in (1, 10):
        path = tmp_path / f"{times}.log"
        path.write_bytes(tab_separated(*[row(at, port=at % 50) for at in range(6000)] * times))
        command: list[str | Path] = [sys.executable, "-c", script, "import", "zeek", path, "--host", f"h{times}"]
        command += ["--address", HOST]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        peaks.append(int(out.rpartition("PEAK ")[2]))
    assert peaks[1] < peaks[0] + 8_000
