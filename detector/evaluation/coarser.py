"""Longer snapshots of shorter ones: judging a month of them takes its time, and the protocol asks for two lengths."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from detector.evaluation.connects import joined

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from detector.domain import Snapshot


def coarser(snapshots: Iterable[Snapshot], seconds: int) -> Iterator[Snapshot]:
    """Snapshots that follow one another, added up to one for each multiple of `seconds` since 1970.

    What is longer stays as it is. Losses and health are of all that are added up.
    """
    waiting: Snapshot | None = None
    for each in snapshots:
        if waiting is None:
            waiting = each
        elif _number(waiting, seconds) == _number(each, seconds):
            waiting = replace(
                waiting,
                end=each.end,
                counts=(*waiting.counts, *each.counts),
                losses=waiting.losses + each.losses,
                health=waiting.health + each.health,
            )
        else:
            yield replace(waiting, counts=joined(waiting.counts))
            waiting = each
    if waiting is not None:
        yield replace(waiting, counts=joined(waiting.counts))


def _number(snapshot: Snapshot, seconds: int) -> int:
    return int(snapshot.start.timestamp() // seconds)
