"""Rows as `query --json` prints them, one object a line, become snapshots again; everything else is refused."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.cli.rows import ROW_NAMES
from detector.collector import jsonl
from detector.collector.jsonl import Row, RowLog
from detector.collector.log_lines import Tally
from detector.domain import ConnectionCount, ConnectionKey, Direction, Protocol
from detector.errors import LogError
from tests.collector.logs import opened
from tests.examples import examples
from tests.hostile import TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from detector.domain import Snapshot

_START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

_PRINTED = "; write what detector query --json prints"
_ENDS = "; write the snapshot's two ends"
_ADDRESS = "; write IPv4 or IPv6 without a zone"


def _row(number: int = 0, **more: Any) -> dict[str, Any]:
    """A row of the snapshot of ten seconds with this number."""
    start = _START + timedelta(seconds=10 * number)
    return {
        "host": "bastion-1",
        "start": start.isoformat().replace("+00:00", "Z"),
        "end": (start + timedelta(seconds=10)).isoformat().replace("+00:00", "Z"),
        "direction": "outbound",
        "protocol": "tcp",
        "remote_address": "10.0.4.12",
        "remote_port": 22,
        "attempted": 1,
        "established": 1,
    } | more


def _bytes(*rows: Mapping[str, Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in rows)


def _read(folder: Path, content: bytes, **options: Any) -> tuple[list[Snapshot], Tally]:
    tally = Tally()
    with opened(folder / "rows.jsonl", content) as file:
        given = list(RowLog([file], tally, **options).snapshots())
    return [each.snapshot for each in given], tally


def _refused(folder: Path, content: bytes, **options: Any) -> list[str]:
    _, tally = _read(folder, content, **options)
    return [str(each).removeprefix(f"{folder}/") for each in tally.refusals]


def test_the_names_are_those_of_query() -> None:
    """What one prints the other reads, field by field."""
    assert set(Row.__struct_fields__) == set(ROW_NAMES)


def test_a_row_is_a_count(tmp_path: Path) -> None:
    """All fields, with the total of the handshake times made of their mean."""
    full = _row(
        executable="/usr/bin/ssh",
        script="/opt/a.sh",
        parent_executable="/usr/bin/bash",
        command="ssh",
        user="alice",
        login_user="bob",
        login_address="::ffff:203.0.113.7",
        login_source="logind",
        session=7,
        unit="user-1000.slice",
        container="web",
        remote_name="db.example.org",
        remote_name_source="udp answer of 10.0.0.2",
        remote_country="NO",
        remote_network="Example",
        attempted=9,
        established=4,
        refused=3,
        timed_out=2,
        failed=1,
        handshake_us_mean=250,
        handshake_us_max=600,
        first_seen="2026-01-01T00:00:00Z",
        score=0.5,
        explanation="new",
    )

    ((snapshot,), tally) = _read(tmp_path, _bytes(full))

    assert (snapshot.host, snapshot.start, snapshot.end) == ("bastion-1", _START, _START + timedelta(seconds=10))
    assert (tally.rows, tally.refused) == (1, 0)
    assert snapshot.counts == (
        ConnectionCount(
            key=ConnectionKey(
                direction=Direction.OUTBOUND,
                protocol=Protocol.TCP,
                remote_address=ip_address("10.0.4.12"),
                remote_port=22,
                executable="/usr/bin/ssh",
                script="/opt/a.sh",
                parent_executable="/usr/bin/bash",
                command="ssh",
                user="alice",
                login_user="bob",
                unit="user-1000.slice",
                container="web",
            ),
            session=7,
            login_address=ip_address("203.0.113.7"),
            login_source="logind",
            remote_name="db.example.org",
            remote_name_source="udp answer of 10.0.0.2",
            remote_country="NO",
            remote_network="Example",
            attempted=9,
            established=4,
            refused=3,
            timed_out=2,
            failed=1,
            handshake_us_total=1000,
            handshake_us_max=600,
        ),
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (_bytes(_row(exectuable="/bin/sh")), "unknown key 'exectuable'; did you mean executable?"),
        (_bytes(_row(**{"\x1b[2J": 1})), r"unknown key '\x1b[2J'; known here: attempted, "),
        (_bytes(_row(remote_port="22")), "Expected `int | null`, got `str` - at `$.remote_port`" + _PRINTED),
        (_bytes(_row(remote_port=99999)), "Expected `int` <= 65535 - at `$.remote_port`" + _PRINTED),
        (_bytes(_row(attempted=-1)), "Expected `int` >= 0 - at `$.attempted`" + _PRINTED),
        (_bytes(_row(attempted=1e400)), "not a JSON object"),
        (_bytes(_row(direction="sideways")), "Invalid enum value 'sideways' - at `$.direction`" + _PRINTED),
        (
            _bytes(_row(start="2026-03-02T09:00:00")),
            "Expected `datetime` with a timezone component - at `$.start`" + _PRINTED,
        ),
        (_bytes(_row(start="2026-03-02T09:00:10Z")), "end is not after start, or more than a day" + _ENDS),
        (_bytes(_row(start="0001-01-01T00:00:00+12:00")), "start or end is not between 1970 and 2100" + _ENDS),
        (_bytes(_row(remote_address="db1")), "remote_address 'db1' is not an address" + _ADDRESS),
        (_bytes(_row(user="a\x00b")), r"a text holds NUL; write it out as \\x00"),
        (_bytes({"host": "a"}), "Object missing required field `start`" + _PRINTED),
        (b"[\n", "part of a JSON list; write one object a line: jq -c '.[]'"),
        (b"\xff\n", "not a JSON object"),
        (b'{"host": "\xff"}', "not UTF-8"),
        (b"null\n", "Expected `object`, got `null`" + _PRINTED),
    ],
)
def test_what_is_wrong_is_refused_by_its_line(tmp_path: Path, line: bytes, said: str) -> None:
    """File, line, what is wrong, and what to write instead; the next line is read."""
    (refusal,) = _refused(tmp_path, line.rstrip() + b"\n" + _bytes(_row()))

    assert refusal.startswith(f"rows.jsonl:1: {said}")


def test_the_same_row_twice_is_refused(tmp_path: Path) -> None:
    """Put together twice, everything would count double."""
    (refusal,) = _refused(tmp_path, _bytes(_row(), _row(session=7), _row()))

    assert refusal == "rows.jsonl:3: the same key stands in this snapshot before; leave one of the two lines out"


def test_snapshots_are_put_into_order_and_silence_between_them_is_one(tmp_path: Path) -> None:
    """Each host's in the order of time; rows of a snapshot need not stand together; empty ones were not printed."""
    rows = [_row(5), _row(1), _row(0, host="b"), _row(5, remote_port=23), _row(0)]

    snapshots, _ = _read(tmp_path, _bytes(*rows))

    told = [(each.host, int((each.start - _START).total_seconds()), len(each.counts)) for each in snapshots]
    of_one = [("bastion-1", 0, 1), ("bastion-1", 10, 1), ("bastion-1", 20, 0), ("bastion-1", 50, 2)]
    assert told == [("b", 0, 1), *of_one]


