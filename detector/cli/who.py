"""`detector who`: all that is known of one address, user or program."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import click

from detector.cli.criteria import period_options
from detector.cli.groups import group_objects, how_many, print_groups, score_text
from detector.cli.parameters import LIMIT, check_period
from detector.cli.terminal import local, note, print_json, say
from detector.domain import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.config import Settings
    from detector.store.dossier import Dossier, Part
    from detector.store.grouping import Group
    from detector.store.sums import Sums

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SHADES = " .:-=+*#%@"


@click.command()
@click.argument("thing", metavar="ADDRESS|USER|EXE")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["address", "user", "exe"]),
    help="What it is. Default: an address if it reads like one, a program if it has a /, else a user.",
)
@period_options
@click.option("--limit", type=LIMIT, default=10, show_default=True, help="The lines of each list.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object, all fields, times in UTC.")
@click.pass_obj
def who(settings: Settings, /, thing: str, kind: str | None, limit: int, as_json: bool, **criteria: Any) -> None:
    """Show all that is known of an address, a user or a program.

    When it was seen first and last, by whom, with what, how often in each hour of the week, which alerts name it, and
    what else those reached who had to do with it. Users and programs may be patterns: * stands for any characters, ?
    for any one.

    \b
    Examples:
      detector who 192.0.2.7
      detector who 10.9.0.0/16 --since 30d
      detector who alice --since 'monday 9:00'
      detector who /usr/bin/nc
      detector who '*/python3*' --host 'web-*' --limit 50
      detector who www-data --json
    """
    from detector.cli.store import stored
    from detector.store.dossier import Kind, dossier
    from detector.store.filters import HistoryFilter

    check_period(criteria["since"], criteria["until"])
    chosen = Kind(kind or _kind_of(thing))
    if chosen is Kind.ADDRESS and not _is_address(thing):
        raise click.UsageError(f"{thing!r} is not an address or network; write 10.0.4.12, 10.0.0.0/8 or fd00::/8")
    with stored(settings) as connection:
        found = dossier(connection, chosen, thing, HistoryFilter(**criteria), limit)
    if as_json:
        print_json(_as_object(chosen.value, thing, found))
    elif found.parts or found.alerts:
        _print(thing, found)
    else:
        note(f"nothing is known of the {chosen.value} {thing}: see detector who --help for --as and patterns")


def _kind_of(thing: str) -> str:
    if _is_address(thing):
        return "address"
    return "exe" if "/" in thing else "user"


def _is_address(thing: str) -> bool:
    try:
        ip_network(thing, strict=False)
    except ValueError:
        return False
    # ip_network takes a number for an address.
    return not thing.isdecimal()


def _print(thing: str, found: Dossier) -> None:
    for part in found.parts:
        say(f"{thing} as {part.role}")
        _print_facts(part)
        for title, groups in part.groups.items():
            _print_list(title.capitalize(), groups)
        _print_week(part)
        say("")
    say("Alerts:" if found.alerts else "Alerts: none")
    for alert in found.alerts:
        say(f"  {alert.alert_id}  {local(alert.end)}  {alert.severity.value}  {alert.rule_title}: {alert.summary}")
    if found.more_alerts:
        say(f"  and {found.more_alerts:,} before")
    if found.elsewhere:
        _print_list("What else these users reached lately", found.elsewhere)


def _print_facts(part: Part) -> None:
    facts = _sums(part.sums)
    say(f"  first seen {local(facts['first_seen'])}, last {local(facts['last_seen'])}, on {', '.join(part.hosts)}")
    peak = "" if facts["peak_score"] is None else f"; the highest score {score_text(facts['peak_score'])}"
    say(f"  {how_many(facts)}{peak}")
    if part.whole:
        say("  at the ends of the period some hours or days count whole: their snapshots have expired")


def _print_list(title: str, groups: Sequence[Group]) -> None:
    if groups:
        say("")
        say(f"{title}:")
        print_groups(tuple(groups[0].values), [group.as_row() for group in groups])


def _print_week(part: Part) -> None:
    """A line for each weekday, a character for each hour: the more connects, the darker."""
    most = max(part.week.values(), default=0)
    if not most:
        return
    say("")
    say(f"Hours of the week, from none ( ) to {most:,} connects ({_SHADES[-1]}):")
    say("      0     6     12    18")
    for day, name in enumerate(_WEEKDAYS):
        line = "".join(_shade(part.week[day, hour], most) for hour in range(24))
        total = sum(part.week[day, hour] for hour in range(24))
        say(f"  {name} {line} {total:,}")


def _shade(number: int, most: int) -> str:
    return _SHADES[-(-(len(_SHADES) - 1) * number // most)]


def _sums(sums: Sums) -> dict[str, Any]:
    attempted, *ends = sums.numbers[1:6]
    return {
        "attempted": attempted,
        **dict(zip((each.value for each in Outcome), ends, strict=True)),
        "first_seen": sums.first_seen,
        "last_seen": sums.last_seen,
        "peak_score": sums.peak_score,
    }


def _as_object(kind: str, thing: str, found: Dossier) -> dict[str, Any]:
    return {
        "kind": kind,
        "of": thing,
        "parts": [
            {
                "role": part.role,
                "hosts": part.hosts,
                **_sums(part.sums),
                **{
                    title.replace(" ", "_"): group_objects(tuple(groups[0].values), groups) if groups else []
                    for title, groups in part.groups.items()
                },
                "week": [[part.week[day, hour] for hour in range(24)] for day in range(7)],
                "whole": part.whole,
            }
            for part in found.parts
        ],
        "alerts": [
            {
                "alert_id": alert.alert_id,
                "host": alert.host,
                "start": alert.start,
                "end": alert.end,
                "severity": alert.severity.value,
                "rule_title": alert.rule_title,
                "summary": alert.summary,
            }
            for alert in found.alerts
        ],
        "more_alerts": found.more_alerts,
        "elsewhere": group_objects(tuple(found.elsewhere[0].values), found.elsewhere) if found.elsewhere else [],
    }
