"""`detector rules explain`: which selection of a rule matched which values of an alert's rows."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from detector.cli.alert_names import ALERT_ID, find_alert
from detector.cli.backtests import number
from detector.cli.rule_names import bases_of, find, load, rule_argument, short
from detector.cli.terminal import print_json, say
from detector.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.config import Settings
    from detector.ruleset.catalogue import Entry
    from detector.ruleset.explain import Line
    from detector.service.explaining import Explanation

# Of the values of a line.
_SHOWN = 5


@click.command()
@rule_argument
@click.argument("alert_id", type=ALERT_ID, metavar="ALERT")
@click.option("--json", "as_json", is_flag=True, help="A JSON object, with all values.")
@click.pass_obj
def explain(settings: Settings, /, named: str, alert_id: int, as_json: bool) -> None:
    """Say why a rule made an alert: which of its selections, and which lines of them, matched which values.

    It looks at the rows behind the alert, and at the rule as it is now: after a change, or with the rule of another
    alert, it says what does not match. Filters that would pass over rows today are named. Of a correlation it tells as
    well how much the rows come to within its window.

    \b
    Examples:
      detector rules explain horizontal_scan 12
    """
    from detector.cli.store import stored
    from detector.service.explaining import explain as explained
    from detector.store.alerts import is_about_capture

    loaded = load(settings)
    entry = find(loaded, named)
    if entry.rule is None:
        raise DetectorError(f"{short(entry)} is {entry.state}", hint="see: detector rules check")
    with stored(settings) as connection:
        alert = find_alert(connection, alert_id)
        about_capture = is_about_capture(connection, alert_id)
        if (entry.rule.matcher.wanted.category.name == "capture") != about_capture:
            what = "connections" if about_capture else "how well snapshots were taken"
            raise DetectorError(f"{short(entry)} looks at {what}, and alert {alert_id} does not")
        found = explained(connection, entry, bases_of(entry, loaded.entries), loaded.lists, alert_id)
    if as_json:
        print_json(_as_object(entry, alert_id, found))
        return
    say(f"{entry.title}, and alert {alert_id}: {alert.summary}")
    if entry.rule_id != alert.rule_id:
        say(f"the alert is of another rule: {alert.rule_title}")
    for line in _lines(found):
        say(line)


def _lines(found: Explanation) -> Iterator[str]:
    rows = number(found.rows, "row")
    yield f"{rows} behind it" + (f"; {number(found.gone, 'row')} more that cannot be looked at" if found.gone else "")
    for title, condition, selections in found.selections:
        yield ""
        yield f"{title}: {condition}"
        for selection in selections:
            yield f"  {selection.name} (line {selection.number}): {selection.rows} of {rows}"
            for line in selection.lines:
                yield f"    line {line.number}: {line.text}"
                yield f"      {line.rows} of {rows}{_values(line)}"
    for each, taken in found.passed_over:
        yield ""
        yield f"today {taken} of {rows} would be passed over: {each.title} ({each.path}:{each.line}, {each.author})"
    if (count := found.count) is not None:
        of = f" of {count.field}" if count.field else ""
        yield ""
        yield f"{count.type}{of} within {count.timespan}: {count.most} at most; asked for is {count.condition}"


def _values(line: Line) -> str:
    if not line.values:
        return ""
    shown = ", ".join(f"{_value(value)} ({many})" for value, many in line.values[:_SHOWN])
    more = len(line.values) - _SHOWN
    return f": {shown}" + (f" and {number(more, 'other value')}" if more > 0 else "")


def _value(value: Any) -> str:
    return "missing" if value is None else str(value)


def _as_object(entry: Entry, alert_id: int, found: Explanation) -> dict[str, Any]:
    return {
        "rule_id": entry.rule_id,
        "alert_id": alert_id,
        "rows": found.rows,
        "gone": found.gone,
        "rules": [
            {
                "title": title,
                "condition": condition,
                "selections": [_selection(each) for each in selections],
            }
            for title, condition, selections in found.selections
        ],
        "passed_over": [
            {"filter_id": each.rule_id, "title": each.title, "path": each.path, "line": each.line, "rows": taken}
            for each, taken in found.passed_over
        ],
        "count": None
        if found.count is None
        else {**asdict(found.count), "timespan": found.count.timespan.total_seconds()},
    }


def _selection(selection: Any) -> dict[str, Any]:
    lines = [
        {**asdict(line), "values": [{"value": value, "rows": rows} for value, rows in line.values]}
        for line in selection.lines
    ]
    return {"name": selection.name, "line": selection.number, "rows": selection.rows, "lines": lines}