def test_a_long_silence_is_a_gap(tmp_path: Path) -> None:
    """In more than a day nobody watched."""
    snapshots, _ = _read(tmp_path, _bytes(_row(0), _row(8641), _row(20_000)))

    assert [len(each.counts) for each in snapshots] == [1, 0, 1, 1]


def test_what_is_too_late_is_counted(tmp_path: Path) -> None:
    """Rows from before what was given out, and snapshots that lie within another."""
    within = _row(3, start="2026-03-02T09:00:35Z")

    snapshots, tally = _read(tmp_path, _bytes(*(_row(at) for at in range(9)), _row(0), within), room=6)

    assert tally.left_out == {jsonl.LATE: 2}
    assert [each.start for each in snapshots] == sorted({each.start for each in snapshots})
    snapshots, tally = _read(tmp_path, _bytes(_row(3), within))
    assert (len(snapshots), tally.left_out) == (1, {jsonl.LATE: 1})


def test_a_name_replaces_one_name(tmp_path: Path) -> None:
    """Two hosts under one name would be everything twice."""
    content = _bytes(_row(), _row(host="b"))

    snapshots, _ = _read(tmp_path, content, host="copy")

    assert [each.host for each in snapshots] == ["copy"]
    assert _refused(tmp_path, content, host="copy") == [
        "rows.jsonl:2: of host 'b', the first was of 'bastion-1'; leave --host out to keep names"
    ]


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot of too many rows, and too many hosts, are refused beyond a number."""
    many = _bytes(*(_row(remote_port=port) for port in range(20)))
    assert len(_refused(tmp_path, many, room=11)) == 10
    monkeypatch.setattr(jsonl, "MOST_HOSTS", 3)
    refused = _refused(tmp_path, _bytes(*(_row(host=name) for name in "abcde")))
    assert refused == [
        f"rows.jsonl:{line}: of more than 3 hosts; import the rows of fewer at a time" for line in (4, 5)
    ]


_VALUE = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.floats(), st.integers(), TEXT, st.sampled_from(["10.0.0.1", "tcp", "inbound"])
    ),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(TEXT, below, max_size=2)),
)


@settings(max_examples=examples(500))
@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.dictionaries(st.one_of(st.sampled_from(ROW_NAMES), TEXT), _VALUE, max_size=6), max_size=5).map(
            lambda changes: _bytes(*(_row() | change for change in changes))
        ),
    )
)
def test_lines_of_any_kind_are_read_or_refused(content: bytes) -> None:
    """Whatever the bytes, each line is a row or counted as refused, and what is read can be stored."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            snapshots, tally = _read(Path(folder), content)
        except LogError:
            assert content.startswith(b"\x1f\x8b")
            return
    assert tally.rows == sum(len(each.counts) for each in snapshots) + tally.refused + tally.left_out.total()
    for each in snapshots:
        each.host.encode()
        for count in each.counts:
            for text in (count.key.executable, count.key.user, count.remote_name, count.login_source):
                assert text is None or "\x00" not in text
            assert count.handshake_us_total < 2**63
