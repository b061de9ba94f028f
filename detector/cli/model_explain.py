"""`detector model explain`: why rows are strange, or are not."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from detector.cli.alert_names import ALERT_ID
from detector.cli.criteria import filter_options, wanted_by
from detector.cli.rows import as_object
from detector.cli.terminal import local, note, print_json, say
from detector.domain import Outcome
from detector.errors import DetectorError
from detector.row_words import connection_text, connects, program_text, who_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from detector.config import Settings
    from detector.models.because import Because, ForestSays
    from detector.service.because import Explained

_RECENTLY = timedelta(hours=24)
# Of the forest's parts, and of a split: less says nothing.
_PARTS = 6
_LITTLE = 0.05


@click.command()
@click.option("--alert", "alert_id", type=ALERT_ID, metavar="ID", help="The rows behind this alert.")
@click.option("--limit", type=click.IntRange(1, 1000), default=3, show_default=True, help="How many rows.")
@filter_options("--to")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects, all fields, times in UTC.")
@click.pass_obj
def explain(settings: Settings, /, alert_id: int | None, limit: int, *, as_json: bool, **criteria: Any) -> None:
    """Say why rows are strange, or are not: the strangest that match, of the last 24 hours, or those behind an alert.

    Of each: the probability that each channel gave it, and what the deciding one says; by how many splits each feature
    makes it easier to isolate for the forest in force (+, stranger) or harder (-), which sum up; and the row that is
    most like it among those that forests are trained on. Forest and row are told by what is known now, which is more
    than when the row was scored.

    \b
    Examples:
      detector model explain
      detector model explain --alert 12
      detector model explain --since 7d --user alice --limit 1 --json
    """
    from detector.service.because import explained, explained_alert
    from detector.store.engine import open_store, reading
    from detector.store.migrating import check_current

    given = {name: value for name, value in criteria.items() if value is not None}
    if alert_id is not None and given:
        raise click.UsageError("--alert names rows already: leave the other criteria out")
    wanted = wanted_by(criteria)
    if wanted.since is None:
        wanted = replace(wanted, since=(wanted.until or datetime.now(UTC)) - _RECENTLY)
    # Only what was scored is there to be explained.
    wanted = replace(wanted, min_score=wanted.min_score or 0.0)
    engine = open_store(settings.database_url)
    try:
        check_current(engine)
        with reading(engine) as connection:
            if alert_id is None:
                found = explained(connection, wanted, limit, settings.models)
            else:
                found = explained_alert(connection, alert_id, limit, settings.models)
    finally:
        engine.dispose()
    if as_json:
        print_json([_as_object(each) for each in found])
        return
    for number, each in enumerate(found):
        if number:
            say("")
        for line in _lines(each):
            say(line)
    if not found:
        _nothing(alert_id)


def _nothing(alert_id: int | None) -> None:
    if alert_id is not None:
        raise DetectorError(
            f"no row that was scored is stored behind alert {alert_id}", hint="see: detector alerts show"
        )
    note("nothing that was scored matches: there are no scores before burn-in is over; see detector model list")


def _as_object(each: Explained) -> dict[str, Any]:
    forest, example = each.because.forest, each.because.example
    normal = None
    if example is not None:
        normal = {
            "at": example.at,
            "distance": round(example.distance, 4),
            "differs": list(example.differs),
            "row": None if each.example is None else dict(each.example),
        }
    return {**as_object(each.row), "forest": None if forest is None else asdict(forest), "closest_normal": normal}


def _lines(each: Explained) -> Iterator[str]:
    row = each.row
    yield f"{local(row['end'])}  {row['host']}  {who_text(row)}  {program_text(row)}  {connection_text(row)}"
    outcomes = connects(row["attempted"], {outcome: row[outcome.value] for outcome in Outcome})
    score = "" if row["score"] is None else f"; score {row['score']:.4f}"
    yield f"  {outcomes}{score}"
    if row["explanation"] is not None:
        yield f"  {row['explanation']}"
    yield from _channel_lines(row)
    yield from _forest_lines(each.because.forest)
    yield from _example_lines(each.because, each.example)


def _channel_lines(row: Mapping[str, Any]) -> Iterator[str]:
    yield "  channels: an hour without an attack holds something as strange"
    for name in (name for name in row if name.startswith("p_") and row[name] is not None):
        decided = "  <- decided" if row["channel"] == name.removeprefix("p_") else ""
        yield f"    {name.removeprefix('p_').replace('_', ' '):<12} {_often(row[name])}{decided}"


def _often(probability: float) -> str:
    return "at any time" if probability >= 0.5 else f"once in {1 / probability:,.0f} h"  # noqa: PLR2004


def _forest_lines(forest: ForestSays | None) -> Iterator[str]:
    if forest is None:
        yield "  forest: none is in force"
        return
    yield (
        f"  forest {forest.version}: isolated in {forest.path:.2f} splits, what it was trained on in"
        f" {forest.mean_path:.2f}; by"
    )
    shown = sorted(forest.parts, key=lambda part: -abs(part.splits))[:_PARTS]
    for part in sorted(shown, key=lambda part: -part.splits):
        if abs(part.splits) >= _LITTLE:
            usual = f", usually {part.usual}" if part.usual and part.usual != part.seen else ""
            yield f"    {part.splits:+6.2f}  {part.about}: {part.seen}{usual}"
    others = sum(part.splits for part in forest.parts) - sum(
        part.splits for part in shown if abs(part.splits) >= _LITTLE
    )
    yield f"    {others:+6.2f}  all else"


def _example_lines(because: Because, example: Mapping[str, Any] | None) -> Iterator[str]:
    found = because.example
    if found is None:
        yield "  closest normal row: nothing was sampled yet"
        return
    who = "what it was is stored no more"
    if example is not None:
        who = f"{who_text(example)}  {program_text(example)}  {connection_text(example)}"
    yield f"  closest normal row: {who}  ({local(found.at)})"
    yield f"    differs in {_listed(found.differs)}" if found.differs else "    differs in nothing that the forest sees"


def _listed(texts: Sequence[str]) -> str:
    return "; ".join(texts)
