"""`detector query`."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from detector.domain import CHANNELS
from detector.store.engine import open_store, writing
from detector.store.tables import connection_keys, packed_counts, packed_observations
from tests.builders import START, Recorder, count, observe
from tests.cli.terminals import shown_on

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.domain import ConnectionCount
    from tests.cli.conftest import Call

_LOGIN: dict[str, Any] = {"login_address": "203.0.113.7", "login_source": "logind"}
_SUDO: dict[str, Any] = {"user": "root", "parent_executable": "/usr/bin/sudo"}
_NAME: dict[str, Any] = {
    "remote_name": "db.example.org",
    "remote_name_source": "udp answer of 10.0.0.2",
    "remote_country": "NL",
    "remote_network": "Example B.V.",
}


def _inbound(**counts: int) -> ConnectionCount:
    names = dict.fromkeys(("user", "login_user", "executable", "command"))
    return count("10.0.4.9", 22, direction="inbound", **names, **counts)


def _objects(call: Call, *arguments: str) -> list[dict[str, Any]]:
    result = call("query", "--json", *arguments)
    assert result.code == 0, result.err
    found: list[dict[str, Any]] = json.loads(result.out)
    return found


def _ports(call: Call, *arguments: str) -> list[int]:
    return [each["remote_port"] or each["local_port"] for each in _objects(call, *arguments)]


@pytest.mark.usefixtures("zone")
def test_a_row_is_a_line(call: Call, engine: Engine) -> None:
    """The table says when, who, with what, where to or from, how often, how it ended and how strange it was."""
    recorder = Recorder(engine)
    recorder.snapshot(
        count(user="root", attempted=4, refused=3, timed_out=1),
        count("fd00::1", 443, login_user=None, executable=None),
    )
    ref = recorder.snapshot(_inbound(established=7))
    observe(engine, ref, {3: {"score": 0.98765}})

    result = call("query")

    assert result.code == 0
    assert result.err == ""
    assert [re.split(r" {2,}", line) for line in result.lines] == [
        ["end (+01:00)", "user", "executable", "connection", "connects", "score"],
        ["2026-03-02 10:00:10", "alice as root", "/usr/bin/ssh", "-> 10.0.4.12:22", "3 refused, 1 timed out", "-"],
        ["2026-03-02 10:00:10", "alice", "ssh", "-> [fd00::1]:443", "1 established", "-"],
        ["2026-03-02 10:00:20", "-", "-", ":22 <- 10.0.4.9", "7 established", "0.9877"],
    ]


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"attempted": 3, "established": 1, "failed": 2}, "1 established, 2 failed"),
        ({"attempted": 3, "established": 1}, "3 attempted: 1 established"),
        ({"attempted": 3}, "3 attempted"),
        ({"timed_out": 2}, "2 timed out"),
        ({"attempted": 0}, "-"),
    ],
)
def test_attempts_are_told_when_they_differ(call: Call, engine: Engine, counts: dict[str, Any], said: str) -> None:
    """How connects ended stands there, and how many were tried when that is not the same number."""
    Recorder(engine).snapshot(count(**counts))

    assert re.split(r" {2,}", call("query").lines[1])[4] == said


def test_what_is_unknown_is_null(call: Call, engine: Engine) -> None:
    """JSON has no word for it."""
    Recorder(engine).snapshot(count(None, None, protocol="packet"))

    (row,) = _objects(call)
    assert (row["remote_address"], row["remote_port"], row["protocol"]) == (None, None, "packet")


def test_the_host_is_named_when_there_are_several(call: Call, engine: Engine) -> None:
    """With rows of more than one host a column says which."""
    for host in ("bastion-1", "bastion-2"):
        Recorder(engine, host=host).snapshot(count())

    assert [line.split()[0] for line in call("query").lines] == ["host", "bastion-1", "bastion-2"]
    assert call("query", "--host", "bastion-1").lines[0].startswith("end ")


@pytest.mark.usefixtures("zone")
def test_a_change_of_the_clock_is_visible(call: Call, engine: Engine) -> None:
    """When the offset of the zone changed between rows, each time bears its own."""
    recorder = Recorder(engine, now=datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
    recorder.snapshot(count())
    recorder.pass_time(hours=1)
    recorder.snapshot(count())

    lines = call("query").lines

    assert [line[:25] for line in lines[1:]] == ["2026-10-25 02:30:10+02:00", "2026-10-25 02:30:20+01:00"]


def test_json_has_every_field(call: Call, engine: Engine) -> None:
    """An object has all names of the documentation; times are in UTC, what is unknown is null."""
    recorder = Recorder(engine)
    numbers: dict[str, Any] = {
        "attempted": 4,
        "established": 2,
        "refused": 2,
        "handshake_us_total": 1000,
        "handshake_us_max": 700,
    }
    recorder.snapshot(count(session=7, unit=None, **_LOGIN, **_NAME, **numbers))
    ref = recorder.snapshot(count("fd00::1", 22, direction="inbound"))
    observe(engine, ref, {2: {"score": 0.5, "p_novelty": 0.1, "p_volume": 0.5, "novelty": "port", "explanation": "é"}})

    first, second = _objects(call)

    assert first == {
        "host": "bastion-1",
        "start": "2026-03-02T09:00:00Z",
        "end": "2026-03-02T09:00:10Z",
        "resolution": "snapshot",
        "snapshots": 1,
        "direction": "outbound",
        "protocol": "tcp",
        "executable": "/usr/bin/ssh",
        "script": None,
        "command": "ssh",
        "parent_executable": None,
        "user": "alice",
        "login_user": "alice",
        "login_address": "203.0.113.7",
        "login_source": "logind",
        "session": 7,
        "unit": None,
        "container": None,
        "remote_address": "10.0.4.12",
        "remote_port": 22,
        "remote_name": "db.example.org",
        "remote_name_source": "udp answer of 10.0.0.2",
        "remote_country": "NL",
        "remote_network": "Example B.V.",
        "local_port": None,
        "attempted": 4,
        "established": 2,
        "refused": 2,
        "timed_out": 0,
        "failed": 0,
        "handshake_us_mean": 500,
        "handshake_us_max": 700,
        "first_seen": "2026-03-02T09:00:00Z",
        "score": None,
        "surprise": None,
        "channel": None,
        "novelty": None,
        **dict.fromkeys(f"p_{name}" for name in CHANNELS),
        "p_volume": None,
        "unusual": None,
        "p_forest": None,
        "explanation": None,
    }
    assert second["session"] is None
    assert second["handshake_us_mean"] is second["handshake_us_max"] is None
    assert (second["remote_address"], second["remote_port"], second["local_port"]) == ("fd00::1", None, 22)
    assert (second["score"], second["novelty"], second["explanation"]) == (0.5, "port", "é")
    assert second["login_address"] is second["remote_name"] is second["remote_network"] is None


def test_json_names_are_documented(call: Call, engine: Engine) -> None:
    """docs/commands.md lists the names of a row's fields, in their order, and no others."""
    Recorder(engine).snapshot(count())
    manual = (Path(__file__).parent.parent.parent / "docs" / "commands.md").read_text()
    listed = manual[manual.index("A row has:") : manual.index("What is unknown")]

    assert listed.replace("\n", " ").replace("`", "").removeprefix("A row has: ").strip(" .").split(", ") == [
        *_objects(call)[0]
    ]


