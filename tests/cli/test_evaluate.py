"""`detector evaluate`, as an operator calls it."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from detector.evaluation.generate import weeks
from detector.store.engine import reading, writing
from detector.store.snapshots import SnapshotWriter
from detector.store.tables import metadata
from tests.collector.logs import HOST, row, tab_separated

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.cli.conftest import Call

_QUICK = ("--seconds", "900", "--offsets", ".5", "--rules", "horizontal_scan", "--jobs", "1")


def _folder(tmp_path: Path) -> Path:
    """A host that connects to one of three addresses each ten minutes, for a day and a half; and a sweep from it."""
    folder = tmp_path / "logs"
    folder.mkdir()
    rows = [row(600 * number, resp=f"198.51.100.{number % 3}") for number in range(216)]
    (folder / "conn.log").write_bytes(tab_separated(*rows))
    sweep = [
        row(number, resp=f"10.8.0.{number}", port=445, conn_state="S0", history="S", label="Malicious")
        for number in range(100)
    ]
    fields = ("ts", "id.orig_h", "id.resp_h", "id.resp_p", "proto", "conn_state", "history", "label")
    (folder / "attack.log").write_bytes(tab_separated(*sweep, fields=fields))
    described = {
        "hosts": {"web-1": {"files": ["conn.log"], "src": HOST}},
        "attacks": {"sweep": {"files": ["attack.log"], "label": "Malicious"}},
    }
    (folder / "manifest.json").write_text(json.dumps(described))
    return folder


def test_a_labelled_folder_is_judged_and_nothing_is_written(call: Call, tmp_path: Path) -> None:
    """What was caught and by what, and what was told for nothing, with the bound; no database is made."""
    folder = _folder(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    said = call("evaluate", folder, *_QUICK)
    assert said.code == 0, said.err
    assert said.lines[0].startswith("snapshots of 900 s: 1 episode of 1 attack on 1 host; 0.143 false alerts")
    assert any(line.startswith("the score alone") and "0 in 0.74 days, which allows 4" in line for line in said.lines)
    (attack,) = [line for line in said.lines if line.startswith("sweep")]
    assert "1/1" in attack
    assert "Sweep of many destinations 1" in attack
    assert any(line.startswith("web-1") for line in said.lines)
    assert sorted(tmp_path.rglob("*")) == before


def test_scripts_get_every_episode(call: Call, tmp_path: Path) -> None:
    """One JSON object on standard output, and no table."""
    said = call("evaluate", _folder(tmp_path), *_QUICK, "--plant", "scan", "--json")
    (result,) = json.loads(said.out)["results"]
    assert [each["attack"] for each in result["episodes"]] == ["sweep", "scan"]
    sweep: dict[str, Any] = result["episodes"][0]
    assert (sweep["host"], sweep["offset"], sweep["rows"]) == ("web-1", 0.5, 100)
    assert [each["rule"] for each in sweep["rules"]] == ["Sweep of many destinations"]
    assert result["rules"]["caught"] == 0.5
    assert result["score"]["bound_per_day"] == pytest.approx(4.03, abs=0.02)


def test_made_up_weeks_need_no_folder(call: Call) -> None:
    """Two hosts, each with people of its own; only what is asked for is planted."""
    said = call(
        *("evaluate", "--generate", "bastion,days=1,people=2,hosts=2", "--plant", "new-destination"),
        *("--seconds", "3600", "--offsets", ".9", "--rules", "none", "--jobs", "1", "--json"),
    )
    assert said.code == 0, said.err
    (result,) = json.loads(said.out)["results"]
    assert [(each["host"], each["attack"]) for each in result["episodes"]] == [
        ("bastion-1", "new-destination"),
        ("bastion-2", "new-destination"),
    ]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--plant", "scam"), "did you mean scan"),
        (("--seconds", "5"), "'5' is not numbers from 10 to 3600"),
        (("--offsets", "1"), "'1' is not numbers from 0 to 0.99"),
        (("--generate", "bastion,day=3"), "'day=3' is not understood"),
        (("--generate", "laptop"), "write bastion"),
        (("--generate", "bastion,days=0"), "days are 1 to 366"),
        (("--generate", "bastion,days=1", "--store"), "one of them"),
        (("--since", "2026-03-03", "--until", "2026-03-02"), "it is not before --until"),
        (("--generate", "bastion,days=1", "--report", "/nowhere/page.html"), "is not a folder"),
        (("--generate", "bastion,days=1", "--report", "page.pdf"), "write page.html or page.png"),
        (("--generate", "bastion,days=1", "--plant", "scan", "--hosts", "web-*"), "there is no host to judge"),
        (("--generate", "bastion,days=1", "--plant", "scan", "--rules", "no_such_rule"), "there is no rule"),
    ],
)
def test_what_is_mistyped_is_refused_at_once(call: Call, arguments: tuple[str, ...], fault: str) -> None:
    """With what would be right, before anything takes its time."""
    said = call("evaluate", *arguments)
    assert said.code
    assert fault in said.err


def test_a_folder_may_come_from_anywhere(call: Call, tmp_path: Path) -> None:
    """Names in its manifest do no harm to a terminal; lines that are not understood are told, the others judged."""
    folder = _folder(tmp_path)
    with (folder / "conn.log").open("ab") as log:
        log.write(b"what is this\n")
    manifest = (folder / "manifest.json").read_text().replace('"sweep"', '"\\u001b[2Jsweep"')
    (folder / "manifest.json").write_text(manifest)
    said = call("evaluate", folder, *_QUICK)
    assert said.code == 0
    assert "\x1b" not in said.out
    assert "1 of 317 lines are not understood, and left out" in said.err


def _store(engine: Engine, days: float) -> None:
    """A bastion's traffic as a collector stored it."""
    writer = SnapshotWriter("bastion-1")
    with writing(engine) as connection:
        for snapshot in weeks(days=days, seconds=600):
            writer.write(connection, snapshot)


