"""`detector model review`."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from detector import shipped
from detector.alerts.book import AlertBook
from detector.config import Models
from detector.models.scorer import HostScorer
from detector.pipeline import Stages, detect_next
from detector.ruleset.load import load_rules
from detector.store.cursors import create_cursors
from detector.store.engine import reading, writing
from detector.store.tables import alerts
from tests.builders import Recorder, count
from tests.cli.terminals import Terminal

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.cli.conftest import Call

_INTRUDER = count("203.0.113.66", 4444, executable="/tmp/.x", command=".x", user="www-data", login_user=None)


class _Service:
    """Detection with the shipped rule on scores, one snapshot after another."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.recorder = Recorder(engine, interval=timedelta(minutes=30), unpacked=False)
        rules = load_rules([shipped.folder("rules") / "anomaly_score.yml"]).ruleset
        self.stages = Stages(scorer=HostScorer(Models()), ruleset=rules, alert_book=AlertBook([], timedelta(hours=1)))

    def hours(self, number: int) -> None:
        """Alice logs in to nine machines, and the intruder is there."""
        for _ in range(2 * number):
            usual = [count(f"10.0.4.{machine}", 22) for machine in range(1, 10)]
            self.recorder.snapshot(*usual, _INTRUDER)
            with writing(self.engine) as connection:
                create_cursors(connection)
            assert detect_next(self.engine, 1, self.stages)

    def unusual(self) -> int:
        """How many alerts there are of the rule on scores."""
        with reading(self.engine) as connection:
            chosen = select(alerts.c.alert_id).where(alerts.c.rule_id == shipped.ANOMALY_RULE)
            return len(connection.scalars(chosen).all())


@pytest.fixture
def service(engine: Engine) -> _Service:
    """A host with an intruder from the first day on, in the middle of its burn-in."""
    made = _Service(engine)
    made.hours(3)
    return made


@pytest.mark.usefixtures("service")
def test_an_intruder_from_day_one_is_listed_first(call: Call) -> None:
    """Rare by program, port, network and actor, however often it connects."""
    result = call("model", "review", "--list")
    assert result.code == 0, result.err
    assert "/tmp/.x" in result.lines[1]
    assert "203.0.113.66:4444" in result.lines[1]
    assert "program of 1 in 10" in result.lines[1]

    first, *others = json.loads(call("model", "review", "--list", "--json").out)
    assert (first["executable"], first["answer"], first["attempted"], first["keys"]) == ("/tmp/.x", None, 6, 10)
    assert all(each["rarity"] < first["rarity"] for each in others)


def test_what_is_called_not_normal_is_told_and_not_learnt(call: Call, service: _Service) -> None:
    """Also during burn-in; and once that is taken back, it is learnt like all else."""
    key = str(json.loads(call("model", "review", "--list", "--json").out)[0]["key_id"])
    service.hours(1)
    assert service.unusual() == 0
    assert (
        call("model", "review", "--not-normal", key, "--author", "alice").out == f"key {key} of bastion-1: not normal\n"
    )
    service.hours(1)
    assert service.unusual() == 1
    with reading(service.engine) as connection:
        (explanations,) = connection.scalars(
            select(alerts.c.explanations).where(alerts.c.rule_id == shipped.ANOMALY_RULE)
        )
    assert explanations[0][1].startswith("alice called this not normal on ")

    shown = call("model", "review", "--list", "--all", "--json").out
    assert json.loads(shown)[0]["answer"] == "not normal"
    assert len(json.loads(call("model", "review", "--list", "--json").out)) == 9
    call("model", "review", "--reopen", key)
    service.hours(2)
    assert service.unusual() == 1


@pytest.mark.usefixtures("service")
def test_a_walk_can_be_stopped_and_goes_on(call: Call) -> None:
    """On a terminal: each answer is kept at once; what is skipped or not reached comes again."""
    with Terminal("model", "review", "--author", "alice") as terminal:
        seen = terminal.expect("[q]uit:")
        for reply in "nsa":
            terminal.type(reply)
            terminal.expect("[q]uit:")
        terminal.type("q")
        code, out = terminal.end()
    assert code == 0, out
    assert seen.startswith("1 of 10: www-data, /tmp/.x, -> 203.0.113.66:4444")
    answers = [each["answer"] for each in json.loads(call("model", "review", "--list", "--all", "--json").out)]
    assert sorted(filter(None, answers)) == ["accepted", "not normal"]
    assert len(json.loads(call("model", "review", "--list", "--json").out)) == 8


@pytest.mark.usefixtures("service")
def test_unknown_keys_and_hosts_are_faults(call: Call) -> None:
    """With what to do."""
    assert "there is no key 99 of this host" in call("model", "review", "--accept", "99").err
    assert "nothing was learnt of other yet" in call("model", "review", "--host", "other", "--list").err
    assert "named twice" in call("model", "review", "--accept", "1", "--not-normal", "1").err