@pytest.mark.parametrize(
    ("arguments", "ports"),
    [
        (["--user", "root"], [2]),
        (["--user", "ro*"], [2]),
        (["--login-user", "alice"], [1, 2, 5]),
        (["--exe", "*/nc"], [3]),
        (["--exe", "/usr/bin/n?"], [3]),
        (["--to", "10.0.4.12"], [1, 2]),
        (["--to", "10.0.5.77/8"], [1, 2, 3, 4]),
        (["--to", "fd00::/8"], [5]),
        (["--port", "2"], [2]),
        (["--port", "1,3-4"], [1, 3, 4]),
        (["--direction", "inbound"], [4]),
        (["--outcome", "refused"], [3]),
        (["--min-score", ".9"], [2]),
        (["--host", "bastion-*"], [1, 2, 3, 4, 5]),
        (["--login-from", "203.0.113.7"], [2, 3]),
        (["--login-from", "203.0.113.0/24", "--user", "root"], [2]),
        (["--login-from", "10.0.0.0/8"], []),
        (["--name", "*.example.org"], [1]),
        (["--name", "DB.example.???"], [1]),
        (["--name", "example.org"], []),
        (["--parent", "*/sudo"], [2]),
        (["--parent", "sudo"], []),
        (["--protocol", "udp"], [3]),
        (["--protocol", "tcp"], [1, 2, 4, 5]),
        (["--protocol", "packet"], []),
        (["--host", "web"], []),
        (["--since", "2026-03-02T09:00:10Z"], []),
        (["--since", "2026-03-02T09:00:09Z", "--until", "2026-03-02T09:00:10Z"], [1, 2, 3, 4, 5]),
        (["--until", "2026-03-02T09:00:09Z"], []),
        (["--user", "alice", "--port", "1-3", "--direction", "outbound", "--outcome", "established"], [1]),
    ],
)
def test_each_option_narrows(call: Call, engine: Engine, arguments: list[str], ports: list[int]) -> None:
    """Each option leaves rows out, and all of them together what any of them would."""
    ref = Recorder(engine).snapshot(
        count("10.0.4.12", 1, **_NAME),
        count("10.0.4.12", 2, **_SUDO, **_LOGIN),
        count(
            "10.0.5.1",
            3,
            executable="/usr/bin/nc",
            user="bob",
            login_user="bob",
            protocol="udp",
            attempted=5,
            refused=5,
            **_LOGIN,
        ),
        count("10.0.4.9", 4, direction="inbound", user=None, login_user=None),
        count("fd00::1", 5, attempted=1, timed_out=1),
    )
    observe(engine, ref, {2: {"score": 0.9}})

    assert sorted(_ports(call, *arguments)) == ports


