"""Goes through a host's stored past with a rule: what may matter is read, and the rest never looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import func, select

from detector.ruleset.categories import CATEGORIES
from detector.ruleset.matched import Matched, Taken
from detector.ruleset.matchers import EventMatcher
from detector.ruleset.replayed_correlation import ReplayedCorrelation
from detector.ruleset.replayed_events import ReplayedEvents
from detector.ruleset.sought import Sought
from detector.store import past
from detector.store.candidates import Candidates, Reader
from detector.store.extent import Asked, Crowded, extent, windows_begin
from detector.store.kinds import Kinds
from detector.store.moments import taken
from detector.store.packing import COUNT_COLUMNS
from detector.store.scratch import Scratch
from detector.store.tables import daily_counts, detection_cursors, snapshots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt
    from sqlalchemy import Connection

    from detector.domain import Finding, SnapshotRef
    from detector.ruleset.evaluate import Rule
    from detector.store.extent import Extent, Part, Span

    Numbers = npt.NDArray[np.int64]

# Rows that are in the database in memory beside those of windows, some 10 MB.
ROWS_AT_ONCE = 50_000
# Rows of which only numbers are held.
NUMBERS_AT_ONCE = 200_000
_CAPTURED_AT_ONCE = 50_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The longest snapshot, and the rest of the hour that it began in.
_SPARE = timedelta(hours=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is looked at."""

    since: datetime | None = None
    """Snapshots that ended after it; None: as far back as there are any."""
    until: datetime | None = None
    host: str | None = None
    """A pattern of names; None: every host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnHost:
    """A rule, and the past of one host.

    Args:
        past: the database of the past.
        memory: see `scratch.opened`; it has the lists that the rule names.
        rule: the rule, loaded for this alone.
        host_id: number of the host.
        host: its name.
        wanted: what is looked at.
        period: what is stored of it.
        told: is called with the part of 1 that is done.
    """

    past: Connection
    memory: Connection
    rule: Rule
    host_id: int
    host: str
    wanted: Wanted
    period: Extent
    told: Callable[[float], None]

    @property
    def looks_at_single_snapshots(self) -> bool:
        """Whether `matched` tells what it finds; else `findings` does."""
        return isinstance(self.rule.matcher, EventMatcher)

    def remembered_since(self) -> datetime | None:
        """From when on what the rule remembers is stored; None: for its whole window, or it remembers nothing."""
        matcher, start = self.rule.matcher, self.period.start
        if not isinstance(matcher, EventMatcher):
            return None
        remembering = matcher.baseline or matcher.new_terms
        if remembering is None:
            return None
        oldest = select(func.min(snapshots.c.end)).where(snapshots.c.host_id == self.host_id)
        known = self.past.scalar(oldest) or start
        if matcher.new_terms is not None:
            days = select(func.min(daily_counts.c.start)).where(daily_counts.c.host_id == self.host_id)
            known = min(known, self.past.scalar(days) or known)
        return known if known > start - remembering.window else None

    def matched(self) -> Iterator[tuple[ReplayedEvents, Matched]]:
        """The rows that a rule matches that looks at single snapshots, some of them at a time, in order."""
        whole = self._whole()
        replay = ReplayedEvents(self.rule, self.host_id, self.host)
        first = self._taken((whole.first, whole.first))
        replay.begin(self.past, first.ref(0, self.host_id, self.host))
        pages = self._captured(replay, whole) if self._about_capture else self._counted(replay, whole)
        for matched in pages:
            # Numbers and times may differ in order, where the clock was set back.
            yield replay, matched.within(self.wanted.since, self.wanted.until)

    def findings(self) -> Iterator[tuple[SnapshotRef, list[Finding]]]:
        """The findings of each snapshot that has any, of a correlation, in order."""
        since, until = self.wanted.since, self.wanted.until
        replay = ReplayedCorrelation(self.rule, self.host_id, self.host, self.past)
        replayed = self._captured_windows(replay) if self._about_capture else self._counted_windows(replay)
        for snapshot, found_here in replayed:
            if (since is None or snapshot.end > since) and (until is None or snapshot.end <= until):
                yield snapshot, found_here

    @property
    def _about_capture(self) -> bool:
        return self.rule.matcher.wanted.category is not CATEGORIES["network_connection"]

    @property
    def _timespan(self) -> timedelta:
        """How far the window of a correlation reaches back."""
        return timedelta(0) if isinstance(self.rule.matcher, EventMatcher) else self.rule.matcher.timespan

    def _whole(self) -> Extent:
        """What is read: the period, and before it what windows reach back to and what else is remembered."""
        matcher, since, back = self.rule.matcher, self.wanted.since, self._timespan
        if isinstance(matcher, EventMatcher):
            back = timedelta(0) if matcher.baseline is None else matcher.baseline.window + _SPARE
        whole = self.period
        if since is not None and back:
            whole = extent(self.past, self.host_id, since - back, self.wanted.until) or whole
        if isinstance(matcher, EventMatcher) and matcher.new_terms is not None:
            # Days tell what was there before, as far as they go.
            cursor = select(detection_cursors.c.rolled_seq).where(detection_cursors.c.host_id == self.host_id)
            known = (self.past.scalar(cursor) or 0) + 1
            if known < whole.first:
                whole = extent(self.past, self.host_id, None, self.wanted.until, (known, whole.last)) or whole
        return whole

    def _counted(self, replay: ReplayedEvents, whole: Extent) -> Iterator[Matched]:
        """Counts are packed: each kind of them that may matter is looked at once, in memory."""
        sought = Sought.by(self.rule)
        kinds = Kinds(sought.counts, dated=sought.dated)
        rows = Scratch(self.past, self.memory, self.host_id, sought.tables)
        reader = self._reader(sought, whole, (*sought.counts, "session"), NUMBERS_AT_ONCE)
        for part in past.choose(self.past, self._asked(sought), whole):
            for read in reader.read(part):
                seqs = np.unique(read.seqs)
                there = self._taken(read.span, seqs)
                some = read if len(there.seqs) == len(seqs) else read.only(np.isin(read.seqs, there.seqs))
                which = np.searchsorted(there.seqs, some.seqs)
                of_kind, new = kinds.number(some, there.starts[which])
                if len(new):
                    rows.clear()
                    rows.add(some.only(new, seqs=of_kind[new]))
                    if sought.dated:
                        rows.date(of_kind[new], there.starts[which[new]], there.ends[which[new]])
                    replay.learn(self.memory, (int(of_kind[new[0]]), int(of_kind[new[-1]])))
                yield replay.matched(there, which, of_kind, some.columns["key_id"], some.columns["session"])

    def _captured(self, replay: ReplayedEvents, whole: Extent) -> Iterator[Matched]:
        """Snapshots are plain rows: they are looked at where they are."""
        for span in self._spans(whole):
            yield replay.captured(self.past, self._taken(span), span)

    def _captured_windows(self, replay: ReplayedCorrelation) -> Iterator[tuple[SnapshotRef, list[Finding]]]:
        for span in self._spans(self.period):
            ends = extent(self.past, self.host_id, None, None, span)
            if ends is None:
                continue
            for snapshot in replay.candidates(self.past, self._since(span, ends.earliest, ends.end), span):
                if findings := replay.evaluate(self.past, snapshot):
                    yield snapshot, findings

    def _spans(self, whole: Extent) -> Iterator[Span]:
        for first in range(whole.first, whole.last + 1, _CAPTURED_AT_ONCE):
            span = (first, min(first + _CAPTURED_AT_ONCE - 1, whole.last))
            yield span
            self.told((span[1] - whole.first + 1) / (whole.last - whole.first + 1))

    def _counted_windows(self, replay: ReplayedCorrelation) -> Iterator[tuple[SnapshotRef, list[Finding]]]:
        """The rows that may matter are unpacked into memory, window by window."""
        whole, sought = self._whole(), Sought.by(self.rule)
        reader = self._reader(sought, whole, COUNT_COLUMNS, ROWS_AT_ONCE)
        rows = Scratch(self.past, self.memory, self.host_id, sought.tables)
        parts = past.choose(self.past, self._asked(sought), whole)
        # From here on all rows are in memory.
        held = whole.first
        for part in parts:
            for read in reader.read(part):
                span = read.span
                there = self._taken(span, np.unique(read.seqs))
                if not len(ends := there.ends):
                    continue
                needed = self._since(
                    span, *(_EPOCH + timedelta(microseconds=int(each)) for each in (ends.min(), ends.max()))
                )
                if needed < held:
                    # The clock was set back: a window reaches to what was done with.
                    for again in self._again(reader, parts, (needed, held - 1)):
                        before = self._taken(again.span, np.unique(again.seqs))
                        rows.date(before.seqs, before.starts, before.ends)
                        rows.add(again)
                else:
                    rows.forget(needed)
                held = needed
                rows.date(there.seqs, there.starts, there.ends)
                rows.add(read)
                for snapshot in replay.candidates(self.memory, held, (max(span[0], self.period.first), span[1])):
                    rows.show(snapshot, self._timespan)
                    if findings := replay.evaluate(self.memory, snapshot):
                        yield snapshot, findings

    def _taken(self, span: Span, among: Numbers | None = None) -> Taken:
        seqs, starts, ends = taken(self.past, self.host_id, span, among)
        return Taken(seqs=seqs, starts=starts, ends=ends)

    def _reader(self, sought: Sought, whole: Extent, columns: Sequence[str], most_rows: int) -> Reader:
        return Reader(
            connection=self.past,
            host_id=self.host_id,
            columns=tuple(dict.fromkeys(columns)),
            said=sought.said,
            may_say=None if sought.of_words is None else partial(sought.may_say, self.memory),
            most_rows=most_rows,
            told=lambda seq: self.told((seq - whole.first + 1) / (whole.last - whole.first + 1)),
        )

    def _since(self, span: Span, earliest: datetime, latest: datetime) -> int:
        """The first snapshot of the windows that end in a span."""
        return windows_begin(self.past, self.host_id, span, earliest - self._timespan, latest)

    def _again(self, reader: Reader, parts: Sequence[Part], span: Span) -> Iterator[Candidates]:
        for part in parts:
            clipped = [(max(first, span[0]), min(last, span[1])) for first, last in part.spans]
            yield from reader.read(replace(part, spans=[each for each in clipped if each[0] <= each[1]]))

    def _asked(self, sought: Sought) -> Asked:
        crowd = sought.crowd
        return Asked(
            host_id=self.host_id,
            of_key=sought.of_key,
            of_hour=sought.of_hour,
            hours_say_more=sought.hours_say_more,
            crowd=None
            if crowd is None
            else Crowded(
                threshold=crowd.threshold,
                timespan=crowd.timespan,
                group=crowd.group,
                value=crowd.value,
                sums=crowd.sums,
            ),
        )
