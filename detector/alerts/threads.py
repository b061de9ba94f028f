"""Alerts of one actor that follow one another are one thread: a scan, then a login, then a beacon."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Text, cast, func, select

from detector.domain import Direction
from detector.store.tables import alerts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime, timedelta

    from detector.alerts.facts import Distinct

# It runs what belongs to nobody in particular: two of its programs are two actors.
_EVERYBODY = "root"
_LONGEST = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An alert as others may belong to it."""

    alert_id: int
    thread_id: int
    """The first alert of its thread; its own number, if that is it."""
    actors: tuple[str, ...]
    start: datetime
    end: datetime


def actors_of(values: Mapping[str, Distinct]) -> tuple[str, ...]:
    """Whose doing an alert is, as far as all of its rows say the same; empty where nobody is known.

    Who logged in, whatever sudo made of them, and where from; without a login the account. Of inbound connections it is
    the other end: the account is that of whoever listens.
    """

    def sole(name: str) -> str | None:
        found = values.get(name)
        return found.sole if found is not None else None

    inbound = sole("direction") == Direction.INBOUND
    said: list[str] = []
    if inbound:
        said += [f"address {sole('address')}"] if sole("address") else []
    elif login_user := sole("login_user"):
        said.append(f"login_user {login_user}")
    elif (user := sole("user")) and user != _EVERYBODY:
        said.append(f"user {user}")
    elif user and (executable := sole("executable")):
        said.append(f"user {user}, executable {executable}")
    if login_address := sole("login_address"):
        said.append(f"address {login_address}")
    return tuple(each[:_LONGEST] for each in said)


def link(new: Iterable[Link], before: Iterable[Link], window: timedelta) -> dict[int, int]:
    """The threads of new alerts, by their numbers: that of the last alert that shares an actor and ended no longer ago.

    Those of one snapshot are linked with one another, the earliest first; their order has no influence.
    """
    last: dict[str, Link] = {}

    def remember(each: Link) -> None:
        for actor in each.actors:
            known = last.get(actor)
            if known is None or (known.end, known.alert_id) <= (each.end, each.alert_id):
                last[actor] = each

    for each in before:
        remember(each)
    threads: dict[int, int] = {}
    for each in sorted(new, key=lambda one: (one.start, one.alert_id)):
        near = [
            known
            for actor in each.actors
            if (known := last.get(actor)) is not None
            # A clock that was ahead links nothing with what comes after it was put right.
            and (abs(each.start - known.end) <= window or known.start <= each.start <= known.end)
        ]
        thread_id = max(near, key=lambda one: (one.end, one.alert_id)).thread_id if near else each.thread_id
        threads[each.alert_id] = thread_id
        remember(each if each.thread_id == thread_id else replace(each, thread_id=thread_id))
    return threads


def recent(connection: Connection, host_id: int, around: tuple[datetime, datetime], window: timedelta) -> list[Link]:
    """The alerts of a host that new ones may belong to: of each actor the last.

    Args:
        around: from the first start of the new ones to the present.
        window: how long before or after they may have ended.
    """
    columns = alerts.c
    last = func.row_number().over(
        partition_by=cast(columns.actors, Text), order_by=[columns.end.desc(), columns.alert_id.desc()]
    )
    ranked = (
        select(
            columns.alert_id,
            func.coalesce(columns.thread_id, columns.alert_id).label("thread_id"),
            *(columns.actors, columns.start, columns.end, last.label("place")),
        )
        .where(columns.host_id == host_id, columns.end.between(around[0] - window, around[1] + window))
        .subquery()
    )
    rows = connection.execute(select(ranked).where(ranked.c.place == 1)).all()
    return [
        Link(alert_id=row.alert_id, thread_id=row.thread_id, actors=tuple(row.actors), start=row.start, end=row.end)
        for row in rows
        if row.actors
    ]
