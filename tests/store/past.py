"""A past that is rolled up and expires, in the store and as plain rows, which are gone through one by one."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from sqlalchemy import delete, update

from detector.domain import CHANNELS, Observation, Outcome
from detector.store import observations, rollups
from detector.store.cursors import create_cursors
from detector.store.engine import writing
from detector.store.filters import HistoryFilter
from detector.store.packed import read_one
from detector.store.rollups import DAY, HOUR, floor
from detector.store.tables import (
    detection_cursors,
    hourly_counts,
    metadata,
    packed_counts,
    packed_observations,
    snapshots,
)
from tests.builders import Recorder, count

if TYPE_CHECKING:
    from sqlalchemy import Engine

NOON = datetime.fromisoformat("2026-03-02T12:00:00+00:00")
OUTCOMES = ("attempted", "established", "refused", "timed_out", "failed")
_SCORES = (0.25, 0.5, 0.875)


@dataclass(frozen=True)
class Plain:
    """A key in one snapshot, hour or day."""

    host: str
    resolution: str
    start: datetime
    end: datetime
    seq: int
    identity: tuple[Any, ...]
    """Of the key and the session: user, login user, address, port, session."""
    named: tuple[Any, ...]
    """Where the login came from, and what the destination was called."""
    counts: tuple[int, ...]
    score: float | None
    snapshots: int = 1
    first_seen: datetime = NOON
    last_seen: datetime = NOON

    @property
    def user(self) -> str:
        return str(self.identity[0])

    def whole(self) -> tuple[Any, ...]:
        """All that is told of it."""
        return (
            *(self.host, self.resolution, self.start, self.end, self.identity, self.named),
            *(self.counts, self.score, self.snapshots),
        )


@dataclass(frozen=True)
class Story:
    """What happened, and what became of it."""

    steps: tuple[tuple[int, int, tuple[tuple[int, ...], ...]], ...]
    """Minutes without snapshots, minutes of the snapshot, and its counts."""
    detected: int
    rolled: int
    """The snapshots that are left out of roll-ups, from the end."""
    raw_hours: int
    hourly_days: int
    """How much is left of what is rolled up, back from its end."""
    chunk: int


_COUNT = st.tuples(
    st.integers(0, 2), st.integers(0, 3), st.integers(0, 2), st.integers(0, 2), st.integers(0, 4), st.integers(0, 3)
)
_STEP = st.tuples(
    st.sampled_from([0, 0, 0, 1, 20, 60, 300, 1500]),
    st.sampled_from([1, 7, 10, 30, 59, 60, 130]),
    st.lists(_COUNT, max_size=4, unique_by=lambda each: each[:3]).map(tuple),
)
STORIES = st.builds(
    Story,
    steps=st.lists(_STEP, min_size=1, max_size=14).map(tuple),
    detected=st.integers(0, 3),
    rolled=st.integers(0, 6),
    raw_hours=st.sampled_from([0, 1, 5, 24, 30, 1000]),
    hourly_days=st.sampled_from([0, 1, 2, 1000]),
    chunk=st.sampled_from([1, 2, 5, 360]),
)


def empty(engine: Engine) -> None:
    """Forgets the story before."""
    with writing(engine) as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))


@dataclass
class Past:
    """A story in the store."""

    engine: Engine
    story: Story
    rows: list[Plain] = field(default_factory=list)
    host: str = "bastion-1"

    def write(self) -> list[Plain]:
        """Stores it, rolls it up, lets it expire; gives the rows that are left of it."""
        recorder = Recorder(self.engine, host=self.host, now=NOON)
        refs = []
        for pause, minutes, counts in self.story.steps:
            recorder.pass_time(minutes=pause)
            recorder.interval = timedelta(minutes=minutes)
            ref = recorder.snapshot(*(_count(*each) for each in counts))
            refs.append(ref)
            scored = len(refs) <= len(self.story.steps) - self.story.detected
            if scored and counts:
                self._observe(ref)
            for each in counts:
                self.rows.append(_plain(self.host, ref, each, scored=scored))
        until = len(refs) - self.story.rolled
        if until <= 0:
            return self.rows
        with writing(self.engine) as connection:
            create_cursors(connection)
            of_host = detection_cursors.c.host_id == refs[0].host_id
            connection.execute(update(detection_cursors).where(of_host).values(seq=until))
        self._roll_up(refs[0].host_id)
        return self._expire(refs[0].host_id, until)

    def _observe(self, ref: Any) -> None:
        with writing(self.engine) as connection:
            packed = read_one(connection, ref)
            assert packed is not None
            said = []
            for row in range(packed.rows):
                numbers = packed.numbers(row)
                score = _score(numbers["attempted"], numbers["refused"])
                surprise = None if score is None else _SURPRISES[score]
                nothing = dict.fromkeys(("channel", "novelty", *(f"p_{name}" for name in CHANNELS), "explanation"))
                said.append(
                    Observation(
                        key_id=numbers["key_id"], session=numbers["session"], score=score, surprise=surprise, **nothing
                    )
                )
            observations.write(connection, ref, packed, said)

    def _roll_up(self, host_id: int) -> None:
        before = rollups._AT_ONCE
        rollups._AT_ONCE = self.story.chunk
        try:
            while rollups.advance(self.engine, host_id, now=NOON + timedelta(days=365)).more:
                pass
        finally:
            rollups._AT_ONCE = before

    def _expire(self, host_id: int, until: int) -> list[Plain]:
        rolled = [row for row in self.rows if row.seq <= until]
        newest = max((row.end for row in rolled), default=NOON)
        raw = newest - timedelta(hours=self.story.raw_hours)
        hourly = min(floor(newest - timedelta(days=self.story.hourly_days), DAY), floor(raw, DAY))
        with writing(self.engine) as connection:
            for table in (packed_counts, packed_observations, snapshots):
                columns = table.c
                connection.execute(
                    delete(table).where(columns.host_id == host_id, columns.seq <= until, columns.end <= raw)
                )
            columns = hourly_counts.c
            connection.execute(delete(hourly_counts).where(columns.host_id == host_id, columns.start < hourly))
        left = [row for row in self.rows if row.seq > until]
        hours: dict[Any, list[Plain]] = defaultdict(list)
        for row in rolled:
            hours[row.identity[:4], row.named, floor(row.start, HOUR)].append(row)
        days: dict[Any, list[Plain]] = defaultdict(list)
        for (key, named, hour), rows in hours.items():
            if hour < hourly:
                days[key, named, floor(hour, DAY)] += rows
            elif all(row.end > raw for row in rows):
                left += rows
            else:
                left.append(_sum(rows, "hour", hour, HOUR))
        return left + [_sum(rows, "day", day, DAY) for (_, _, day), rows in days.items()]


def _sum(rows: list[Plain], resolution: str, start: datetime, length: timedelta) -> Plain:
    scores = [row.score for row in rows if row.score is not None]
    return replace(
        rows[0],
        resolution=resolution,
        start=start,
        end=start + length,
        seq=0,
        identity=(*rows[0].identity[:4], 0),
        counts=tuple(map(sum, zip(*(row.counts for row in rows), strict=True))),
        score=max(scores, default=None),
        snapshots=len(rows),
        first_seen=min(row.start for row in rows),
        last_seen=max(row.end for row in rows),
    )


def _score(attempted: int, refused: int) -> float | None:
    return None if attempted % 4 == 3 else _SCORES[(attempted + refused) % 3]


_SURPRISES = {0.25: 0.12493873660829995, 0.5: 0.3010299956639812, 0.875: 0.9030899869919435}
_USERS = ("alice", "bob", "root")
_ADDRESSES = ("10.0.4.12", "10.0.5.1", "192.0.2.1", "fd00::1")
_ORIGINS: tuple[dict[str, Any], ...] = (
    {},
    {"login_address": "203.0.113.7", "login_source": "logind"},
    {"login_address": "198.51.100.9", "login_source": "logind"},
)
_NAMES: tuple[dict[str, Any], ...] = (
    {},
    {"remote_name": "db.example.org", "remote_name_source": "udp answer of 10.0.0.2", "remote_country": "NL"},
    {"remote_name": "web.example.org", "remote_name_source": "udp answer of 10.0.0.2", "remote_country": "DE"},
)


def _count(user: int, address: int, session: int, named: int, attempted: int, refused: int) -> Any:
    return count(
        _ADDRESSES[address],
        22 + address % 2,
        user=_USERS[user],
        session=session,
        attempted=attempted + refused,
        refused=refused,
        established=attempted,
        **_ORIGINS[named],
        **_NAMES[(named + session) % 3],
    )


def _plain(host: str, ref: Any, each: tuple[int, ...], *, scored: bool) -> Plain:
    user, address, session, named, attempted, refused = each
    name = _NAMES[(named + session) % 3]
    return Plain(
        host=host,
        resolution="snapshot",
        start=ref.start,
        end=ref.end,
        seq=ref.seq,
        identity=(_USERS[user], "alice", _ADDRESSES[address], 22 + address % 2, session),
        named=(_ORIGINS[named].get("login_address"), name.get("remote_name"), name.get("remote_country")),
        counts=(attempted + refused, attempted, refused, 0, 0),
        score=_score(attempted + refused, refused) if scored else None,
        first_seen=ref.start,
        last_seen=ref.end,
    )


_CUTS = st.one_of(
    st.none(),
    st.integers(-60, 60 * 24 * 5).map(lambda minutes: NOON + timedelta(minutes=minutes)),
    st.integers(-1, 100).map(lambda hours: NOON + timedelta(hours=hours)),
)


@st.composite
def filters(draw: st.DrawFn, *, exact: bool = False) -> dict[str, Any]:
    """Criteria, by name of `HistoryFilter`."""
    since, until = draw(_CUTS), draw(_CUTS)
    if since is not None and until is not None and since >= until:
        since, until = until, since
    if since == until:
        until = None
    choices: dict[str, Any] = {
        "user": st.sampled_from(["alice", "*o*", "nobody"]),
        "remote_name": st.sampled_from(["db.*", "*", "none"]),
        "login_address": st.sampled_from(["203.0.113.7"]),
        "port": st.sampled_from([22, 23]),
    }
    if not exact:
        choices |= {
            "outcome": st.sampled_from([Outcome.REFUSED, Outcome.ESTABLISHED]),
            "min_score": st.sampled_from([0.1, 0.5, 0.8]),
        }
    names = draw(st.lists(st.sampled_from(sorted(choices)), max_size=2, unique=True))
    return {"since": since, "until": until, **{name: draw(choices[name]) for name in names}}


def wanted_of(criteria: dict[str, Any]) -> HistoryFilter:
    """The filter of the store."""
    from ipaddress import ip_network

    values = dict(criteria)
    if (address := values.pop("login_address", None)) is not None:
        values["login_addresses"] = ip_network(address)
    if (port := values.pop("port", None)) is not None:
        values["ports"] = (range(port, port + 1),)
    return HistoryFilter(**values)


def matches(row: Plain, criteria: dict[str, Any]) -> bool:
    """What a filter means, for one row."""
    since, until = criteria["since"], criteria["until"]
    if row.resolution == "snapshot":
        if (since is not None and row.end <= since) or (until is not None and row.end > until):
            return False
    elif (since is not None and row.last_seen <= since) or (until is not None and row.first_seen >= until):
        return False
    user, _, _, port, _ = row.identity
    address, name, _ = row.named
    return (
        fnmatchcase(user, criteria.get("user", "*"))
        and ("remote_name" not in criteria or (name is not None and fnmatchcase(name, criteria["remote_name"])))
        and ("login_address" not in criteria or address == criteria["login_address"])
        and port == criteria.get("port", port)
        and ("outcome" not in criteria or row.counts[OUTCOMES.index(criteria["outcome"])] > 0)
        and ("min_score" not in criteria or (row.score is not None and row.score >= criteria["min_score"]))
    )


def cut(row: Plain, criteria: dict[str, Any]) -> bool:
    """Whether the period cuts it in two."""
    return any(
        edge is not None and row.first_seen < edge < row.last_seen for edge in (criteria["since"], criteria["until"])
    )
