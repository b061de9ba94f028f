"""Whether the books balance: what was made against what is stored, and what is said to be missing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from tests.torture.steady import EVERY_SECONDS
from tests.torture.stored import OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.torture.stored import Stored, Taken

# Why connects are missing, by what a snapshot says.
NUMBERED, UNREADABLE, UNWATCHED, SET_BACK, BLIND, REPLACED, SILENT = (
    "said to be lost, by number",
    "in snapshots that are said to be lost, of which no number can be read",
    "made while nobody watched, as a gap says",
    "made while nobody watched, and the clock was set back",
    "made while capture was blind, as the self-test says",
    "in a database that was damaged and set aside",
    "missing, and nothing says so",
)
# A snapshot before a gap that was taken and died with its collector, and one after that has begun.
_EDGES_SECONDS = 2.5
# As configured, and what a busy machine makes of it.
_SNAPSHOT_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the books."""

    what: str
    made: int
    accounted: Mapping[str, int]
    """By where they are, or why not. What is in none of them is missing."""
    wrong: Sequence[str] = ()
    """What does not balance; empty: all does."""


@dataclass(slots=True)
class _Stretch:
    """Batches that follow one another, of which something is missing."""

    missing: Counter[str]
    first: int
    """What the last snapshot before it is, by number: it may be missing the end of it."""
    last: int
    """And the first after it."""
    names: list[str] = field(default_factory=list)


def balance(made: Mapping[str, Counter[str]], stored: Stored, mails: Mapping[str, int]) -> list[Line]:
    """The books.

    Args:
        made: by the client, by command name, in its order.
        stored: what the store says.
        mails: how many were taken of each mark.
    """
    return [
        *_connects(made, stored),
        _snapshots(stored.snapshots),
        _findings(stored),
        _alerts(stored),
        _notifications(stored),
        _mails(stored, mails),
    ]


def _connects(made: Mapping[str, Counter[str]], stored: Stored) -> Iterator[Line]:
    counted: Counter[str] = Counter()
    accounted: dict[str, Counter[str]] = {}
    wrong: list[str] = []
    for name in made:
        counted.update(_sum(stored.counted.get(name, {})))
    left = {each.seq: Counter(each.lost) for each in stored.snapshots}
    for stretch in _stretches(made, stored):
        between = [each for each in stored.snapshots if stretch.first <= each.seq <= stretch.last]
        for outcome, missing in stretch.missing.items():
            seconds = len(stretch.names) * EVERY_SECONDS
            for reason, number in _reasons(outcome, missing, seconds, between, left):
                accounted.setdefault(reason, Counter())[outcome] += number
                if reason == SILENT:
                    batches = f"{stretch.names[0]} to {stretch.names[-1]}"
                    where = f"between snapshots {stretch.first} and {stretch.last}"
                    wrong.append(f"{number} {outcome} of {batches}, {where}")
    twice = [name for name in made if any((_sum(stored.counted.get(name, {})) - made[name]).values())]
    wrong += [f"{name} was counted more often than it was made" for name in twice]
    for outcome in OUTCOMES:
        yield Line(
            f"connects {outcome}",
            sum(each[outcome] for each in made.values()),
            {"stored": counted[outcome], **{reason: numbers[outcome] for reason, numbers in accounted.items()}},
            [each for each in wrong if f" {outcome} " in each or (outcome == OUTCOMES[0] and "more often" in each)],
        )


def _stretches(made: Mapping[str, Counter[str]], stored: Stored) -> Iterator[_Stretch]:
    """Where connects are missing, and between which snapshots."""
    end = max((each.seq for each in stored.snapshots), default=0)
    names = list(made)
    # From here on: the earliest snapshot that has anything of a later batch.
    after = [end] * len(names)
    for place in range(len(names) - 2, -1, -1):
        after[place] = min(after[place + 1], *stored.counted.get(names[place + 1], {end: Counter()}))
    before, open_one = 0, None
    for place, name in enumerate(names):
        here = stored.counted.get(name, {})
        missing = +(made[name] - _sum(here))
        if missing:
            if open_one is None:
                open_one = _Stretch(Counter(), max(before, 0), after[place])
            open_one.missing.update(missing)
            open_one.names.append(name)
            open_one.last = after[place]
        elif open_one is not None:
            yield open_one
            open_one = None
        before = max(before, *here) if here else before
    if open_one is not None:
        yield open_one


