"""`detector query` with --by, --new, --chart and --format."""

from __future__ import annotations

import csv
import json
import re
from datetime import datetime, timedelta
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.cli.output import csv_lines
from tests.builders import START, Recorder, count, observe

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.cli.conftest import Call


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """Two snapshots, an hour apart: alice in both, bob in the second."""
    recorder = Recorder(engine)
    observe(engine, recorder.snapshot(count(port=22, attempted=3, established=1, refused=2)), {1: {"score": 0.5}})
    recorder.pass_time(hours=1)
    recorder.snapshot(
        count(port=22),
        count("10.0.5.1", 443, user="bob", login_user="bob", executable="=cmd|' /C calc'!A0", attempted=4, timed_out=4),
    )
    return engine


def _cells(line: str) -> list[str]:
    return re.split(r" {2,}", line)


@pytest.mark.usefixtures("filled", "zone")
def test_sums_by_fields(call: Call) -> None:
    """A line for each combination of values, the most attempted first, with what is distinct and when it was."""
    result = call("query", "--by", "user,destination")

    assert result.code == 0, result.err
    assert [_cells(line) for line in result.lines] == [
        ["user", "remote address", "connects", "ports", "first seen (+01:00)", "last seen (+01:00)", "peak"],
        ["alice", "10.0.4.12", "2 established, 2 refused", "1", "2026-03-02 10:00:00", "2026-03-02 11:00:20", "0.5000"],
        ["bob", "10.0.5.1", "4 timed out", "1", "2026-03-02 11:00:10", "2026-03-02 11:00:20", "-"],
    ]


@pytest.mark.usefixtures("filled", "zone")
def test_sums_by_time_are_in_its_order(call: Call) -> None:
    """Hours and days are those of the local zone, the last ones where there are more than are shown."""
    found = json.loads(call("query", "--by", "hour_of_day", "--json").out)
    assert [(each["hour_of_day"], each["attempted"]) for each in found] == [(10, 3), (11, 5)]
    last = call("query", "--by", "hour_of_day", "--json", "--limit", "1")
    assert [each["hour_of_day"] for each in json.loads(last.out)] == [11]
    assert last.err == "1 more: narrow the search, or raise --limit\n"
    assert json.loads(call("query", "--by", "weekday", "--json").out)[0]["weekday"] == "Monday"
    assert json.loads(call("query", "--by", "day", "--json").out)[0]["day"] == "2026-03-02"


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("sort", "users"),
    [
        ("established", ["alice", "bob"]),
        ("established:asc", ["bob", "alice"]),
        ("timed_out", ["bob", "alice"]),
        ("user", ["alice", "bob"]),
        ("user:desc", ["bob", "alice"]),
        ("peak_score", ["alice", "bob"]),
        ("peak_score:asc", ["alice", "bob"]),
        ("first_seen", ["bob", "alice"]),
    ],
)
def test_sums_are_sorted_as_asked(call: Call, sort: str, users: list[str]) -> None:
    """By any field or sum, either way; what is unknown stands last."""
    found = json.loads(call("query", "--by", "user", "--sort", sort, "--json").out)

    assert [each["user"] for each in found] == users


@pytest.mark.usefixtures("filled", "zone")
def test_what_is_new_in_a_period(call: Call) -> None:
    """Only keys that were first seen in it, each with what it did since."""
    result = call("query", "--new", "--since", "2026-03-02 10:30")

    assert [_cells(line)[:5] for line in result.lines[1:]] == [
        ["2026-03-02 11:00:10", "bob", "=cmd|' /C calc'!A0", "-> 10.0.5.1:443", "4 timed out"]
    ]
    (found,) = json.loads(call("query", "--new", "--since", "2026-03-02 10:30", "--json").out)
    assert (found["user"], found["snapshots"], found["timed_out"]) == ("bob", 1, 4)
    assert call("query", "--new", "--since", "2026-03-02 12:00").err == "nothing is new\n"
    by = call("query", "--new", "--since", "2026-03-02 10:30", "--by", "login_user", "--json")
    assert [each["login_user"] for each in json.loads(by.out)] == ["bob"]


@pytest.mark.usefixtures("filled")
def test_lines_of_json(call: Call) -> None:
    """An object a line, the same as those of the list."""
    lines = [json.loads(line) for line in call("query", "--format", "jsonl").lines]

    assert lines == json.loads(call("query", "--json").out)
    assert len(lines) == 3


@pytest.mark.usefixtures("filled")
def test_csv_is_safe_for_spreadsheets(call: Call) -> None:
    """What would be a formula begins with an apostrophe, numbers stay numbers, times are in UTC."""
    found = list(csv.DictReader(StringIO(call("query", "--format", "csv").out)))

    assert [row["executable"] for row in found] == ["/usr/bin/ssh", "/usr/bin/ssh", "'=cmd|' /C calc'!A0"]
    assert [row["attempted"] for row in found] == ["3", "1", "4"]
    assert found[0]["start"] == "2026-03-02T09:00:00Z"
    assert found[0]["remote_name"] == ""


@given(st.lists(st.one_of(st.text(), st.sampled_from(["=1", " =1", "\t=1", "+1", "-1", "@x", "a\r\nb", '"']))))
def test_no_text_acts_in_csv(texts: list[str]) -> None:
    """Whatever a text is, its cell is one cell on one line, prints, and is no formula."""
    out = "".join(csv_lines(["name", "other"], [{"name": text, "other": 1} for text in texts]))

    rows = list(csv.reader(StringIO(out)))
    assert len(rows) == len(texts) + 1
    assert out.replace("\r\n", "").isprintable()
    for name, other in rows[1:]:
        assert not name.strip().startswith(("=", "+", "-", "@"))
        assert other == "1"


