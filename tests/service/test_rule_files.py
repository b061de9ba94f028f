"""The service reads rules again when their files change, and never does without what was good."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from detector import config, pipeline, shipped
from detector.config import Channel, Database, Models, Notify, Rules, Settings
from detector.errors import RuleError
from detector.pipeline import RulesRefused
from detector.ruleset.folders import replace_file
from detector.ruleset.load import load_rules
from detector.service.detecting import build_stages, detect
from detector.service.rule_files import RuleFiles
from detector.store.alerts import list_alerts
from detector.store.engine import reading
from detector.store.tables import findings, rule_faults
from tests.builders import Lines, Recorder, count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine

_ID = "0b1d2f6a-8f3e-4a58-9d80-3a3c1c5e9b11"
_RULE = f"""\
title: first
id: {_ID}
level: low
logsource: {{category: network_connection, product: linux}}
detection:
  selection:
    DestinationPort: 22
  condition: selection
"""
_SECOND = _RULE.replace("first", "second")
_BAD = _RULE.replace("level: low", "level: lwo")
_REFUSED = (shipped.folder("rules") / "rules_refused.yml").read_text()


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class _Watched:
    """Rule files, looked at every second."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said, self._clock = folder, Lines(), _Clock()
        folder.mkdir(exist_ok=True)
        self.settings = Settings(rules=Rules(folders=(str(folder),)))
        self.path = folder / "rule.yml"
        self.path.write_text(_RULE)

    def begin(self) -> RuleFiles:
        """As the service does."""
        self.files = RuleFiles(self.settings, self.said, self._clock)
        return self.files

    def state(self) -> tuple[RulesRefused | None, bool]:
        """What is wrong, and whether that was looked at twice."""
        return self.files.refused, self.files.settled

    def looks(self, number: int) -> list[list[str]]:
        """The titles in force after each look that changed them."""
        changed = []
        for _ in range(number):
            self._clock.now += 1
            if (ruleset := self.files.renewed()) is not None:
                changed.append([rule.title for rule in ruleset.rules])
        return changed


@pytest.fixture
def watched(tmp_path: Path) -> _Watched:
    """A folder with one rule."""
    return _Watched(tmp_path / "rules")


def test_a_change_is_in_force_at_the_second_look(watched: _Watched) -> None:
    """Written in place, replaced, added, in a folder below, removed: each is seen once."""
    watched.begin()
    assert watched.looks(3) == []
    watched.path.write_text(_SECOND)
    assert watched.looks(1) == []
    assert watched.looks(3) == [["second"]]
    replace_file(watched.path, _RULE)
    assert watched.looks(4) == [["first"]]
    replace_file(watched.folder / "below" / "more.yml", _SECOND.replace(_ID[0], "1", 1))
    assert watched.looks(4) == [["first", "second"]]
    watched.path.unlink()
    assert watched.looks(4) == [["second"]]
    assert watched.said.lines[-1] == "rules were read again: 1 in force, 1 gone"