def test_spans_count_from_the_present(call: Call, engine: Engine) -> None:
    """`--since 2h` is two hours back from now."""
    now = datetime.now(UTC)
    recorder = Recorder(engine, now=now - timedelta(hours=3))
    recorder.snapshot(count(port=1))
    recorder.now = now - timedelta(hours=1)
    recorder.snapshot(count(port=2))

    assert _ports(call, "--since", "2h") == [2]
    assert _ports(call, "--since", "1d", "--until", "2h") == [1]


@pytest.mark.usefixtures("zone")
def test_times_are_local(call: Call, engine: Engine) -> None:
    """A time without an offset is understood as it is shown."""
    Recorder(engine).snapshot(count())

    assert _ports(call, "--since", "2026-03-02 10:00", "--until", "2026-03-02 10:01") == [22]
    assert _ports(call, "--since", "2026-03-02 09:00", "--until", "2026-03-02 09:59") == []


@pytest.mark.parametrize(
    ("arguments", "option", "advice"),
    [
        (["--since", "tomorrow"], "--since", "write 2026-11-20"),
        (["--until", "25:00"], "--until", "7d"),
        (["--since", "1h", "--until", "2h"], "--since", "it is not before --until"),
        (["--to", "example.org"], "--to", "write 10.0.4.12, 10.0.0.0/8 or fd00::/8"),
        (["--to", "10.0.0.0/33"], "--to", "write 10.0.4.12"),
        (["--port", "ssh"], "--port", "write 22, 22,80 or 8000-8080"),
        (["--port", "70000"], "--port", "0 to 65535"),
        (["--port", "22,"], "--port", "write 22, 22,80 or 8000-8080"),
        (["--port", "-5"], "--port", "write 22, 22,80 or 8000-8080"),
        (["--port", "\u0662"], "--port", "write 22, 22,80 or 8000-8080"),
        (["--port", "9-8"], "--port", "write 8-9"),
        (["--login-from", "alice"], "--login-from", "write 10.0.4.12"),
        (["--protocol", "gre"], "--protocol", "'tcp', 'sctp', 'udp', 'icmp', 'raw', 'packet'"),
        (["--direction", "in"], "--direction", "'outbound', 'inbound'"),
        (["--outcome", "open"], "--outcome", "'established', 'refused', 'timed_out', 'failed'"),
        (["--min-score", "2"], "--min-score", "0<=x<=1"),
        (["--limit", "0"], "--limit", "1<=x<=1000000"),
        (["--limit", "9" * 30], "--limit", "1<=x<=1000000"),
    ],
)
def test_a_bad_value_is_refused_with_a_good_one(call: Call, arguments: list[str], option: str, advice: str) -> None:
    """What is not understood is refused with the option's name and with what would be right."""
    result = call("query", *arguments)

    assert result.code == 2
    assert f"Invalid value for '{option}'" in result.err
    assert advice in result.err.replace("\n", " ")
    assert result.out == ""


