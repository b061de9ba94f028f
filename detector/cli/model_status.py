"""`detector model status`: what is learnt of each host, what is missing, and how the promise is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from detector.cli.parameters import HostName
from detector.cli.terminal import local, note, print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.config import Settings
    from detector.models.status import HostStatus

# Hours of a kind that were observed: none, less than one, less than four, more.
_STEPS = ((0.0, "."), (1.0, "-"), (4.0, "+"))
_MORE = "#"
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@click.command("status")
@click.option("--host", type=HostName(), help="Only of this host.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects, all fields, times in UTC.")
@click.pass_obj
def status(settings: Settings, /, host: str | None, *, as_json: bool) -> None:
    """Say what is learnt of each host, what is missing, and whether the promise of few false alerts is kept.

    The two lines of 24 characters are the hours of a day, UTC, on weekdays and at weekends: '.' was never observed,
    '-' for less than an hour, '+' for less than four, '#' for more. Jobs may run once a week or a month, and much
    happens when a host comes back: so the days that were not seen whole are named, and restarts are counted, which are
    snapshots before which nobody watched for more than a minute.

    \b
    Examples:
      detector model status
      detector model status --host bastion-1
      detector model status --json
    """
    from detector.cli.store import stored
    from detector.models.status import read

    with stored(settings) as connection:
        found = read(connection, settings.models, host)
    if as_json:
        print_json([_as_object(each) for each in found])
    elif found:
        for number, each in enumerate(found):
            if number:
                say("")
            _print(each, alone=host is not None)
    else:
        note(f"nothing was learnt of {host} yet" if host else "nothing was learnt of any host yet")


def _as_object(each: HostStatus) -> dict[str, Any]:
    weekday, weekend = each.week.missing()
    limit, forest = each.threshold, each.forest
    return {
        "host": each.host,
        "scoring": each.learning.finished,
        "observed_hours": round(each.learning.elapsed_seconds / 3600, 2),
        "burn_in_hours": each.learning.required_seconds / 3600,
        "scored_since": each.scored_since,
        "until": each.until,
        "week_hours": [[round(float(hours), 2) for hours in day] for day in each.week.observed],
        "missing_weekday_hours": weekday,
        "missing_weekend_hours": weekend,
        "missing_days": [_DAYS[day] for day in each.week.missing_days()],
        "first_of_a_month_seen": each.month_began,
        "restarts": each.restarts,
        "restarted_at": each.restarted_at,
        "threshold": {
            "surprise": limit.surprise,
            "score": 1 - 10**-limit.surprise,
            "promised": limit.promised,
            "observed": limit.observed,
            "correction": limit.correction,
            "uncertainty": limit.uncertainty,
            "hours": limit.hours,
        },
        "false_alerts_per_day": {"promised": each.promised, "achieved": each.achieved},
        "false_alerts": each.false_alerts,
        "days": each.days,
        "moves": [
            {
                "at": move.at,
                "before": move.before,
                "after": move.after,
                "observed": move.observed,
                "correction": move.correction,
            }
            for move in each.moves
        ],
        "forest": None
        if forest is None
        else {"version": forest.version, "trained_at": forest.trained_at, "rows": forest.rows},
        "forest_bytes": each.forest_bytes,
        "subjects": each.subjects,
        "samples": each.samples,
    }


def _print(each: HostStatus, *, alone: bool) -> None:
    hours, required = each.learning.elapsed_seconds / 3600, each.learning.required_seconds / 3600
    say(f"{each.host}: {hours:,.1f} hours observed until {local(each.until)}")
    left = f"still being learnt, {required - hours:.1f} hours of {required:g} to go"
    say(f"  scores      {f'since {local(each.scored_since)}' if each.scored_since else left}")
    weekday, weekend = each.week.missing()
    for name, kind, missing in zip(("weekdays", "weekends"), each.week.kinds(), (weekday, weekend), strict=True):
        say(f"  {name}    {''.join(map(_mark, kind.tolist()))}  {_said(missing)}")
    say(f"  days        {_days(each)}")
    say(f"  restarts    {_restarts(each)}")
    limit = each.threshold
    say(f"  threshold   surprise {limit.surprise:.2f} (score {1 - 10**-limit.surprise:.4f}): {_made_of(each)}")
    say(f"  moved       {_moved(each)}")
    say(f"  promise     at most {each.promised:g} false alerts a day; {_achieved(each)}")
    say(f"  forest      {_forest(each)}")
    stored = f"{each.subjects:,} subjects, {each.samples:,} rows of sample, {each.forest_bytes:,} bytes of forests"
    say(f"  state       {stored}")
    if alone and each.moves:
        say("  moves of the threshold:")
        for move in each.moves:
            say(f"    {local(move.at)}  to {move.after:.2f} ({move.why})")


def _mark(hours: float) -> str:
    return next((mark for most, mark in _STEPS if hours <= most), _MORE)


def _said(missing: Sequence[int]) -> str:
    if not missing:
        return "all hours seen"
    return "not seen yet: " + ", ".join(f"{first:02}-{last + 1:02}" for first, last in _runs(missing))


def _runs(hours: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for hour in hours:
        if runs and runs[-1][1] == hour - 1:
            runs[-1] = (runs[-1][0], hour)
        else:
            runs.append((hour, hour))
    return runs


def _days(each: HostStatus) -> str:
    missing = [_DAYS[day] for day in each.week.missing_days()]
    parts = [f"not seen whole yet: {', '.join(missing)}"] if missing else ["all days of the week seen"]
    if not each.month_began:
        parts.append("no first of a month")
    return "; ".join(parts)


def _restarts(each: HostStatus) -> str:
    if each.restarted_at is None:
        return "none seen yet"
    return f"{each.restarts:,} seen, the last {local(each.restarted_at)}"


def _made_of(each: HostStatus) -> str:
    limit = each.threshold
    parts = [f"{limit.promised:.2f} promised", f"{limit.usual - limit.promised:+.2f} by its hours and alerts"]
    parts += [f"{limit.uncertainty:+.2f} since little is known of this time of the week"]
    return ", ".join(parts)


def _moved(each: HostStatus) -> str:
    if not each.moves:
        return "not yet"
    last = each.moves[-1]
    return f"last {local(last.at)}, from {last.before:.2f} to {last.after:.2f} ({last.why})"


def _achieved(each: HostStatus) -> str:
    if each.achieved is None:
        return "none could be told yet"
    return f"{each.false_alerts} in {each.days:.1f} days, {each.achieved:.2f} a day"


def _forest(each: HostStatus) -> str:
    if each.forest is None:
        return "none is in force yet"
    return f"version {each.forest.version} of {local(each.forest.trained_at)}, {each.forest.rows:,} rows, in force"