@pytest.mark.usefixtures("filled", "zone")
def test_a_time_line_is_drawn(call: Call) -> None:
    """Bars over time with a scale, in the local zone, within 80 columns; also where there is no terminal."""
    result = call("query", "--chart", "--since", "2026-03-02 09:50", "--until", "2026-03-02 11:30")

    assert result.code == 0, result.err
    assert result.lines[0] == "connects in each 2 minutes, 8 in all"
    assert all(len(line) <= 80 for line in result.lines)
    assert result.lines[1].strip().startswith("5 ")
    # The first bar is three fifths as high as the second: of 64 eighths, 38.
    assert [line.count("\u2588") for line in result.lines[1:9]] == [1, 1, 1, 1, 2, 2, 2, 2]
    assert result.lines[-1] == "2026-03-02 09:50:00+01:00 to 2026-03-02 11:30:00+01:00"
    found = json.loads(
        call("query", "--chart", "--since", "2026-03-02 09:50", "--until", "2026-03-02 11:30", "--json").out
    )
    assert [(each["start"], each["connects"]) for each in found if each["connects"]] == [
        ("2026-03-02T09:00:00Z", 3),
        ("2026-03-02T10:00:00Z", 5),
    ]
    assert sum(each["unsuccessful"] for each in found) == 6


@pytest.mark.usefixtures("zone")
def test_a_time_line_of_days_minds_the_clock(call: Call, engine: Engine) -> None:
    """A day in which the clocks are set is one bar, and no connect is lost or counted twice."""
    recorder = Recorder(engine, interval=timedelta(hours=1), now=datetime.fromisoformat("2026-10-20T00:00:00+02:00"))
    for _ in range(24 * 10):
        recorder.snapshot(count())

    found = json.loads(call("query", "--chart", "--since", "2026-10-20", "--until", "2026-10-30", "--json").out)
    assert sum(each["connects"] for each in found) == 24 * 10
    days = call("query", "--by", "day", "--json")
    assert [each["attempted"] for each in json.loads(days.out)] == [24] * 5 + [25] + [24] * 3 + [23]
    assert call("query", "--chart", "--since", "2026-10-01").code == 0


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--by", "size"], "'size' is no field; write some of host"),
        (["--by", "user", "--sort", "size"], "write one of user, snapshots"),
        (["--by", "user", "--sort", "user:up"], "with :asc or :desc"),
        (["--sort", "user"], "--sort goes with --by or --new"),
        (["--new"], "for example: --new --since 7d"),
        (["--chart", "--by", "user"], "--chart draws all that matches"),
        (["--json", "--format", "csv"], "write one of them"),
        (["--incomplete", "--by", "user"], "--by cannot choose among"),
        (["--incomplete", "--format", "csv"], "as a table or as JSON"),
        (["--format", "xml"], "'table', 'json', 'jsonl', 'csv'"),
    ],
)
@pytest.mark.usefixtures("filled")
def test_what_does_not_go_together_is_refused(call: Call, arguments: list[str], advice: str) -> None:
    """With what would be right."""
    result = call("query", *arguments)

    assert (result.code, result.out) == (2, "")
    assert advice.lower() in " ".join(result.err.split()).lower()


@pytest.mark.usefixtures("store")
def test_an_empty_store_has_nothing(call: Call) -> None:
    """Neither sums, nor a time line, nor a fault."""
    for options in (
        ["--by", "user"],
        ["--chart"],
        ["--chart", "--json"],
        ["--new", "--since", "7d", "--format", "csv"],
    ):
        assert call("query", *options).code == 0
    assert call("query", "--chart").err == "nothing matches\n"


def test_expired_hours_say_what_they_are(call: Call, engine: Engine) -> None:
    """A row of an hour is marked as one, has its highest score, and is said to count whole where it is cut."""
    from sqlalchemy import delete, update

    from detector.store import rollups
    from detector.store.engine import writing
    from detector.store.tables import detection_cursors, packed_counts, packed_observations, snapshots

    recorder = Recorder(engine)
    for _ in range(3):
        observe(engine, recorder.snapshot(count()), {1: {"score": 0.5}})
    with writing(engine) as connection:
        connection.execute(update(detection_cursors).values(seq=3))
    rollups.advance(engine, 1, now=START + timedelta(days=1))
    with writing(engine) as connection:
        for table in (packed_counts, packed_observations, snapshots):
            connection.execute(delete(table))

    assert [_cells(line)[0] for line in call("query").lines] == ["of", "hour"]
    (row,) = json.loads(call("query", "--json").out)
    told: dict[str, Any] = {
        name: row[name] for name in ("resolution", "snapshots", "attempted", "score", "session", "end")
    }
    assert told == {
        "resolution": "hour",
        "snapshots": 3,
        "attempted": 3,
        "score": 0.5,
        "session": None,
        "end": "2026-03-02T10:00:00Z",
    }
    cut = call("query", "--by", "user", "--since", "2026-03-02T09:00:15Z", "--json")
    assert json.loads(cut.out)[0]["attempted"] == 3
    assert "count whole" in cut.err