def _reasons(
    outcome: str, missing: int, seconds: float, between: Sequence[Taken], left: dict[int, Counter[str]]
) -> Iterator[tuple[str, int]]:
    """Where so many, made within so many seconds, are said to be; what is said by number is said once."""
    for each in between:
        if number := min(missing, left[each.seq][outcome]):
            left[each.seq][outcome] -= number
            missing -= number
            yield NUMBERED, number
    # The first snapshot holds what came before; its gap is another one's.
    later = between[1:] or between
    unwatched = sum(each.gap_seconds for each in later)
    if missing and any(each.replaced for each in later):
        yield REPLACED, missing
    elif missing and sum(each.lost_snapshots for each in between) * _SNAPSHOT_SECONDS >= seconds:
        yield UNREADABLE, missing
    elif missing and unwatched and unwatched + _EDGES_SECONDS >= seconds:
        yield UNWATCHED, missing
    elif missing and any(each.step_seconds < 0 for each in later):
        yield SET_BACK, missing
    elif missing and any(each.blind for each in between):
        yield BLIND, missing
    elif missing:
        yield SILENT, missing


def _sum(counted: Mapping[int, Counter[str]]) -> Counter[str]:
    return sum(counted.values(), Counter())


def _snapshots(taken: Sequence[Taken]) -> Line:
    """By the collector's own numbers: they go on, but for those that were given up; a new collector may begin anew."""
    given_up = sum(each.lost_snapshots for each in taken)
    wrong = []
    for before, each in pairwise(taken):
        follows = each.number == before.number + 1 + each.lost_snapshots
        if not (follows or each.gap_seconds or each.replaced or each.step_seconds < 0):
            wrong.append(
                f"snapshot {each.seq} is its collector's number {each.number} after {before.number}, and says that "
                f"{each.lost_snapshots} were given up"
            )
        if each.seq != before.seq + 1:
            wrong.append(f"snapshot {each.seq} follows upon {before.seq}")
    anew = sum(1 for before, each in pairwise(taken) if each.number <= before.number)
    made = len(taken) + given_up
    return Line("snapshots", made, {"stored": len(taken), f"given up; {anew} collectors began anew": given_up}, wrong)


def _findings(stored: Stored) -> Line:
    expected = Counter(
        {(seq, name): 1 for name, counted in stored.counted.items() if name.startswith("mark-") for seq in counted}
    )
    lacking, beyond = expected - stored.found, stored.found - expected
    wrong = [f"{name} in snapshot {seq} was not found" for seq, name in lacking]
    wrong += [f"{name} in snapshot {seq} was found {stored.found[seq, name]} times" for seq, name in beyond]
    return Line(
        "marks in stored snapshots, each found once",
        expected.total(),
        {"found": (expected & stored.found).total()},
        wrong,
    )


def _alerts(stored: Stored) -> Line:
    found = {name for _, name in stored.found}
    wrong = [f"{name} has {stored.alerts[name]} alerts" for name in sorted(found) if stored.alerts[name] != 1]
    told, dead = found & stored.delivered, found & stored.dead - stored.delivered
    silent = sorted(found - told - dead)
    wrong += [f"nobody was told of {name}" for name in silent]
    return Line(
        "alerts of these marks, each told",
        len(found),
        {"delivered": len(told), "given up, and shown": len(dead)},
        wrong,
    )


def _notifications(stored: Stored) -> Line:
    states = dict(stored.notifications)
    waiting = states.pop("pending", 0)
    wrong = [f"{waiting} still wait"] if waiting else []
    return Line("notifications", stored.notifications.total(), states, wrong)


def _mails(stored: Stored, mails: Mapping[str, int]) -> Line:
    lacking = sorted(stored.delivered - mails.keys())
    wrong = [f"the mail of {name} never came" for name in lacking]
    twice = sum(number > 1 for name, number in mails.items() if name)
    here = len(stored.delivered) - len(lacking)
    return Line("alerts said to be delivered", len(stored.delivered), {"mails": here, "twice or more": twice}, wrong)
