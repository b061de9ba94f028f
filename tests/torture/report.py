"""Shows the books of a torture."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from tests.torture.torture import Outcome

_MOST = 8


def show(outcome: Outcome, console: Console, title: str) -> None:
    """The books, the faults that were, and what is wrong."""
    console.print(_books(outcome, title), _faults(outcome))
    for line in outcome.lines:
        for each in line.wrong[:_MOST]:
            console.print(f"[red]wrong[/] {line.what}: {each}", highlight=False)
        if len(line.wrong) > _MOST:
            console.print(f"      and {len(line.wrong) - _MOST} more of these")
    for each in outcome.wrong:
        console.print("[red]wrong[/]", end=" ")
        console.print(each, markup=False, highlight=False)


def _books(outcome: Outcome, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    table.add_column("made", justify="right")
    table.add_column("where they are")
    table.add_column("balances")
    for line in outcome.lines:
        where = "\n".join(f"{number:>9,} {place}" for place, number in line.accounted.items())
        table.add_row(line.what, f"{line.made:,}", where, "[red]no[/]" if line.wrong else "yes")
    return table


def untold(outcome: Outcome) -> Iterator[str]:
    """Faults that the service did not speak of."""
    for place, each in enumerate(outcome.inflicted):
        if each.at_work and not re.search(each.fault.said, outcome.said(place)):
            yield each.fault.name


def _faults(outcome: Outcome) -> Table:
    silent = list(untold(outcome))
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    alerts = {}
    for each in outcome.inflicted:
        seconds[each.fault.name].append(each.seconds)
        alerts[each.fault.name] = each.fault.alert
    table = Table(title="what was done to it", title_justify="left")
    for name in ("fault", "times", "seconds", "the service said so", "alert"):
        table.add_column(name, justify="right" if name in {"times", "seconds"} else "left")
    for name, lasted in sorted(seconds.items()):
        missed = silent.count(name)
        said = "yes" if not missed else f"[red]{len(lasted) - missed} times[/]"
        alert = alerts[name]
        found = alert and (f'"{alert}"' if alert in outcome.told else f'[red]no "{alert}"[/]')
        table.add_row(name, str(len(lasted)), f"{sum(lasted):.0f}", said, found)
    return table
