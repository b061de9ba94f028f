"""Tortures a world for a while, lets it come to rest, and draws up the books."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from detector.domain import NotificationState
from detector.errors import StoreError
from detector.store.tables import detection_cursors, notifications, snapshots
from tests.torture.books import Line, balance
from tests.torture.kills import KILLS
from tests.torture.stored import read_ledger, read_store
from tests.torture.stores import STORES
from tests.torture.surroundings import SURROUNDINGS
from tests.torture.world import HOST, MARK_RULE, ROLES, until, world

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.torture.fault import Fault
    from tests.torture.world import World

QUIET_SECONDS = (1.5, 6.0)
"""Between faults."""
_SECOND_FAULT = 0.25
"""How often another one comes on top."""
_REST_SECONDS = 600
_RECOVERY_SECONDS = 20
_GROUPS = (KILLS, STORES, SURROUNDINGS)
# What a fault leads to may be said while others are at work already.
_SAID_WITHIN = 4
_NEWEST, _SEEN = select(func.max(snapshots.c.seq)), select(func.max(detection_cursors.c.seq))
_WAITING = select(func.count()).where(notifications.c.state == NotificationState.PENDING.value)


@dataclass(frozen=True, slots=True)
class Inflicted:
    """A fault that was."""

    fault: Fault
    began: int
    """How much the service had said by then."""
    seconds: float
    at_work: bool
    """Both roles were at work as it began, and so could notice it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    lines: Sequence[Line]
    inflicted: Sequence[Inflicted]
    text: str
    """All that the service said."""
    told: frozenset[str]
    """Titles of the rules of which there are alerts."""
    wrong: Sequence[str]
    """What is amiss besides lines."""

    @property
    def balances(self) -> bool:
        """Whether all is as it should be."""
        return not self.wrong and not any(line.wrong for line in self.lines)

    def said(self, place: int) -> str:
        """What the service said from the fault at this place on, until some later ones were over."""
        after = self.inflicted[place + _SAID_WITHIN].began if place + _SAID_WITHIN < len(self.inflicted) else None
        return self.text[self.inflicted[place].began : after]


def possible(*, on_postgres: bool) -> list[list[Fault]]:
    """The faults of such a world, by what they are of."""
    return [[each for each in group if (each.on_postgres if on_postgres else each.on_sqlite)] for group in _GROUPS]


def torture(
    choose: Callable[[Random], Sequence[Fault]],
    *,
    seed: int,
    seconds: float,
    on_postgres: bool,
    say: Callable[[str], None],
    quiet_seconds: tuple[float, float] = QUIET_SECONDS,
) -> Outcome:
    """Makes a world, tortures it, and takes it away.

    Args:
        choose: the faults that come next, together; none: that was all.
        seed: what chance does.
        seconds: how long.
        on_postgres: else on SQLite.
        say: told of each fault.
        quiet_seconds: between them.
    """
    random = Random(seed)
    inflicted: list[Inflicted] = []
    with world(on_postgres=on_postgres) as tortured:
        with tortured.connecting():
            over = time.monotonic() + seconds
            while time.monotonic() < over and (faults := choose(random)):
                at_work = _at_work(tortured)
                time.sleep(random.uniform(*quiet_seconds))
                inflicted += _inflict(tortured, faults, random, say, at_work=at_work)
            time.sleep(quiet_seconds[1])
            tortured.revive()
            until(lambda: all(map(tortured.role, ROLES)), _REST_SECONDS, "both roles at work again")
        return _account(tortured, inflicted)


def at_random(faults: Sequence[Sequence[Fault]]) -> Callable[[Random], Sequence[Fault]]:
    """Each as often as any, in an order by chance; now and then two of different groups at once.

    After whatever has the store begin anew the books begin anew as well: that comes first, and once only.
    """
    forgetting = [each for group in faults for each in group if each.forgets]
    lasting = [[each for each in group if not each.forgets] for group in faults]
    waiting = list(forgetting)

    def choose(random: Random) -> Sequence[Fault]:
        if not waiting:
            waiting.extend(each for group in lasting for each in group)
            random.shuffle(waiting)
        first = waiting.pop()
        others = [each for group in lasting if first not in group for each in group]
        return [first, random.choice(others)] if others and random.random() < _SECOND_FAULT else [first]

    return choose


def _at_work(tortured: World) -> bool:
    """Waits a while for both roles: a fault that meets nobody shows nothing."""
    seen = len(tortured.text)
    try:
        until(lambda: "  snapshot " in tortured.text[seen:] and tortured.role("detect"), _RECOVERY_SECONDS, "at work")
    except TimeoutError:
        return False
    return True


def _inflict(
    tortured: World, faults: Sequence[Fault], random: Random, say: Callable[[str], None], *, at_work: bool
) -> list[Inflicted]:
    done = []
    with ExitStack() as stack:
        for fault in faults:
            lasts = random.uniform(*fault.seconds)
            say(f"{fault.name}, for {lasts:.1f} s")
            done.append(Inflicted(fault, len(tortured.text), lasts, at_work))
            stack.enter_context(fault.inflict(tortured, random))
            time.sleep(lasts)
    tortured.revive()
    return done


def _account(tortured: World, inflicted: Sequence[Inflicted]) -> Outcome:
    wrong = []
    try:
        until(lambda: not any((tortured.state / "spool").iterdir()), _REST_SECONDS, "all stored")
        # What was connected last stands in one that is still to come; after the end nobody would detect it.
        last = tortured.number(_NEWEST) + 2
        until(lambda: tortured.number(_NEWEST) >= last, _REST_SECONDS, "the last of it stored")
        until(lambda: _at_rest(tortured, last), _REST_SECONDS, "all detected and told")
    except TimeoutError as fault:
        wrong.append(f"{fault}; {_standing(tortured)}")
    if code := tortured.end():
        wrong.append(f"the service ended with exit code {code}")
    text = tortured.text
    if "Traceback" in text:
        wrong.append(f"a traceback: {text[text.index('Traceback') :][:2000]}")
    if left := tortured.group.processes():
        wrong.append(f"processes were left: {left}")
    wrong += _verified(tortured)
    with tortured.store() as engine:
        stored = read_store(engine, HOST, MARK_RULE)
    lines = balance(read_ledger(tortured.ledger), stored, tortured.mailbox.taken)
    return Outcome(lines, inflicted, text, stored.told, wrong)


def _at_rest(tortured: World, last: int) -> bool:
    """Whether detection has come to a snapshot, and nothing waits any more."""
    try:
        if tortured.number(_SEEN) < last or tortured.number(_WAITING):
            return False
    except StoreError:
        return False
    return not any((tortured.state / "spool").iterdir())


def _standing(tortured: World) -> str:
    """How far everything has come."""
    spooled = len(list((tortured.state / "spool").iterdir()))
    return (
        f"detection is at snapshot {tortured.number(_SEEN)} of {tortured.number(_NEWEST)}, "
        f"{tortured.number(_WAITING)} notifications wait, and {spooled} files in the spool"
    )


def _verified(tortured: World) -> list[str]:
    """What `detector verify` has to say."""
    done = tortured.place.run("--config", str(tortured.config), "verify", user=tortured.account)
    return [] if done.returncode == 0 else [f"detector verify: {done.stdout}{done.stderr}"]


def keep(outcome: Outcome, folder: Path) -> None:
    """Keeps what the service said."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "said").write_text(outcome.text)
