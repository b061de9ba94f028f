"""The category capture: one event is one snapshot, and how well it was taken."""

from __future__ import annotations

import operator
from functools import reduce
from typing import TYPE_CHECKING, Any

from sqlalchemy import Double, Integer, String, and_, case, func, literal_column, null
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from detector.ruleset.events import ANY, END, Category, Join, Rows
from detector.ruleset.fields import MOST, Field, Kind
from detector.store.tables import hosts, rule_faults, silences, snapshots, tamperings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement
    from sqlalchemy.sql.compiler import SQLCompiler

_SNAPSHOT = snapshots.c
_ONE, _ZERO = literal_column("1", Integer), literal_column("0", Integer)

PASSED, FAILED = "passed", "failed"


class SecondsBetween(FunctionElement[float]):
    """Seconds from one moment to another; NULL if either is."""

    type = Double()
    inherit_cache = True


@compiles(SecondsBetween)
def _seconds(element: SecondsBetween, compiler: SQLCompiler, **options: Any) -> str:
    since, until = (compiler.process(clause, **options) for clause in element.clauses)
    return f"(({until}) - ({since})) / 1e6"


@compiles(SecondsBetween, "postgresql")
def _seconds_postgres(element: SecondsBetween, compiler: SQLCompiler, **options: Any) -> str:
    since, until = (compiler.process(clause, **options) for clause in element.clauses)
    return f"CAST(EXTRACT(EPOCH FROM (({until}) - ({since}))) AS DOUBLE PRECISION)"


def _sum(columns: Iterable[ColumnElement[int]]) -> ColumnElement[Any]:
    total: ColumnElement[Any] = reduce(operator.add, columns)
    return total


def _number(name: str, column: str, meaning: str, example: str) -> Field:
    kind = Kind.INTEGER if column.startswith("lost_") else Kind.NUMBER
    return Field(name=name, word=column, kind=kind, expression=_SNAPSHOT[column], meaning=meaning, example=example)


