"""`detector doctor`: every fault with its remedy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert

from detector.cli import main
from detector.store.engine import open_store, writing
from detector.store.tables import model_hosts
from tests.builders import Recorder, count

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kernel


@pytest.fixture
def examined(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Doctor:
    """The program with an empty, current database."""
    monkeypatch.setenv("DETECTOR_DATABASE_URL", sqlite_url)
    return Doctor(tmp_path, sqlite_url, capsys)


class Doctor:
    """Runs `detector doctor --json` with a configuration."""

    def __init__(self, folder: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.url, self._capsys = folder, url, capsys

    def __call__(self, toml: str = "") -> tuple[int, dict[str, list[tuple[str, str, str]]]]:
        """Exit code, and (verdict, finding, remedy) by subject."""
        path = self.folder / "detector.toml"
        path.write_text(toml)
        code = main(["--config", str(path), "doctor", "--json"])
        found: dict[str, list[tuple[str, str, str]]] = {}
        for check in json.loads(self._capsys.readouterr().out):
            found.setdefault(check["subject"], []).append((check["verdict"], check["finding"], check["remedy"]))
        return code, found


def test_a_sound_machine_is_said_to_be_so(examined: Doctor) -> None:
    """Everything good but for the channels, of which there are none; exit code 0."""
    code, found = examined()
    assert code == 0
    assert [verdict for subject in ("capture", "database", "rules") for verdict, _, _ in found[subject]] == ["good"] * 3
    assert found["channels"][0][0] == "doubtful"


def test_a_database_that_is_missing_is_bad_and_not_made(
    examined: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The remedy is the command that makes it."""
    monkeypatch.setenv("DETECTOR_DATABASE_URL", f"sqlite:///{tmp_path}/none.db")
    code, found = examined()
    assert code == 1
    ((verdict, _, remedy),) = found["database"]
    assert verdict == "bad"
    assert "detector db upgrade" in remedy
    assert not (tmp_path / "none.db").exists()


def test_a_rule_with_a_fault_is_bad_with_its_place(examined: Doctor, tmp_path: Path) -> None:
    """Path and line."""
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "broken.yml").write_text("titel: Typo\n")
    code, found = examined(f'[rules]\nfolders = ["{folder}"]\n')
    assert code == 1
    assert any(verdict == "bad" and "broken.yml:1: " in finding for verdict, finding, _ in found["rules"])


def test_a_channel_that_cannot_be_used_is_bad_and_keeps_its_secret(examined: Doctor) -> None:
    """Named by its name."""
    code, found = examined('[[channels]]\nname = "slack"\nurl = "nonsense://s3cret"\n')
    assert code == 1
    ((verdict, finding, remedy),) = found["channels"]
    assert verdict == "bad"
    assert "slack" in finding
    assert "s3cret" not in finding + remedy


def test_a_host_that_is_being_learnt_is_doubtful_and_one_that_is_learnt_good(examined: Doctor) -> None:
    """With how far it has come."""
    engine = open_store(examined.url)
    for host in ("young", "known"):
        Recorder(engine, host=host).snapshot(count())
    with writing(engine) as connection:
        for host_id, hours in ((1, 2.5), (2, 30)):
            connection.execute(insert(model_hosts).values(host_id=host_id, observed_seconds=hours * 3600, offered=0))
    engine.dispose()
    _, found = examined()
    (young_verdict, young, _), (known_verdict, known, _) = found["models"]
    assert (young_verdict, known_verdict) == ("doubtful", "good")
    assert "young: learning: 2 h 30 min of 24 h" in young
    assert known == "known is learnt and scored"