def test_a_folder_that_is_made_is_read(watched: _Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's folder need not be there when the service begins."""
    monkeypatch.setattr(config, "SYSTEM_FILE", watched.folder.parent / "etc" / "detector.toml")
    watched.settings = Settings()
    number = len(watched.begin().ruleset.rules)
    replace_file(watched.folder.parent / "etc" / "rules" / "mine.yml", _RULE)
    (titles,) = watched.looks(3)
    assert len(titles) == number + 1


def test_what_is_being_written_is_not_read(watched: _Watched) -> None:
    """A file that grows from look to look is read when it is done; none of its states is a fault."""
    watched.begin()
    for end in range(10, len(_SECOND), 60):
        watched.path.write_text(_SECOND[:end])
        assert watched.looks(1) == []
        if end > 200:
            break
    watched.path.write_text(_SECOND)
    assert watched.looks(3) == [["second"]]
    assert watched.said.lines == ["rules were read again: 1 in force"]
    assert watched.files.refused is None


def test_a_file_that_is_always_written_does_not_keep_others_from_being_read(watched: _Watched) -> None:
    """After a few seconds it is read as it is."""
    watched.begin()
    watched.path.write_text(_SECOND)
    changed = []
    for number in range(8):
        (watched.folder / "list.txt").write_text("x" * number)
        changed += watched.looks(1)
    assert ["second"] in changed


def test_a_fault_counts_when_it_is_seen_twice(watched: _Watched) -> None:
    """A file that is wrong at one look alone is no news; one that stays wrong is said once, and when it is right."""
    watched.begin()
    watched.path.write_text(_BAD)
    assert watched.looks(2) == [["first"]]
    assert watched.state() == (None, False)
    watched.path.write_text(_SECOND)
    assert watched.looks(3) == [["second"]]
    assert watched.state() == (None, True)
    watched.path.write_text(_BAD)
    assert watched.looks(5) == [["second"]]
    fault = f"{watched.path}:3: level is never 'lwo'; did you mean low?"
    assert watched.state() == (RulesRefused(files=1, fault=fault), True)
    watched.path.write_text(_RULE)
    assert watched.looks(5) == [["first"]]
    assert watched.state() == (None, True)
    again = "rules were read again: 1 in force"
    refused = f"rule refused: {fault}; what was good of the file stays in force"
    assert watched.said.lines == [again, again, again, refused, again, "all rule files are right again"]


def test_what_is_wrong_at_the_start_is_said_at_once(watched: _Watched) -> None:
    """With one good file the service begins; with none it does not."""
    watched.path.write_text(_BAD)
    with pytest.raises(RuleError, match="lwo"):
        watched.begin()
    (watched.folder / "good.yml").write_text(_SECOND.replace(_ID[0], "1", 1))
    files = watched.begin()
    assert watched.said.lines == [f"rule refused: {watched.path}:3: level is never 'lwo'; did you mean low?"]
    assert watched.looks(2) == []
    assert files.refused is not None
    assert len(watched.said.lines) == 1


def test_with_no_rule_left_the_last_ones_go_on(watched: _Watched) -> None:
    """An emptied folder is told like a fault: without rules nothing could say so."""
    watched.begin()
    watched.path.unlink()
    assert watched.looks(4) == [["first"]]
    refused = watched.files.refused
    assert refused is not None
    assert refused.fault.startswith(f"{watched.folder}:0: no rule is left")
    watched.path.write_text(_SECOND)
    assert watched.looks(4) == [["second"]]
    assert watched.state() == (None, True)


def test_a_folder_that_is_closed_changes_nothing(watched: _Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody can say which folders are configured, since an upgrade is under way, what was read goes on."""

    def missing(_name: str) -> None:
        raise FileNotFoundError

    files = RuleFiles(Settings(), watched.said, iter(range(100, 200)).__next__)
    before = files.ruleset
    monkeypatch.setattr(shipped, "folder", missing)
    assert [files.renewed() for _ in range(5)] == [None] * 5
    assert files.anew() is before


def test_what_ends_ends_by_itself(watched: _Watched) -> None:
    """A rule that is disabled until a moment reports again after it, though no file changes."""
    until = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    entry = f"disabled:\n- {{id: {_ID}, author: a, reason: b, until: {until}}}\n"
    (watched.folder / "disabled.yml").write_text(entry)
    assert not watched.begin().ruleset.rules[0].produces_findings
    time.sleep(1.1)  # the end is one of the wall clock
    assert watched.looks(2) == [["first"]]
    assert watched.files.ruleset.rules[0].produces_findings


def test_a_channel_that_is_not_configured_is_a_fault(watched: _Watched) -> None:
    """The service knows which there are."""
    watched.settings = Settings(rules=watched.settings.rules, channels=(Channel(name="mail", url="json://127.0.0.1"),))
    told = _RULE + "x-detector: {channels: [mial]}\n"
    (watched.folder / "told.yml").write_text(told.replace(_ID[0], "1", 1))
    watched.begin()
    assert watched.said.lines[0].endswith("no channel 'mial' is configured; did you mean mail?")


def test_refused_files_are_an_alert_once(engine: Engine, tmp_path: Path) -> None:
    """Told with the last snapshot of the host that detects, or else of the first; not again by another worker or after
    a restart, but again when it is another fault, or when it comes back.
    """
    (tmp_path / "rule.yml").write_text(_REFUSED)
    stages = build_stages(Settings(models=Models(burn_in_hours=0)), load_rules([tmp_path]).ruleset)
    now = datetime.now(UTC)
    bad = RulesRefused(files=1, fault="mine.yml:3: level is never 'lwo'; did you mean low?")

    def notice(host: str, refused: RulesRefused | None) -> bool:
        return pipeline.notice_refused(engine, host, refused, stages, now=now)

    def told() -> list[tuple[str, str]]:
        with reading(engine) as connection:
            return [(alert.host, alert.summary) for alert in list_alerts(connection)]

    def pass_snapshot(host: str) -> None:
        recorders.setdefault(host, Recorder(engine, host=host, unpacked=False)).snapshot(count())
        for host_id in pipeline.hosts_behind(engine):
            pipeline.detect_next(engine, host_id, stages)

    recorders: dict[str, Recorder] = {}
    assert not notice("bastion-2", bad)
    for host in ("bastion-1", "bastion-2"):
        pass_snapshot(host)
    for _ in range(2):
        assert notice("bastion-2", bad)
    expected = f"1 rule file is refused; what was good of them stays in force. {bad.fault}"
    assert told() == [("bastion-2", expected)]
    more = RulesRefused(files=2, fault=bad.fault)
    assert not notice("bastion-2", more)
    pass_snapshot("bastion-2")
    assert notice("bastion-2", more)
    assert told() == [("bastion-2", expected.replace("1 rule file is", "2 rule files are"))]
    assert notice("bastion-2", None)
    assert notice("elsewhere", bad)
    assert [host for host, _ in told()].count("bastion-1") == 1
    with reading(engine) as connection:
        assert list(connection.scalars(select(rule_faults.c.ended_at.is_(None)).order_by(rule_faults.c.noticed_at)))
        assert len(list(connection.scalars(select(findings.c.rule_id)))) == 3


@contextmanager
def _running(settings: Settings, said: Lines) -> Iterator[threading.Thread]:
    stop = threading.Event()
    service = threading.Thread(target=detect, args=(settings, stop, said))
    service.start()
    try:
        yield service
    finally:
        stop.set()
        service.join(30)


def _until(condition: Callable[[], object], seconds: float) -> float:
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds
        time.sleep(0.02)  # the service is a thread of its own, with its own pace
    return time.monotonic() - begin


def test_detect_takes_up_changes_between_snapshots(sqlite_engine: Engine, sqlite_url: str, tmp_path: Path) -> None:
    """Snapshots come all the while. A changed rule is in force within two seconds; a broken file is an alert, and its
    last good version goes on; and each snapshot has exactly one finding, of the one rule or the other.
    """
    watched = _Watched(tmp_path / "rules")
    (watched.folder / "refused.yml").write_text(_REFUSED)
    settings = Settings(
        database=Database(url=sqlite_url), notify=Notify(console=False), rules=watched.settings.rules, host="bastion-1"
    )
    recorder = Recorder(sqlite_engine, now=datetime.now(UTC), unpacked=False)

    def found() -> list[tuple[int, str]]:
        with reading(sqlite_engine) as connection:
            rows = connection.execute(
                select(findings.c.seq, findings.c.rule_id).order_by(findings.c.seq, findings.c.rule_id)
            )
            return [(seq, rule_id) for seq, rule_id in rows]

    def alerts() -> list[str]:
        with reading(sqlite_engine) as connection:
            return [alert.rule_title for alert in list_alerts(connection)]

    def in_force(rule_id: str) -> bool:
        seq = recorder.snapshot(count()).seq
        sent.append(seq)
        _until(lambda: seq in dict(found()), 10)
        return (seq, rule_id) in found()

    sent: list[int] = []
    # Two seconds, where others leave it the processors.
    soon = 5
    with _running(settings, watched.said) as service:
        _until(lambda: in_force(_ID), 30)
        other = _ID.replace("0", "2", 1)
        replace_file(watched.path, _SECOND.replace(_ID, other))
        assert _until(lambda: in_force(other), 10) < soon
        watched.path.write_text("title: [")
        _until(lambda: "Rule files are refused" in alerts(), 10)
        assert in_force(other)
        watched.path.write_text(_RULE)
        assert _until(lambda: in_force(_ID), 10) < soon
        assert service.is_alive()
    single = [(seq, rule_id) for seq, rule_id in found() if rule_id in (_ID, other)]
    assert [seq for seq, _ in single] == sent
