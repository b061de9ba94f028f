"""Which findings are one incident, and what becomes of it."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from detector.alerts.grouping import incidents
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
