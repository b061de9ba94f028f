"""Which findings are one incident, and what becomes of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.alerts.grouping import Decision, continues, decide, incidents
from detector.domain import EvidenceRef, Finding, Severity
from tests.builders import START

REFS = st.builds(EvidenceRef, seq=st.integers(1, 3), key_id=st.integers(1, 4), session=st.integers(0, 1))
# A rule has one title, and a fingerprint of a rule one group.
FINDINGS = st.builds(
    lambda rule, fingerprint, severity, start, length, evidence: Finding(
        rule_id=rule,
        rule_title=rule.upper(),
        severity=severity,
        fingerprint=fingerprint,
        group={"user": fingerprint},
        start=START + timedelta(seconds=start),
        end=START + timedelta(seconds=start + length),
        evidence=tuple(evidence),
    ),
    st.sampled_from(["scan", "burst", "tool"]),
    st.sampled_from(["f1", "f2"]),
    st.sampled_from(Severity),
    st.integers(0, 50),
    st.integers(0, 50),
    st.lists(REFS, max_size=5),
)


@given(st.lists(FINDINGS, max_size=8).flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))))
def test_the_order_of_findings_has_no_influence(found: tuple[list[Finding], list[Finding]]) -> None:
    """Findings give the same incidents in whatever order they come."""
    one, other = found
    assert _comparable(one) == _comparable(other)


@given(st.lists(FINDINGS, max_size=8))
def test_a_finding_that_comes_twice_counts_once(found: list[Finding]) -> None:
    """Repeating findings adds nothing."""
    assert _comparable(found) == _comparable(found * 2)


@given(st.lists(FINDINGS, max_size=8))
def test_nothing_is_lost_in_grouping(found: list[Finding]) -> None:
    """Each fingerprint becomes one incident, with each of its rules once and the rows of all its findings."""
    grouped = incidents(found)
    assert sorted(each.fingerprint for each in grouped) == sorted({each.fingerprint for each in found})
    for incident in grouped:
        members = [each for each in found if each.fingerprint == incident.fingerprint]
        assert sorted(each.rule_id for each in incident.findings) == sorted({each.rule_id for each in members})
        assert incident.places == {(ref.seq, ref.key_id, ref.session) for each in members for ref in each.evidence}
        assert incident.lead.severity.rank == max(each.severity.rank for each in members)
        assert incident.start == min(each.start for each in members)
        assert incident.end == max(each.end for each in members)


def test_a_finding_about_a_snapshot_is_about_capture() -> None:
    """Its evidence is the snapshot itself, which has no key."""
    whole, row = (EvidenceRef(seq=1, key_id=key_id, session=0) for key_id in (0, 1))
    for evidence, about_capture in (((whole,), True), ((row,), False), ((), False)):
        finding = Finding(
            rule_id="r",
            rule_title="R",
            severity=Severity.LOW,
            fingerprint="f",
            group={},
            start=START,
            end=START,
            evidence=evidence,
        )
        assert incidents([finding])[0].about_capture is about_capture


def _comparable(found: list[Finding]) -> list[object]:
    return [
        (each.fingerprint, each.places, each.start, each.end, each.findings[0].severity, each.findings[0].rule_id)
        for each in incidents(found)
    ]


@pytest.mark.parametrize(("after", "same"), [(0, True), (60, True), (61, False), (-30, True), (-3600, False)])
def test_the_cooldown_runs_from_the_last_finding(after: int, same: bool) -> None:
    """Either way: a clock that was ahead does not make what comes after it was put right part of the alert."""
    assert continues(START, now=START + timedelta(seconds=after), cooldown=timedelta(seconds=60)) is same


@pytest.mark.parametrize(
    ("before", "severity", "told", "magnitude", "decision"),
    [
        (None, Severity.LOW, 0, 5, Decision.OPENED),
        (Severity.LOW, Severity.LOW, 5, 6, Decision.GROUPED),
        (Severity.LOW, Severity.LOW, 5, 49, Decision.GROUPED),
        (Severity.LOW, Severity.LOW, 5, 50, Decision.GROWN),
        (Severity.LOW, Severity.LOW, 0, 9, Decision.GROUPED),
        (Severity.LOW, Severity.LOW, 0, 10, Decision.GROWN),
        (Severity.LOW, Severity.MEDIUM, 5, 6, Decision.RAISED),
        (Severity.LOW, Severity.CRITICAL, 5, 500, Decision.RAISED),
        (Severity.HIGH, Severity.LOW, 5, 6, Decision.GROUPED),
    ],
)
def test_each_decision_has_its_reason(
    before: Severity | None, severity: Severity, told: int, magnitude: int, decision: Decision
) -> None:
    """New incidents, more severe ones and much larger ones are told; the rest is grouped."""
    assert decide(before=before, severity=severity, told_magnitude=told, magnitude=magnitude) is decision
    assert decision.sends is (decision is not Decision.GROUPED)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=200))
def test_a_growing_incident_is_told_seldom(steps: list[int]) -> None:
    """However an incident grows, it is told once per power of ten at most, and never when it has not grown."""
    told = magnitude = 0
    messages = 0
    for step in [1, *steps]:
        magnitude += step
        before = Severity.LOW if messages else None
        if decide(before=before, severity=Severity.LOW, told_magnitude=told, magnitude=magnitude).sends:
            told, messages = magnitude, messages + 1
    assert messages <= len(str(magnitude)) + 1
