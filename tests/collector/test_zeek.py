"""Zeek's conn.log, as it is met in the field and as it should never be."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.collector.log_lines import Tally
from detector.collector.zeek import Connection, common_ends, read_connections
from detector.domain import Outcome
from detector.errors import LogError
from tests.collector.logs import BEGIN, HOST, json_lines, opened, row, tab_separated
from tests.examples import examples
from tests.hostile import TEXT


def _read(folder: Path, content: bytes) -> tuple[list[Connection], Tally]:
    tally = Tally()
    with opened(folder / "conn.log", content) as file:
        return list(read_connections([file], tally)), tally


def _refused(folder: Path, content: bytes) -> list[str]:
    connections, tally = _read(folder, content)
    assert connections == []
    return [str(each).removeprefix(f"{folder}/") for each in tally.refusals]


_ROWS = [row(0.25), row(1, resp="2001:DB8::0:7", port=22), row(2, proto="udp", port=53, history="Dd")]
_EXPECTED = [
    Connection(BEGIN + 0.25, "tcp", HOST, "198.51.100.7", 443, "SF", "ShADadFf"),
    Connection(BEGIN + 1, "tcp", HOST, "2001:db8::7", 22, "SF", "ShADadFf"),
    Connection(BEGIN + 2, "udp", HOST, "198.51.100.7", 53, "SF", "Dd"),
]


@pytest.mark.parametrize(
    "content",
    [
        tab_separated(*_ROWS),
        tab_separated(*_ROWS, separator="|"),
        tab_separated(
            *_ROWS, fields=["label", "history", "conn_state", "proto", "id.resp_p", "id.resp_h", "id.orig_h", "ts"]
        ),
        tab_separated(_ROWS[0]) + tab_separated(*_ROWS[1:], fields=["x", *_ROWS[0]]),
        json_lines(*_ROWS),
        json_lines(*({name.replace("id.", "id_"): value for name, value in each.items()} for each in _ROWS)),
        json_lines(*({"@stream": "conn", "label": ["x", {"y": None}], **each} for each in _ROWS)),
        tab_separated(_ROWS[0]) + json_lines(*_ROWS[1:]),
        tab_separated(*_ROWS).replace(b"\n", b"\r\n"),
        tab_separated(*_ROWS).rstrip(b"\n"),
    ],
    ids=["tabs", "bars", "any order", "two logs", "json", "underscores", "extra fields", "mixed", "crlf", "no end"],
)
def test_all_forms_are_the_same_connections(tmp_path: Path, content: bytes) -> None:
    """Tab-separated or JSON, columns in any order, with others among them."""
    connections, tally = _read(tmp_path, content)

    assert connections == _EXPECTED
    assert (tally.rows, tally.refused) == (3, 0)


def test_times_may_be_iso_8601_in_json(tmp_path: Path) -> None:
    """As Zeek writes them with json_timestamps; never without a zone."""
    aware, naive = ({**row(), "ts": text} for text in ("2023-11-14T22:14:00.250000Z", "2023-11-14T22:14:00"))
    content = json.dumps(aware).encode() + b"\n" + json.dumps(naive).encode()

    connections, tally = _read(tmp_path, content)

    assert [each.at for each in connections] == [BEGIN + 0.25]
    assert [each.message for each in tally.refusals] == [
        "ts '2023-11-14T22:14:00' is not a time; write seconds since 1970"
    ]


@pytest.mark.parametrize(
    ("state", "history", "outcome"),
    [
        *((state, "ShADa", Outcome.ESTABLISHED) for state in ("SF", "S1", "S2", "S3", "RSTO", "RSTR")),
        ("REJ", "Sr", Outcome.REFUSED),
        ("S0", "S", Outcome.TIMED_OUT),
        ("RSTOS0", "SR", Outcome.FAILED),
        ("SH", "SF", Outcome.FAILED),
        ("SF", "hADa", Outcome.ESTABLISHED),
        *((state, "ShA", None) for state in ("OTH", "RSTRH", "SHR", "", "sf")),
        ("SF", "^hADa", None),
        ("SF", "DadA", None),
        ("SF", "", None),
        ("OTH", "Dd", None),
    ],
)
def test_outcomes_follow_state_and_history(tmp_path: Path, state: str, history: str, outcome: Outcome | None) -> None:
    """Active opens have one; backscatter and what began before the log have none."""
    written = row(conn_state=state or "-", history=history or "(empty)")

    (connection,), _ = _read(tmp_path, tab_separated(written))

    assert connection.outcome == outcome


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"port": 99999}, "id.resp_p '99999' is not a port; write 0 to 65535"),
        ({"port": -1}, "id.resp_p '-1' is not a port; write 0 to 65535"),
        ({"port": "٣"}, "id.resp_p '٣' is not a port; write 0 to 65535"),
        ({"ts": "nan"}, "ts 'nan' is not between 1970 and 2100; write seconds since 1970"),
        ({"ts": "-inf"}, "ts '-inf' is not between 1970 and 2100; write seconds since 1970"),
        ({"ts": "1e999"}, "ts '1e999' is not between 1970 and 2100; write seconds since 1970"),
        ({"ts": "1700000040000"}, "ts '1700000040000' is not between 1970 and 2100; write seconds since 1970"),
        ({"ts": "-"}, "ts '-' is not a time; write seconds since 1970"),
        ({"ts": "1_0"}, "ts '1_0' is not a time; write seconds since 1970"),
        ({"resp": ""}, "id.resp_h '' is not an address; write IPv4 or IPv6 without a zone"),
        ({"orig": "web-1"}, "id.orig_h 'web-1' is not an address; write IPv4 or IPv6 without a zone"),
        (
            {"orig": "fe80::1%eth0"},
            "id.orig_h 'fe80::1%eth0' is not an address; write IPv4 or IPv6 without a zone",
        ),
    ],
)
def test_what_is_wrong_is_refused_by_its_line(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    """File, line, what is wrong, and what to write instead."""
    assert _refused(tmp_path, tab_separated(row(**values))) == [f"conn.log:9: {said}"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"Nov 25 14:00 sshd[7]: hello\n",
            "neither a JSON object nor below a line of #fields; name a conn.log of Zeek",
        ),
        (b"{}\n", "Object missing required field `ts`; write the fields as Zeek's conn.log has them"),
        (
            b'{"ts": 1, "proto": "tcp"}',
            "no id.orig_h, id.resp_h or id.resp_p; write the fields as Zeek's conn.log has them",
        ),
        (b'{"ts": 1,', "not a JSON object ('Input data was truncated'); is the line cut?"),
        (
            b'{"ts": true, "proto": "tcp"}',
            "Expected `float | str`, got `bool` - at `$.ts`; write the fields as Zeek's conn.log has them",
        ),
        (b"#separator \n", r"#separator names none; write #separator \x09"),
    ],
)
def test_other_lines_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    """What is no row of a conn.log is told apart from one that is damaged."""
    assert _refused(tmp_path, content) == [f"conn.log:1: {said}"]


def test_a_row_that_is_cut_is_refused(tmp_path: Path) -> None:
    """A number of columns that is not that of the header shifts their meaning."""
    content = tab_separated(row()).replace(b"#close\t2023-11-14-23-00-00", b"17000\tC")

    _, tally = _read(tmp_path, content)

    assert [each.message for each in tally.refusals] == ["2 columns, #fields has 21; is the line cut?"]


def test_the_log_of_something_else_is_refused_as_a_whole(tmp_path: Path) -> None:
    """A dns.log has rows with the same columns."""
    for content, said in (
        (
            tab_separated(row()).replace(b"#path\tconn", b"#path\tdns"),
            "this is Zeek's log of 'dns', not of connections",
        ),
        (tab_separated(row(), fields=["ts", "uid"]), "#fields lacks id.orig_h, id.resp_h, id.resp_p, proto"),
    ):
        with pytest.raises(LogError, match=said):
            _read(tmp_path, content)


def test_the_ends_that_all_connections_share_are_known(tmp_path: Path) -> None:
    """Of one host's log it is one; the busiest addresses come first, even where only some can be counted."""
    connections, _ = _read(
        tmp_path, json_lines(*(row(resp=f"198.51.100.{last}") for last in range(1, 200)), row(resp="198.51.100.9"))
    )

    common, rows = common_ends(connections, most=50)

    assert common == {HOST}
    assert list(rows)[:1] == [HOST]
    assert rows[HOST] == 200
    assert len(rows) <= 51
    assert common_ends([]) == (set(), {})


