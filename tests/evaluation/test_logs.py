"""Folders of labelled logs."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from detector.domain import Direction, Outcome
from detector.errors import LogError
from detector.evaluation import manifest
from detector.evaluation.cases import RecordedAttack, surroundings_of
from detector.evaluation.logs import Folder
from detector.evaluation.manifest import ManifestError
from tests.collector.logs import BEGIN, HOST, json_lines, row, tab_separated

if TYPE_CHECKING:
    from pathlib import Path

    from detector.evaluation.cases import Cases

_STRANGER = "45.1.2.3"
_FIELDS = ("ts", "id.orig_h", "id.resp_h", "id.resp_p", "proto", "conn_state", "history")


def _day(**more: Any) -> list[dict[str, Any]]:
    """A connect a minute for an hour, and what is no connect of the host."""
    return [
        *(row(60 * minute, **more) for minute in range(60)),
        row(30, orig=_STRANGER, resp=HOST, port=22),
        row(31, proto="udp", port=53, history="Dd"),
        row(32, history="^ShA"),
    ]


def _write(folder: Path, described: dict[str, Any], **files: bytes) -> Path:
    for name, content in files.items():
        (folder / f"{name}.log").write_bytes(content)
    (folder / manifest.NAME).write_text(json.dumps(described))
    return folder


def _read(folder: Path, *, everything: bool = False) -> Cases:
    return Folder(folder, manifest.read(folder, None), everything=everything).read()


def _attack(cases: Cases, name: str) -> RecordedAttack:
    (found,) = [each for each in cases.attacks if each.name == name]
    assert isinstance(found, RecordedAttack)
    return found


def test_a_host_is_its_own_connects_up_to_the_last_and_its_middle_is_their_median(tmp_path: Path) -> None:
    """Flows, inbound connections and what is no active open are no part of the protocol."""
    _write(tmp_path, {"hosts": {"web-1": {"files": ["conn.log"], "src": HOST}}}, conn=tab_separated(*_day()))
    (host,) = _read(tmp_path).hosts
    rows = [each for snapshot in host.snapshots(60) for each in snapshot.counts]
    assert sum(each.attempted for each in rows) == 60
    assert {each.key.direction for each in rows} == {Direction.OUTBOUND}
    assert (host.middle, host.last) == (BEGIN + 30 * 60, BEGIN + 59 * 60)
    assert sum(len(each.counts) for each in host.snapshots(300)) == len(host.snapshots(300)) == 13


def test_all_traffic_of_a_host_is_more(tmp_path: Path) -> None:
    """Whoever asks for everything has flows and inbound connections too."""
    _write(tmp_path, {"hosts": {"web-1": {"files": ["conn.log"], "src": HOST}}}, conn=tab_separated(*_day()))
    (host,) = _read(tmp_path, everything=True).hosts
    rows = [each for snapshot in host.snapshots(60) for each in snapshot.counts]
    assert sum(each.attempted for each in rows) == 62
    assert {each.key.direction for each in rows} == set(Direction)


@pytest.mark.parametrize("joined", [False, True], ids=["in columns", "in one column, three spaces between"])
@pytest.mark.parametrize("second", ["detailed-label", "detailedlabel"])
def test_labels_tell_attacks_from_what_is_benign(tmp_path: Path, second: str, *, joined: bool) -> None:
    """As those who label logs append them; rows of a dropped label are no part of the host."""
    rows = [
        *({**each, "label": "Benign", second: "-"} for each in _day()),
        *({**row(1000 + 10 * number, resp="203.0.113.5"), "label": "Malicious", second: "C2"} for number in range(3)),
        {**row(2000, resp="203.0.113.6"), "label": "Malicious", second: "Scan"},
    ]
    content = tab_separated(*rows, fields=[*_FIELDS, "tunnel_parents", "label", second])
    if joined:
        content = b"\n".join(_with_spaces(line) for line in content.split(b"\n"))
    described = {
        "hosts": {"web-1": {"files": ["conn.log"], "src": HOST, "drop_label": "Malicious"}},
        "attacks": {
            "all": {"files": ["conn.log"], "label": "Malicious"},
            "c2": {"files": ["conn.log"], "label": "Malicious", "detailed_label": "C2"},
        },
    }
    cases = _read(_write(tmp_path, described, conn=content))
    (host,) = cases.hosts
    assert sum(each.attempted for snapshot in host.snapshots(60) for each in snapshot.counts) == 60
    assert [each.at for each in _attack(cases, "all").recorded] == [0, 10, 20, 1000]
    assert [each.at for each in _attack(cases, "c2").recorded] == [0, 10, 20]


def _with_spaces(line: bytes) -> bytes:
    *others, parents, label, detailed = line.split(b"\t") if line.count(b"\t") > 2 else (line, b"", b"", b"")
    return b"\t".join([*others, b"   ".join([parents, label, detailed])]) if label else line


def test_labels_of_json_lines_are_read_too(tmp_path: Path) -> None:
    """Under the same names."""
    rows = [*_day(), {**row(1000, resp="203.0.113.5"), "label": "Malicious", "detailed-label": "C2"}]
    described = {
        "hosts": {"web-1": {"files": ["conn.log"], "src": HOST, "drop_label": "Malicious"}},
        "attacks": {"c2": {"files": ["conn.log"], "detailed_label": "C2"}},
    }
    assert len(_attack(_read(_write(tmp_path, described, conn=json_lines(*rows))), "c2").recorded) == 1


def test_an_attack_from_outside_is_turned_round_and_one_on_what_is_known_is_aimed(tmp_path: Path) -> None:
    """The host does to others what was done to it, with the same timing and outcomes."""
    inbound = [row(number, orig=_STRANGER, resp=HOST, port=22, conn_state="REJ", history="Sr") for number in range(5)]
    entry = {"files": ["conn.log"], "src": _STRANGER, "dst": HOST, "flip": True}
    described = {
        "hosts": {"web-1": {"files": ["conn.log"], "src": HOST}},
        "attacks": {"guessing": entry, "known": {**entry, "known_dst": True}},
    }
    cases = _read(_write(tmp_path, described, conn=tab_separated(*_day(), *inbound)))
    turned = _attack(cases, "guessing").recorded
    assert {(str(each.key.remote_address), each.key.remote_port, each.outcome) for each in turned} == {
        ("203.0.113.10", 22, Outcome.ESTABLISHED),
        ("203.0.113.10", 22, Outcome.REFUSED),
    }
    surroundings = surroundings_of(cases.hosts[0].snapshots(60), start=0, left=100)
    aimed = _attack(cases, "known").connects(surroundings, None)  # type: ignore[arg-type]
    assert {(str(each.key.remote_address), each.key.remote_port) for each in aimed} == {("198.51.100.7", 443)}
    assert [each.at for each in aimed] == [each.at for each in turned]


def test_without_a_manifest_each_folder_with_logs_is_a_host(tmp_path: Path) -> None:
    """Plain and gzip; the address that is an end of every connection is its own."""
    for name, address in (("web-1", "10.0.0.1"), ("web-2", "10.0.0.2")):
        (tmp_path / name).mkdir()
        rows = [row(60 * minute, orig=address, resp=f"198.51.100.{minute}") for minute in range(10)]
        (tmp_path / name / "conn.log.gz").write_bytes(gzip.compress(tab_separated(*rows)))
    (tmp_path / "notes").mkdir()
    cases = _read(tmp_path)
    assert [each.name for each in cases.hosts] == ["web-1", "web-2"]
    assert all(len(each.snapshots(60)) == 10 for each in cases.hosts)
    assert not cases.attacks


def test_rows_of_query_are_hosts_and_attacks_as_well(tmp_path: Path) -> None:
    """With users and programs; single connects of a row are spread over its snapshot."""
    start = "2026-03-02T09:{:02}:00Z"
    rows = [
        {
            "host": "bastion-1" if minute < 20 else "other",
            "start": start.format(minute),
            "end": start.format(minute + 1),
            "direction": "outbound",
            "protocol": "tcp",
            "user": "alice",
            "executable": "/usr/bin/ssh",
            "remote_address": "10.0.4.12",
            "remote_port": 22,
            "attempted": 3,
            "established": 2,
            "refused": 1,
        }
        for minute in range(25)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    described = {
        "hosts": {"bastion": {"files": ["rows.jsonl"], "src": "bastion-1"}},
        "attacks": {"ssh": {"files": ["rows.jsonl"], "src": "other", "dst": "10.0.4.12"}},
    }
    cases = _read(_write(tmp_path, described))
    (host,) = cases.hosts
    assert [each.host for each in host.snapshots(600)] == ["bastion", "bastion"]
    attack = _attack(cases, "ssh").recorded
    assert [each.at for each in attack[:4]] == [0, 20, 40, 60]
    assert [each.outcome for each in attack[:3]] == [Outcome.ESTABLISHED, Outcome.ESTABLISHED, Outcome.REFUSED]
    assert attack[0].key.user == "alice"


@pytest.mark.parametrize(
    ("described", "fault"),
    [
        ('{"hosts": {}}', "no hosts"),
        ('{"hosts": {"a": {"files": []}}}', "length >= 1"),
        ('{"hosts": {"a": {"files": ["x"], "source": "10.0.0.1"}}}', "unknown field `source`"),
        ('{"hosts": ', "truncated"),
        ('{"hosts": {"a": {"files": ["missing*.log"]}}}', "no file in"),
        ('{"hosts": {"a": {"files": ["/etc/*"]}}}', "not a pattern below"),
        ('{"hosts": {"a": {"files": ["conn.log"], "src": "web"}}}', "'web' is not an address"),
        ('{"hosts": {"a": {"files": ["conn.log"]}}}', "more than one host"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_with_what_to_do(tmp_path: Path, described: str, fault: str) -> None:
    """The message names the file or the entry."""
    (tmp_path / "conn.log").write_bytes(tab_separated(row(0), row(1, orig="10.9.9.9", resp="10.8.8.8")))
    (tmp_path / manifest.NAME).write_text(described)
    with pytest.raises(ManifestError, match=fault) as caught:
        _read(tmp_path)
    assert caught.value.hint


def test_a_log_that_ends_in_the_middle_is_refused(tmp_path: Path) -> None:
    """Nothing is judged on half a log."""
    (tmp_path / "conn.log.gz").write_bytes(gzip.compress(tab_separated(*_day()))[:-40])
    with pytest.raises(LogError, match="ends in the middle"):
        _read(tmp_path)


def test_hosts_and_attacks_of_which_nothing_is_left_are_told(tmp_path: Path) -> None:
    """Rather than judged as caught, or as missed."""
    described = {
        "hosts": {
            "web-1": {"files": ["conn.log"], "src": HOST},
            "gone": {"files": ["conn.log"], "src": "10.99.99.99"},
        },
        "attacks": {"none": {"files": ["conn.log"], "label": "Malicious"}},
    }
    cases = _read(_write(tmp_path, described, conn=tab_separated(*_day())))
    assert [each.name for each in cases.hosts] == ["web-1"]
    assert sorted(cases.left_out) == ["gone", "none"]
