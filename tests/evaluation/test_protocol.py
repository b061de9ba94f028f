"""The protocol, on a made-up bastion: a floor below which detection must not fall."""

from __future__ import annotations

from datetime import timedelta

from detector import shipped
from detector.config import Models
from detector.domain import Severity
from detector.evaluation.cases import Cases, generated
from detector.evaluation.planting import KINDS
from detector.evaluation.protocol import Setup, run
from detector.evaluation.results import share_by_rules, share_by_score
from detector.ruleset.load import load_rules

_KINDS = ("scan", "burst", "brute-force", "lateral", "reverse-shell")


def test_on_a_made_up_bastion_attacks_are_caught_and_a_quiet_day_stays_quiet() -> None:
    """A floor, not the figures: shipped rules catch what everybody should, the score alone most of it, ranked first;
    and without attack people are told of an hour or two of the day at most.
    """
    cases = Cases(
        hosts=[generated("bastion-1", seed=1, days=1.25, people=12)],
        attacks=[KINDS[each] for each in _KINDS],
        left_out={},
    )
    setup = Setup(
        models=Models(false_alerts_per_day=1.0),
        ruleset=load_rules([shipped.folder("rules")]).ruleset,
        cooldown=timedelta(hours=1),
        budget=1.0,
        offsets=(0.6,),
    )
    result = run(cases, 600, setup)
    assert [each.attack for each in result.episodes] == list(_KINDS)
    assert share_by_rules(result.episodes, Severity.LOW) == 1.0
    assert share_by_rules(result.episodes, Severity.MEDIUM) >= 0.8
    assert share_by_score(result.episodes) >= 0.6
    loud = [each for each in result.episodes if each.attack in {"scan", "burst", "brute-force"}]
    assert min(each.pr_auc for each in loud) >= 0.7
    assert result.score_incidents.events <= 2
    assert result.rule_incidents(Severity.MEDIUM).events <= 3
    assert result.score_incidents.bound > 4.0