_NUMBERS = st.sampled_from(["nan", "inf", "-inf", "1e400", "9" * 400, "-0", "0x10", "1_0", "٣", "", "-", "4102444800"])
_CELL = st.one_of(
    _NUMBERS, TEXT.filter(lambda text: "\t" not in text and "\n" not in text), st.just(HOST), st.just("22")
)
_VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), TEXT, _NUMBERS),
    lambda below: st.lists(below, max_size=3),
)
_NAMES = ("ts", "id.orig_h", "id.resp_h", "id.resp_p", "id_orig_h", "id_resp_p", "proto", "conn_state", "history")


def _checked(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            connections, tally = _read(Path(folder), content)
        except LogError:
            return
    assert tally.rows == len(connections) + tally.refused
    for each in connections:
        assert 0 <= each.at < math.inf
        assert 0 <= each.port <= 65_535


@settings(max_examples=examples(300))
@given(
    st.one_of(
        st.binary(max_size=300),
        st.lists(st.binary(max_size=60), max_size=8).map(lambda rows: tab_separated() + b"\n".join(rows)),
    )
)
def test_bytes_of_any_kind_are_read_or_refused(content: bytes) -> None:
    """Whatever the bytes, below a header or not, each line is a connection or counted as refused."""
    _checked(content)


@settings(max_examples=examples(300))
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(_NAMES[:4] + _NAMES[6:], _CELL)), max_size=4))
def test_cells_of_any_kind_are_read_or_refused(rows: list[dict[str, str]]) -> None:
    """Numbers that are none, ports beyond all ports, text as attackers choose it."""
    head = tab_separated(fields=rows[0] if rows else ["ts"])
    _checked(head + b"".join("\t".join(each.values()).encode("utf-8", "backslashreplace") + b"\n" for each in rows))


@settings(max_examples=examples(300))
@given(st.lists(st.dictionaries(st.one_of(st.sampled_from(_NAMES), TEXT), _VALUE, max_size=10), max_size=4))
def test_objects_of_any_kind_are_read_or_refused(objects: list[dict[str, Any]]) -> None:
    """JSON of any types under the names that are read."""
    _checked(b"".join(json.dumps(each).encode() + b"\n" for each in objects))


def test_nesting_without_end_is_refused(tmp_path: Path) -> None:
    """A line may be as deep as it is long."""
    content = b'{"ts": 1, "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n" + json_lines(row())

    connections, tally = _read(tmp_path, content)

    assert (len(connections), tally.refused) == (1, 1)
