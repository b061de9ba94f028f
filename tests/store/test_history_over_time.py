"""Questions to a past that is rolled up and has expired in part."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from detector.store.engine import reading
from detector.store.grouping import WEEKDAYS, grouped
from detector.store.history import find
from detector.store.newcomers import newcomers
from detector.store.rollups import HOUR, floor
from tests.examples import examples
from tests.store.past import OUTCOMES, STORIES, Past, Plain, Story, cut, empty, filters, matches, wanted_of

if TYPE_CHECKING:
    from sqlalchemy import Engine


def _told(row: Any) -> tuple[Any, ...]:
    """What `past.Plain.whole` gives of a row that was found."""
    address = None if row["login_address"] is None else str(row["login_address"])
    identity = (row["user"], row["login_user"], str(row["remote_address"]), row["remote_port"], row["session"])
    counts = tuple(row[name] for name in OUTCOMES)
    return (
        *(row["host"], row["resolution"], row["start"], row["end"], identity),
        *((address, row["remote_name"], row["remote_country"]), counts, row["score"], row["snapshots"]),
    )


_NONE_LEFT = Story(steps=((0, 1, ()),), detected=0, rolled=0, raw_hours=1, hourly_days=0, chunk=1)
# Of its hour, the last snapshots are left.
_SOME_LEFT = replace(
    _NONE_LEFT,
    steps=(
        (0, 7, ((0, 0, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0))),
        (0, 1, ((0, 0, 0, 0, 0, 0),)),
        (0, 59, ((0, 0, 0, 0, 0, 0),)),
    ),
)


@settings(max_examples=examples(25), derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=STORIES, other=STORIES, criteria=filters(), limit=st.sampled_from([1, 2, 3, 5, 8, 13, 1000]))
@example(story=_NONE_LEFT, other=_SOME_LEFT, criteria={"since": None, "until": None}, limit=1)
def test_what_is_found_is_what_there_is(
    engine: Engine, story: Story, other: Story, criteria: dict[str, Any], limit: int
) -> None:
    """The newest rows are those of a search row by row, wherever they are kept, and the others are counted."""
    empty(engine)
    rows = Past(engine, story).write() + Past(engine, other, host="bastion-2").write()

    with reading(engine) as connection:
        page = find(connection, wanted_of(criteria), limit)

    matching = [row for row in rows if matches(row, criteria)]
    expected = sorted(matching, key=lambda row: (row.start, row.end, row.host))
    told = [_told(row) for row in page.rows]
    starts = [row["start"] for row in page.rows]
    assert starts == [row.start for row in expected[-limit:]]
    assert len(told) == len(set(told))
    assert {*told} <= {row.whole() for row in matching}
    if limit >= len(matching):
        assert sorted(told, key=repr) == sorted((row.whole() for row in matching), key=repr)
    shown = sum(row["snapshots"] for row in page.rows)
    if not page.about:
        assert page.total_more == sum(row.snapshots for row in matching) - shown
    else:
        inexact = "outcome" in criteria or "min_score" in criteria or any(cut(row, criteria) for row in matching)
        assert inexact


_BY = ("host", "user", "remote_address", "port", "remote_name", "login_address", "hour", "day", "weekday")


def _values(row: Plain, by: list[str]) -> tuple[Any, ...]:
    # An hour of a day that has none any more is the first one of the day.
    hour = floor(row.start, HOUR).astimezone()
    values = {
        "host": row.host,
        "user": row.identity[0],
        "remote_address": row.identity[2],
        "port": row.identity[3],
        "remote_name": row.named[1],
        "login_address": row.named[0],
        "hour": hour,
        "day": hour.date(),
        "weekday": WEEKDAYS[hour.weekday()],
    }
    return tuple(values[name] for name in by)


def _text(address: Any) -> str | None:
    return None if address is None else str(address)


@settings(max_examples=examples(25), derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    story=STORIES,
    other=STORIES,
    criteria=filters(),
    by=st.lists(st.sampled_from(_BY), min_size=1, max_size=3, unique=True),
)
def test_sums_are_those_of_single_rows(
    engine: Engine, story: Story, other: Story, criteria: dict[str, Any], by: list[str]
) -> None:
    """Whatever they are grouped by, and wherever the rows are kept, they add up to the same."""
    empty(engine)
    rows = Past(engine, story).write() + Past(engine, other, host="bastion-2").write()

    with reading(engine) as connection:
        found = grouped(connection, wanted_of(criteria), by)

    expected: dict[Any, list[Plain]] = defaultdict(list)
    for row in rows:
        if matches(row, criteria):
            expected[_values(row, by)].append(row)
    told = {}
    for group in found.groups:
        values = group.as_row()
        told[tuple(_text(values[name]) if name.endswith("address") else values[name] for name in by)] = values
    if found.about:
        # Of which snapshots of a period match is not known any more.
        assert set(told) == set(expected)
    if found.about and "outcome" in criteria and "min_score" not in criteria:
        name = criteria["outcome"].value
        place = OUTCOMES.index(name)
        assert {where: group[name] for where, group in told.items()} == {
            where: sum(row.counts[place] for row in group) for where, group in expected.items()
        }
    if not found.about:
        assert told == {
            where: {
                **dict(zip(by, (told[where][name] for name in by), strict=True)),
                "snapshots": sum(row.snapshots for row in group),
                **{name: sum(row.counts[place] for row in group) for place, name in enumerate(OUTCOMES)},
                "handshake_us_total": 0,
                "handshake_us_max": 0,
                "destinations": len({row.identity[2] for row in group}),
                "ports": len({row.identity[3] for row in group}),
                "users": len({(row.host, row.identity[1]) for row in group}),
                "first_seen": min(row.first_seen for row in group),
                "last_seen": max(row.last_seen for row in group),
                "peak_score": max((row.score for row in group if row.score is not None), default=None),
            }
            for where, group in expected.items()
        }
    assert found.whole <= any(cut(row, criteria) for group in expected.values() for row in group)


@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=STORIES, criteria=filters(exact=True), newest=st.sampled_from([None, 1, 3]))
def test_what_is_new_was_not_there_before(
    engine: Engine, story: Story, criteria: dict[str, Any], newest: int | None
) -> None:
    """Keys that were first seen in a period, with all that they did to its end."""
    empty(engine)
    past = Past(engine, story)
    rows = past.write()
    first: dict[Any, Any] = {}
    for row in past.rows:
        first[row.identity[:4]] = min(first.get(row.identity[:4], row.start), row.start)

    with reading(engine) as connection:
        found = newcomers(connection, wanted_of(criteria), newest)

    since, until = criteria["since"], criteria["until"]
    expected: dict[Any, int] = defaultdict(int)
    for row in rows:
        begun = first[row.identity[:4]]
        is_new = (since is None or begun >= since) and (until is None or begun < until)
        if is_new and matches(row, {**criteria, "since": None}):
            expected[row.identity[:4]] += row.counts[0]
    told = {
        (row["user"], row["login_user"], str(row["remote_address"]), row["remote_port"]): row["attempted"]
        for row in found.rows
    }
    times = [row["first_seen"] for row in found.rows]
    assert times == sorted(times)
    assert told.items() <= expected.items()
    if newest is None:
        assert told == expected