def test_what_is_stored_is_judged_and_not_written_to(call: Call, engine: Engine) -> None:
    """Without a folder it is the own history, in which attacks are planted; detection has not been there afterwards."""
    _store(engine, days=0.5)
    before = _content(engine)
    said = call(
        *("evaluate", "--since", "2026-03-01", "--plant", "scan", "--seconds", "1800", "--offsets", ".5"),
        *("--rules", "anomaly_score", "--rules", "vertical_scan", "--json", "--jobs", "2"),
    )
    assert said.code == 0, said.err
    (result,) = json.loads(said.out)["results"]
    assert [(each["host"], each["attack"]) for each in result["episodes"]] == [("bastion-1", "scan")]
    assert result["hosts"][0]["history_hours"] == 6.0
    assert "Port scan of one destination" in {each["rule"] for each in result["episodes"][0]["rules"]}
    assert _content(engine) == before


def _content(engine: Engine) -> dict[str, int]:
    with reading(engine) as connection:
        return {
            table.name: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in metadata.sorted_tables
        }


@pytest.mark.usefixtures("engine")
def test_a_store_without_hosts_is_told(call: Call) -> None:
    """Rather than judged as quiet."""
    said = call("evaluate")
    assert said.code == 1
    assert "there is no host to judge" in said.err


def test_page_and_picture_have_the_curves_and_no_markup_of_others(call: Call, tmp_path: Path) -> None:
    """The page needs nothing from anywhere, and names are text in both."""
    folder = _folder(tmp_path)
    manifest = (folder / "manifest.json").read_text().replace('"sweep"', '"<script>$sweep"')
    (folder / "manifest.json").write_text(manifest)
    page, picture = tmp_path / "judged.html", tmp_path / "judged.png"
    said = call("evaluate", folder, *_QUICK, "--report", page, "--report", picture)
    assert said.code == 0, said.err
    text = page.read_text()
    assert text.count("<svg") == 3
    assert "&lt;script&gt;$sweep" in text
    assert "<script" not in text
    assert "http" not in text
    assert "nan" not in text
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert (width, height) == (1716, 396)
