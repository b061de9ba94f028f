"""What `detector evaluate` prints: tables for people, an object for scripts."""

from __future__ import annotations

import statistics
from collections import Counter
from math import isnan
from typing import TYPE_CHECKING, Any

from detector.cli.backtests import number
from detector.cli.tables import Column, print_table
from detector.cli.terminal import say
from detector.domain import Severity
from detector.evaluation.figures import most_likely
from detector.evaluation.results import mean, share_by_rules, share_by_score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.evaluation.results import Benign, Episode, Incidents, Result

_RULES_SHOWN = 3


def print_result(result: Result, least: Severity, title: str = "") -> None:
    """All figures of one length of snapshots; `title` says of what, where that is not the cases as they are."""
    what = [title] if title else []
    what.append(f"snapshots of {result.seconds} s")
    attacks, hosts = number(len(result.attacks), "attack"), number(len(result.benign), "host")
    say(
        f"{', '.join(what)}: {number(len(result.episodes), 'episode')} of {attacks} on {hosts}; "
        f"{result.budget:g} false alerts a host and day are wished for at most"
    )
    say("")
    _print_summary(result)
    say("")
    _print_attacks(result, least)
    say("")
    _print_hosts(result, least)
    for name, reason in result.left_out.items():
        say(f"left out: {name}: {reason}")
    say("")


def _print_summary(result: Result) -> None:
    columns = (
        Column("what tells"),
        Column("PR-AUC", "right"),
        Column("ROC-AUC", "right"),
        Column("caught", "right"),
        Column("false incidents a host and day", "right"),
        Column("", fold=True),
    )
    curves = (f"{mean([each.pr_auc for each in result.episodes]):.3f}", _roc(result.episodes))
    rows = [
        ("the score alone", *curves, *_summary(share_by_score(result.episodes), result.score_incidents)),
        *(
            (
                f"rules, {least} and above",
                "",
                "",
                *_summary(share_by_rules(result.episodes, least), result.rule_incidents(least)),
            )
            for least in (Severity.LOW, Severity.MEDIUM, Severity.HIGH)
        ),
    ]
    print_table(columns, rows)


def _roc(episodes: Sequence[Episode]) -> str:
    return f"{mean([each.roc_auc for each in episodes]):.3f}"


def _summary(caught: float, incidents: Incidents) -> tuple[str, str, str]:
    return f"{caught:.3f}", f"{incidents.rate:.2f}", allowed(incidents)


def allowed(incidents: Incidents) -> str:
    """What was seen, and what it still allows."""
    bound = _round(incidents.bound)
    return f"{incidents.events} in {incidents.days:.2f} days, which allows {bound} a day (95 %)"


def _round(rate: float) -> str:
    return f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"


def _print_attacks(result: Result, least: Severity) -> None:
    columns = (
        Column("attack", fold=True),
        Column("PR-AUC", "right"),
        Column("ROC-AUC", "right"),
        Column("by score", "right"),
        Column("by rules", "right"),
        Column("minutes", "right"),
        Column("channels of the strangest rows", fold=True),
        Column("rules that found it", fold=True),
    )
    rows = [
        (
            attack,
            f"{mean([each.pr_auc for each in episodes]):.3f}",
            _roc(episodes),
            _caught([each.minutes for each in episodes]),
            _caught([each.minutes_of_rules(least) for each in episodes]),
            _median([each.soonest(least) for each in episodes]),
            _counted(Counter(each.channel or "none" for each in episodes)),
            _counted(
                Counter(each.rule for episode in episodes for each in episode.rules if each.severity.rank >= least.rank)
            ),
        )
        for attack, episodes in result.attacks.items()
    ]
    print_table(columns, rows)


def _caught(minutes: Sequence[float | None]) -> str:
    return f"{sum(each is not None for each in minutes)}/{len(minutes)}"


def _median(minutes: Sequence[float | None]) -> str:
    """Of those that were caught."""
    found = [each for each in minutes if each is not None]
    return f"{statistics.median(found):.0f}" if found else "-"


def _counted(counter: Counter[str]) -> str:
    shown = [f"{name} {times}" for name, times in counter.most_common(_RULES_SHOWN)]
    more = len(counter) - len(shown)
    return ", ".join([*shown, *([f"{more} more"] if more > 0 else [])]) or "-"


def _print_hosts(result: Result, least: Severity) -> None:
    columns = (
        Column("host", fold=True),
        Column("history h", "right"),
        Column("test days", "right"),
        Column("rows", "right"),
        Column("false: score", "right"),
        Column("rules", "right"),
        Column("may be a day", "right"),
        Column("rules that told", fold=True),
    )
    rows = [
        (
            each.host,
            f"{each.hours_of_history:.1f}",
            f"{each.days:.2f}",
            f"{len(each.rows):,}",
            str(each.score_incidents(result.threshold)),
            str(each.incidents(least)),
            _round(most_likely(each.incidents(least)) / each.days),
            _counted(Counter(each.incidents_by_rule(least))),
        )
        for each in result.benign
    ]
    print_table(columns, rows)


def as_object(result: Result, least: Severity) -> dict[str, Any]:
    """The same for scripts, episode by episode."""
    return {
        "seconds": result.seconds,
        "budget": result.budget,
        "threshold": result.threshold,
        "pr_auc": _number([each.pr_auc for each in result.episodes]),
        "roc_auc": _number([each.roc_auc for each in result.episodes]),
        "score": _told(share_by_score(result.episodes), result.score_incidents),
        "severity": least,
        "rules": _told(share_by_rules(result.episodes, least), result.rule_incidents(least)),
        "hosts": [_host(each, result.threshold, least) for each in result.benign],
        "episodes": [
            {
                "host": each.host,
                "attack": each.attack,
                "offset": each.offset,
                "rows": each.rows,
                "pr_auc": each.pr_auc,
                "roc_auc": each.roc_auc,
                "surprise": each.peak,
                "channel": each.channel,
                "score_minutes": each.minutes,
                "rule_minutes": each.minutes_of_rules(least),
                "rules": [
                    {"rule": found.rule, "severity": found.severity, "minutes": found.minutes} for found in each.rules
                ],
            }
            for each in result.episodes
        ],
        "left_out": dict(result.left_out),
    }


def _number(values: Sequence[float]) -> float | None:
    return mean(values) if values else None


def _told(caught: float, incidents: Incidents) -> dict[str, Any]:
    return {
        "caught": None if isnan(caught) else caught,
        "false_incidents": incidents.events,
        "false_incidents_per_host_and_day": incidents.rate,
        "days": incidents.days,
        "bound_per_day": incidents.bound,
    }


def _host(benign: Benign, threshold: float, least: Severity) -> dict[str, Any]:
    return {
        "host": benign.host,
        "history_hours": benign.hours_of_history,
        "test_days": benign.days,
        "rows": len(benign.rows),
        "score_false_incidents": benign.score_incidents(threshold),
        "rule_false_incidents": benign.incidents(least),
        "rules": benign.incidents_by_rule(least),
    }
