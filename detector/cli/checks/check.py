"""One line of an examination."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Bad keeps something from working; doubtful may be meant."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the examination."""

    subject: str
    verdict: Verdict
    finding: str
    remedy: str = ""


def good(subject: str, finding: str) -> Check:
    """All is well."""
    return Check(subject, Verdict.GOOD, finding)


def doubtful(subject: str, finding: str, remedy: str = "") -> Check:
    """Something may be meant, or may not."""
    return Check(subject, Verdict.DOUBTFUL, finding, remedy)


def bad(subject: str, finding: str, remedy: str = "") -> Check:
    """Something does not work."""
    return Check(subject, Verdict.BAD, finding, remedy)