def test_older_rows_are_counted(call: Call, engine: Engine) -> None:
    """Beyond the limit a remark says how many more there are, beside the output and not in it."""
    recorder = Recorder(engine)
    for port in range(1, 106):
        recorder.snapshot(count(port=port))

    table, objects = call("query"), call("query", "--json", "--limit", "2")

    assert len(table.lines) == 101
    assert " 10.0.4.12:105 " in table.lines[-1]
    assert table.err == "5 older rows match too: narrow the search, or raise --limit\n"
    assert [each["remote_port"] for each in json.loads(objects.out)] == [104, 105]
    assert objects.err == "103 older rows match too: narrow the search, or raise --limit\n"
    assert call("query", "--limit", "105").err == ""


def test_one_older_row(call: Call, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Very many are said to be so many or more."""
    Recorder(engine).snapshot(*(count(port=port) for port in range(1, 10)))
    monkeypatch.setattr("detector.store.history.MOST_COUNTED", 4)

    assert call("query", "--limit", "2").err.startswith("4 or more older rows match too")


def test_nothing_found_is_said(call: Call, engine: Engine) -> None:
    """No rows: a remark for a person, an empty list for a script; neither is a fault."""
    Recorder(engine).snapshot(count())

    table, objects = call("query", "--user", "nobody"), call("query", "--user", "nobody", "--json")

    assert (table.code, table.out, table.err) == (0, "", "no rows match\n")
    assert (objects.code, objects.out, objects.err) == (0, "[]\n", "")


_HOSTILE = "/tmp/\x1b[2J\x07\x7f\r\n\u202egpj.\u2066[bold red]x[/]:smile:\x9b"


def test_hostile_names_are_made_visible(call: Call, engine: Engine) -> None:
    """Neither escape sequences, nor marks of direction, nor markup act; JSON gives the name exactly, in ASCII."""
    Recorder(engine).snapshot(count(executable=_HOSTILE, user=_HOSTILE))

    table, objects = call("query"), call("query", "--json")

    assert len(table.lines) == 2
    assert all(each.isprintable() for each in table.out.replace("\n", ""))
    assert r"/tmp/\x1b[2J\x07\x7f\r\n\u202egpj.\u2066[bold red]x[/]:smile:\x9b" in table.lines[1]
    assert objects.out.isascii()
    assert objects.out.replace("\n", "").isprintable()
    assert json.loads(objects.out)[0]["executable"] == _HOSTILE


def test_output_into_a_pipe_is_neither_folded_nor_cut(call: Call, engine: Engine) -> None:
    """A row is one line for grep, however long."""
    path = "/opt/" + "x" * 3000
    Recorder(engine).snapshot(count(executable=path))

    result = call("query")

    assert len(result.lines) == 2
    assert path in result.lines[1]
    assert "\x1b" not in result.out


def test_a_narrow_terminal_loses_nothing(store: str, engine: Engine) -> None:
    """On 80 columns rows are folded: no line is wider, and every letter is there."""
    path, address = "/opt/" + "".join(chr(ord("a") + number % 26) for number in range(60)), "fd00:1234:5678:9abc::1"
    Recorder(engine).snapshot(count(address, executable=path))
    title, *lines = shown_on(80, "query", environment={"DETECTOR_DATABASE_URL": store})

    def column(name: str, following: str) -> str:
        return "".join(line[title.index(name) : title.index(following)].strip() for line in lines)

    assert all(len(line) <= 80 for line in (title, *lines))
    assert column("executable", "connection") == path
    assert column("connection", "connects") == f"->[{address}]:22"


def test_a_missing_database_is_not_made(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking a database that is not there says how to make it, and leaves nothing behind."""
    monkeypatch.setenv("DETECTOR_DATABASE_URL", f"sqlite:///{tmp_path}/none/detector.db")

    for words in (["query"], ["query", "--json"], ["alerts", "list"], ["alerts", "show", "1"], ["rules", "list"]):
        result = call(*words)
        assert result.code == 74
        assert result.out == ""
        assert (
            result.err == f"detector: there is no database at {tmp_path}/none/detector.db\n  run: detector db upgrade\n"
        )
    assert not (tmp_path / "none").exists()


def test_the_database_is_only_read(call: Call, engine: Engine) -> None:
    """A query works while someone else writes."""
    Recorder(engine).snapshot(count())

    with writing(engine) as connection:
        connection.execute(connection_keys.update().values(user="bob"))
        assert _objects(call)[0]["user"] == "alice"
    assert _objects(call)[0]["user"] == "bob"


@pytest.mark.postgres
def test_postgres_gives_the_same_rows(
    call: Call, sqlite_url: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same history gives the same output, byte for byte, from either database."""
    outputs = []
    for url in (sqlite_url, postgres_url):
        engine = open_store(url)
        recorder = Recorder(engine)
        for port in range(1, 6):
            ref = recorder.snapshot(count(port=port), count("fd00::1", port, direction="inbound", session=port))
            observe(engine, ref, {1: {"score": 0.1 + 0.2, "p_forest": 1e-7}})
        engine.dispose()
        monkeypatch.setenv("DETECTOR_DATABASE_URL", url)
        outputs.append([call("query", *options) for options in ((), ("--json",), ("--exe", "*s?h", "--limit", "3"))])

    assert outputs[0] == outputs[1]
    assert START.isoformat()[:10] in outputs[0][1].out


def test_damaged_snapshots_are_left_out_and_told(call: Call, engine: Engine) -> None:
    """One that cannot be read keeps nobody from the others; nor does what detection said of one."""
    recorder = Recorder(engine)
    refs = [recorder.snapshot(count("10.0.4.12", port, attempted=1)) for port in (1, 2, 3)]
    observe(engine, refs[2], {3: {"score": 0.5}})
    with writing(engine) as connection:
        damaged = {"content": b"damaged"}
        connection.execute(update(packed_counts).where(packed_counts.c.seq == 2).values(damaged))
        connection.execute(update(packed_observations).where(packed_observations.c.seq == 3).values(damaged))
    for more in ((), ("--port", "3"), ("--new", "--since", "2020-01-01"), ("--by", "user")):
        result = call("query", "--json", *more)
        assert result.code == 0
        assert result.err.splitlines()[-1].startswith("damaged, so that what it takes from there is left out: ")
    assert [row["remote_port"] for row in _objects(call)] == [1, 3]
