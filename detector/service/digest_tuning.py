"""What a digest suggests to do about rules that say too much, or nothing: pure decisions, with the exact command."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING

from detector import shipped
from detector.domain import Severity
from detector.ruleset.catalogue import State

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from detector.ruleset.catalogue import Entry
    from detector.store.period_alerts import CommonGroup, RuleOpened

# A share of a rule's alerts that are about one thing is worth a filter.
_MOST = 0.5
# So few alerts need no tuning: they are read.
_FEW = 3
# More in a day is more than anybody reads.
_MANY_A_DAY = 5.0
_GRAVE = Severity.HIGH
# Can be pasted into a shell as it is.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def names(entries: Iterable[Entry]) -> dict[str, str]:
    """How rules are called on a command line, by their ids: by the file, where that is one rule's, else by their name
    or id. Empty: not at all, since a shell would take it for something else.
    """
    found = [each for each in entries if each.state not in (State.REPLACED, State.FEEDING)]
    files = Counter(PurePath(each.path).stem for each in found)
    taken = {each.name for each in found}
    return {each.rule_id: _name(each, files, taken) for each in found}


def _name(entry: Entry, files: Counter[str], taken: set[str | None]) -> str:
    file = PurePath(entry.path).stem
    ways = (entry.name, file if files[file] == 1 and file not in taken else None, entry.rule_id)
    return next((way for way in ways if way and _PLAIN.fullmatch(way)), "")


def for_noisy(
    opened: RuleOpened,
    common: CommonGroup | None,
    last_benign: int | None,
    rule: str | None,
    length: timedelta,
) -> tuple[str, str]:
    """Why something is suggested about a rule that opened alerts, or why nothing is, and the command, or none.

    Args:
        opened: what it opened in the period.
        common: what most of that is about.
        last_benign: the last alert of it that a person called benign.
        rule: how it is called on a command line, see `names`; None: it is not in force any more.
        length: of the period.
    """
    if rule is None:
        return "it is not in force any more", ""
    judged = opened.benign + opened.true
    if judged == opened.alerts and not opened.true and opened.alerts > _FEW and rule:
        return (
            f"all {opened.alerts} were called benign: if it tells nothing here, switch it off",
            f"detector rules disable {rule} --reason 'all benign'",
        )
    if last_benign is not None:
        return (
            f"{_called(opened.benign, opened.alerts)} benign: have it pass over what {_they(opened.benign)} about",
            f"detector rules tune --from-alert {last_benign}",
        )
    if opened.true:
        return f"{_called(opened.true, opened.alerts)} true: leave it as it is", ""
    if opened.alerts <= _FEW:
        return "few enough to read", ""
    if common is not None and common.alerts >= max(_MOST * opened.alerts, 2):
        return (
            f"{common.alerts} of {opened.alerts} are about the same: if that is meant to be, have it passed over",
            f"detector rules tune --from-alert {common.newest}",
        )
    a_day = opened.alerts / max(length.total_seconds() / 86_400, 1.0)
    if opened.rule_id == shipped.ANOMALY_RULE and common is not None:
        return (
            "they are about different things: what is said of them moves the threshold",
            f"detector alerts benign {common.newest}",
        )
    if a_day > _MANY_A_DAY and rule:
        return (
            f"{a_day:.0f} a day, about different things: look whether another threshold would tell less",
            f"detector rules edit {rule}",
        )
    return "they are about different things: read them", ""


def _called(some: int, of: int) -> str:
    return f"{some} of {of} {'was' if some == 1 else 'were'} called"


def _they(number: int) -> str:
    return "it is" if number == 1 else "these are"


def for_quiet(rule: str, severity: Severity) -> tuple[str, str]:
    """The commands that say whether a rule would have found anything, and that switch it off; empty without a name.

    What is grave is meant to be rare: nobody is advised to switch that off for being quiet.
    """
    if not rule:
        return "", ""
    switches_off = f"detector rules disable {rule} --reason 'never here'" if severity.rank < _GRAVE.rank else ""
    return f"detector rules test {rule} --since 30d", switches_off
