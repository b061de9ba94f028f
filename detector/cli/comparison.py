"""What a changed rule would have found, beside what it found as it is, in words."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from detector.cli.backtests import largest, looked_in_words, number, opened, print_alerts, run
from detector.cli.terminal import note, say
from detector.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Engine

    from detector.alerts.tally import WouldBe
    from detector.config import Settings
    from detector.ruleset.evaluate import Rule
    from detector.service.backtesting import Result
    from detector.service.replaying import Wanted

_SHOWN = 5
# Nobody waits longer before a question.
LONGEST = timedelta(minutes=2)
_DAY = timedelta(days=1)


class _TookTooLongError(Exception):
    """The time is up."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What one version would have told and the other not."""

    new: Sequence[WouldBe]
    gone: Sequence[WouldBe]


def difference(before: Iterable[WouldBe], after: Iterable[WouldBe]) -> Difference:
    """Alerts are the same when they are about the same at the same time."""
    old, new = list(before), list(after)
    return Difference(new=_without(new, old), gone=_without(old, new))


def compare(settings: Settings, before: Sequence[Rule], after: Sequence[Rule], since: datetime) -> None:
    """Says what the rules of a file, as they are and as they would be, make of what is stored.

    It is a help and no condition: that it cannot be done, takes too long, or is interrupted by Ctrl-C, is said.
    """
    wanted = _wanted(since)
    if (found := _compared(settings, before, after, wanted)) is not None:
        _say(*found, wanted)


def compare_filter(settings: Settings, before: Sequence[Rule], after: Sequence[Rule], since: datetime) -> None:
    """Says what a filter would have passed over in what is stored; else like `compare`.

    Args:
        settings: the configuration.
        before: the rules that it concerns, as they are.
        after: the same with the filter.
        since: how far back is looked.
    """
    wanted = _wanted(since)
    if (found := _compared(settings, before, after, wanted)) is None:
        return
    _say(*found, wanted)
    old, new = (sum(result.findings for result in results) for results in found)
    if not old:
        say("nothing was found that it could pass over")
    elif old == new:
        note("it passes nothing over of what was found: look at its values")
    elif not new:
        note(f"it passes over all that was found ({number(old, 'finding')}): the rule would have found nothing else")
    else:
        say(f"it passes over {old - new:,} of {number(old, 'finding')}")


def _wanted(since: datetime) -> Wanted:
    from detector.service.replaying import Wanted

    return Wanted(since=since)


def _compared(
    settings: Settings, before: Sequence[Rule], after: Sequence[Rule], wanted: Wanted
) -> tuple[list[Result], list[Result]] | None:
    """What both find; None: it is said why that is not known."""
    end = time.monotonic() + LONGEST.total_seconds()
    try:
        with opened(settings) as engine:
            old = _results(engine, settings, before, wanted, "the version before", end)
            new = _results(engine, settings, after, wanted, "the new version", end)
    except DetectorError as fault:
        note(f"what it would have found is not known: {fault.message}")
    except KeyboardInterrupt:
        note("what it would have found is not known: interrupted")
    except _TookTooLongError:
        note(f"what it would have found is not known: that takes longer than {LONGEST}; see detector rules test")
    else:
        return old, new
    return None


def _results(
    engine: Engine, settings: Settings, rules: Sequence[Rule], wanted: Wanted, what: str, end: float
) -> list[Result]:
    def in_time() -> None:
        if time.monotonic() > end:
            raise _TookTooLongError

    reporting = [rule for rule in rules if rule.produces_findings]
    return [run(engine, settings, rule, wanted, what=what, meanwhile=in_time) for rule in reporting]


def _say(old: Sequence[Result], new: Sequence[Result], wanted: Wanted) -> None:
    before, after = ([alert for result in results for alert in result.tally.alerts] for results in (old, new))
    days = 1 if wanted.since is None else max(1, round((datetime.now(UTC) - wanted.since) / _DAY))
    period = number(days, "day")
    say(
        f"was {number(len(before), 'alert')} in {period}, would be {len(after):,}"
        if old
        else f"would be {number(len(after), 'alert')} in {period}"
    )
    for line in looked_in_words((new or old)[0].looked, wanted) if new or old else ():
        say(line)
    changed = difference(before, after)
    for what, alerts in (("new", changed.new), ("no longer there", changed.gone)):
        if alerts and old:
            some = f", the largest {_SHOWN}" if len(alerts) > _SHOWN else ""
            say(f"{len(alerts):,} {what}{some}:")
            print_alerts(largest(alerts)[:_SHOWN])
    if after and not old:
        print_alerts(largest(after)[:_SHOWN])


def _without(alerts: Iterable[WouldBe], others: Iterable[WouldBe]) -> list[WouldBe]:
    known: dict[str, list[WouldBe]] = defaultdict(list)
    for each in others:
        known[each.fingerprint].append(each)
    return [
        each
        for each in alerts
        if not any(other.start <= each.end and each.start <= other.end for other in known[each.fingerprint])
    ]