_LOSSES = (
    _number("LostAttempted", "lost_attempted", "attempts that found no room among the counts", "12"),
    _number("LostEstablished", "lost_established", "successes that found no room", "12"),
    _number("LostRefused", "lost_refused", "refusals that found no room", "12"),
    _number("LostTimedOut", "lost_timed_out", "timeouts that found no room", "12"),
    _number("LostFailed", "lost_failed", "other ends that found no room", "12"),
    _number("LostInbound", "lost_inbound", "accepted connections that found no room", "12"),
    _number(
        "LostPendingFull",
        "lost_pending_full",
        "attempts that were counted, but whose outcome cannot be: too many were under way",
        "12",
    ),
    _number(
        "LostUnmatched",
        "lost_unmatched",
        "outcomes whose attempt was not seen, such as those of connects under way when capture begins",
        "12",
    ),
    _number("LostUnnamed", "lost_unnamed", "connects whose program could not be named", "12"),
    _number("LostUnread", "lost_unread", "reads of kernel memory that failed", "1"),
    _number("LostMissed", "lost_missed", "events that the kernel did not show", "1"),
    _number("Unnumbered", "lost_unnumbered", "attempts whose process could not be recorded: too many processes", "12"),
)
_APART = (
    _number(
        "Folded",
        "lost_folded",
        "attempts and outcomes counted by their process alone, without address and port: there were too many",
        "180000",
    ),
    _number("LostNames", "lost_names", "DNS answers that could not be read", "3"),
    _number(
        "LostSnapshots",
        "lost_snapshots",
        "snapshots given up before this one, which could not wait for the database any longer; what they had counted "
        "is among the losses above",
        "5",
    ),
)
_LOST = _sum(field.expression for field in _LOSSES)
_IS_COMPLETE = and_(
    _LOST + _sum(field.expression for field in _APART) == _ZERO,
    _SNAPSHOT.self_test_passed.is_not(False),
    _SNAPSHOT.gap_seconds == _ZERO,
)
# The clock may have been set back since.
_BLIND_SECONDS = case(
    (_SNAPSHOT.end >= _SNAPSHOT.blind_since, SecondsBetween(_SNAPSHOT.blind_since, _SNAPSHOT.end)),
    (_SNAPSHOT.blind_since.is_not(None), literal_column("0.0", Double)),
)
_ALL = (
    Field(
        name="Host",
        word="host",
        kind=Kind.TEXT,
        expression=hosts.c.host,
        meaning="name of the host that was watched",
        example="bastion-1",
        groups=True,
    ),
    Field(
        name="Complete",
        word="complete",
        kind=Kind.BOOLEAN,
        expression=case((_IS_COMPLETE, _ONE), else_=_ZERO),
        meaning="true: nothing was lost or folded, the self-test did not fail, and the snapshot joins the one "
        "before it",
        example="false",
        stored={True: 1, False: 0},
    ),
    Field(
        name="Lost",
        word="lost",
        kind=Kind.INTEGER,
        expression=_LOST,
        meaning="sum of the losses below, `Folded`, `LostNames` and `LostSnapshots` apart",
        example="312",
    ),
    *_LOSSES,
    *_APART,
    Field(
        name="SelfTest",
        word="self_test",
        kind=Kind.CHOICE,
        expression=case(
            (_SNAPSHOT.self_test_passed.is_(True), literal_column(f"'{PASSED}'", String)),
            (_SNAPSHOT.self_test_passed.is_(False), literal_column(f"'{FAILED}'", String)),
        ),
        meaning="whether the connect that the collector makes to test itself was counted; missing if it made none",
        example=FAILED,
        choices=(PASSED, FAILED),
        groups=True,
    ),
    Field(
        name="BlindSeconds",
        word="blind_seconds",
        kind=Kind.NUMBER,
        expression=_BLIND_SECONDS,
        meaning="from when the self-test last passed, or capture began, to the end of the snapshot; missing unless "
        "it fails now",
        example="20",
    ),
    _number("LateSeconds", "late_seconds", "how much later than due the counts were read", "30"),
    Field(
        name="ClockStepSeconds",
        word="clock_step_seconds",
        kind=Kind.NUMBER,
        expression=_SNAPSHOT.clock_step_seconds,
        meaning="how far the wall clock was set since the last snapshot: forward, or back (negative)",
        example="-300",
        minimum=-MOST,
    ),
    _number("SuspendedSeconds", "suspended_seconds", "how long the machine slept since the last snapshot", "3600"),
    _number(
        "GapSeconds",
        "gap_seconds",
        "time between the last stored snapshot and this one, if more than a second; a clock that was set forward "
        "shows in it too",
        "60",
    ),
    _number(
        "WaitedSeconds",
        "waited_seconds",
        "how long the snapshot waited for the database, if a second or more",
        "300",
    ),
    Field(
        name="SilentSeconds",
        word="silent_seconds",
        kind=Kind.NUMBER,
        expression=silences.c.silent_seconds,
        meaning="nothing has come of the host for so long, and this is its last snapshot; missing of any other",
        example="25",
    ),
    Field(
        name="Stopped",
        word="stopped",
        kind=Kind.BOOLEAN,
        expression=case((_SNAPSHOT.stopped, _ONE), else_=_ZERO),
        meaning="true: it is the last snapshot of a collector that was told to end",
        example="true",
        stored={True: 1, False: 0},
    ),
    Field(
        name="RulesRefused",
        word="rules_refused",
        kind=Kind.INTEGER,
        expression=rule_faults.c.files,
        meaning="so many rule files are refused: said of one host's last snapshot when it is noticed; missing of any "
        "other",
        example="1",
    ),
    Field(
        name="RuleFault",
        word="rule_fault",
        kind=Kind.TEXT,
        expression=rule_faults.c.fault,
        meaning="the first fault in them, as `detector rules check` says it",
        example="/etc/detector/rules/mine.yml:4: level is never 'lwo'; did you mean low?",
        groups=True,
    ),
    Field(
        name="Tampered",
        word="tampered",
        kind=Kind.INTEGER,
        expression=tamperings.c.breaks,
        meaning="in so many places the host's stored snapshots are not those that were written: said of one snapshot "
        "when it is noticed; missing of any other",
        example="1",
    ),
    Field(
        name="FirstBreak",
        word="first_break",
        kind=Kind.TEXT,
        expression=tamperings.c.first_break,
        meaning="the first of these places",
        example="snapshots 1,200 to 1,260 are missing",
        groups=True,
    ),
    Field(
        name="SetAside",
        word="set_aside",
        kind=Kind.TEXT,
        expression=_SNAPSHOT.set_aside,
        meaning="where a damaged database is, in a host's first snapshot of the one that took its place; else missing",
        example="/var/lib/detector/detector.db.damaged-20260302T090000Z",
        groups=True,
    ),
    Field(
        name="Unseen",
        word="unseen",
        kind=Kind.TEXT,
        expression=func.nullif(_SNAPSHOT.unseen, literal_column("''", String)),
        meaning="what this kernel does not show, in the words of `detector doctor`; missing if it shows all",
        example="names of destinations",
        groups=True,
    ),
)

CAPTURE = Category(
    name="capture",
    fields={field.name: field for field in _ALL},
    rows=Rows(
        table=snapshots,
        others=(
            Join(table=hosts, on=hosts.c.host_id == _SNAPSHOT.host_id),
            Join(
                table=silences,
                on=and_(silences.c.host_id == _SNAPSHOT.host_id, silences.c.seq == _SNAPSHOT.seq),
                outer=True,
            ),
            Join(
                table=rule_faults,
                on=and_(rule_faults.c.host_id == _SNAPSHOT.host_id, rule_faults.c.seq == _SNAPSHOT.seq),
                outer=True,
            ),
            Join(
                table=tamperings,
                on=and_(tamperings.c.host_id == _SNAPSHOT.host_id, tamperings.c.seq == _SNAPSHOT.seq),
                outer=True,
            ),
        ),
        # The snapshot itself, and no row of it.
        place=(_SNAPSHOT.seq, _ZERO, _ZERO),
        of_end=_SNAPSHOT.end == END,
        change=True,
    ),
    weights={ANY: _ONE},
    direction=null(),
    actors={None: (_ALL[0],)},
    example_group="[Host]",
    example_counted="SelfTest",
    example_summed="LostSnapshots",
)
