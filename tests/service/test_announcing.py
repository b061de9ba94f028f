"""People are told what no rule finds: what ends, which detector has stopped, that all is well."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from detector.config import Channel, Settings
from detector.config_heartbeat import Heartbeat, check_heartbeat
from detector.config_routes import Route
from detector.domain import Notice, Severity
from detector.errors import ConfigError, TemplateFault
from detector.matchers import parse
from detector.ruleset.endings import Ending
from detector.service.announcing import Announcing, Stops, of_filters, of_silences
from detector.store import alert_silences, cursors, detectors, notices
from detector.store.alert_silences import Silence
from detector.store.engine import reading, writing
from detector.store.tables import snapshots as snapshot_table
from tests.builders import Recorder, count
from tests.notify.samples import entries
from tests.service.test_delivering import Faults

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOURS = timedelta(hours=1)


def _settings(**values: object) -> Settings:
    channels = (
        Channel(name="mail", url="json://127.0.0.1"),
        Channel(name="pager", url="json://127.0.0.1", min_severity=Severity.HIGH),
    )
    return Settings(**{"host": "worker-1", "channels": channels, **values})  # type: ignore[arg-type]


def _announcing(
    engine: Engine, settings: Settings | None = None, ends: Sequence[Ending] = (), faults: Sequence[TemplateFault] = ()
) -> Announcing:
    return Announcing(engine, settings or _settings(), lambda: ends, lambda: faults, Event(), Faults())


def _told(engine: Engine) -> list[tuple[str, str]]:
    """Channel and title of what was told, but for the console."""
    found = []
    with reading(engine) as connection:
        for each in entries(engine):
            if each.notice_id is not None and each.channel != "console":
                notice = notices.read(connection, each.notice_id)
                assert isinstance(notice, Notice)
                assert notice.content is not None
                found.append((each.channel, str(notice.content["title"])))
    return found


@pytest.mark.parametrize(
    ("lasts", "left", "is_told"),
    [(240, 24, True), (240, 25, False), (8, 2, True), (8, 2.1, False), (3, 0.1, False), (240, 0, False)],
)
def test_a_silence_is_announced_in_its_last_part(lasts: float, left: float, is_told: bool) -> None:
    """A day before, or a quarter of its time if that is less; a short one is not, nor one that is over."""
    silence = Silence(
        silence_id=3,
        matchers=(parse("user=backup"),),
        starts_at=NOW + (left - lasts) * HOURS,
        ends_at=NOW + left * HOURS,
        author="ben",
        reason="the migration",
        created_at=NOW,
        expired_by=None,
    )
    found = list(of_silences([silence], NOW))
    assert [each.title.startswith("Silence 3 ends") for each in found] == [True] * is_told
    for each in found:
        assert "user=backup" in each.lines[0]
        assert "ben has made it: the migration" in each.lines[0]


def test_filters_are_announced_a_day_before() -> None:
    """And neither earlier nor once they have ended."""
    ends = [
        Ending(what="the filter", title=str(hours), until=NOW + timedelta(hours=hours)) for hours in (-1, 0, 1, 24, 25)
    ]
    assert [each.title.split(" ends")[0] for each in of_filters(ends, NOW)] == ["The filter 1", "The filter 24"]


def test_what_ends_is_told_once(engine: Engine) -> None:
    """To the channels that take it, however often and by however many detectors it is seen; a new end is told anew."""
    with writing(engine) as connection:
        number = alert_silences.add(
            connection,
            [parse("user=backup")],
            starts_at=NOW - 48 * HOURS,
            ends_at=NOW + 2 * HOURS,
            author="ben",
            reason="the migration",
            now=NOW - 48 * HOURS,
        )
    ends = [Ending(what="the filter", title="Backups", until=NOW + HOURS)]
    announcing = _announcing(engine, ends=ends)
    for _ in range(2):
        announcing.look(NOW)
    _announcing(engine, ends=ends).look(NOW)
    assert _told(engine) == [
        ("mail", f"Silence {number} ends 2026-03-02 11:00 UTC"),
        ("mail", "The filter Backups ends 2026-03-02 10:00 UTC"),
    ]


def test_routes_choose_who_is_told(sqlite_engine: Engine) -> None:
    """A notice goes where an alert of a rule with its kind as id would go."""
    routes = (Route(channels=("mail",), rule=("*ending",)), Route(channels=("pager",)))
    everyone = tuple(Channel(name=name, url="json://127.0.0.1") for name in ("mail", "pager"))
    settings = _settings(routes=routes, channels=everyone)
    _announcing(sqlite_engine, settings, [Ending(what="the filter", title="B", until=NOW + HOURS)]).look(NOW)
    assert [channel for channel, _ in _told(sqlite_engine)] == ["mail"]


def test_a_detector_that_stopped_is_noticed_by_another(engine: Engine) -> None:
    """One that is not heard of any more is told of once, by this process' clock, however wrong its own is."""
    clock = [0.0]
    stops = Stops("worker-1", lambda: clock[0])
    wrong = NOW + 100 * HOURS
    seen = {"worker-1": NOW, "worker-2": wrong}
    for at, stopped in ((0.0, []), (60.0, []), (95.0, ["worker-2"])):
        clock[0] = at
        assert [name for name, _ in stops.stopped(seen, NOW)] == stopped
    seen["worker-2"] = wrong + HOURS
    clock[0] = 200.0
    assert list(stops.stopped(seen, NOW)) == []

    for name in ("worker-1", "worker-3"):
        with writing(engine) as connection:
            detectors.note(connection, "worker-2", wrong)
        announcing = _announcing(engine, _settings(host=name))
        announcing._stops = Stops(name, lambda: clock[0])
        announcing.look(NOW)
        clock[0] += 1000
        announcing.look(NOW)
        with writing(engine) as connection:
            detectors.leave(connection, name)
    assert _told(engine) == [(name, "The detector on worker-2 has stopped") for name in ("mail", "pager")]
    with reading(engine) as connection:
        assert detectors.seen(connection) == {}


def test_refused_templates_are_told_once_a_day_while_it_lasts(sqlite_engine: Engine) -> None:
    """Not at the first look, when the file may be about to be written; by each detector of its own files."""
    faults = [TemplateFault("/etc/detector/templates/message.md", 3, "is not understood; see docs/messages.md")]
    announcing = _announcing(sqlite_engine, faults=faults)
    announcing.look(NOW)
    assert _told(sqlite_engine) == []
    for hours in (0, 1, 25):
        announcing.look(NOW + hours * HOURS)
    assert _told(sqlite_engine) == [("mail", "A template of messages cannot be used on worker-1")] * 2
    with reading(sqlite_engine) as connection:
        notice = notices.newest(connection, "templates refused")
    assert notice is not None
    assert notice.content is not None
    lines = notice.content["lines"]
    assert isinstance(lines, list)
    first, last = lines
    assert first == "/etc/detector/templates/message.md:3: is not understood; see docs/messages.md"
    assert last.endswith("See: detector notify preview")


def test_a_planned_stop_makes_no_noise(engine: Engine) -> None:
    """A detector that ends in order takes its leave; one that was killed says so when it is back, and once."""
    _announcing(engine).look(NOW)
    stopped = Event()
    stopped.set()
    Announcing(engine, _settings(), tuple, tuple, stopped, Faults()).run()
    with reading(engine) as connection:
        assert detectors.seen(connection) == {}
    _announcing(engine).look(NOW + HOURS)
    assert _told(engine) == []
    back = _announcing(engine)
    for _ in range(2):
        back.look(NOW + 3 * HOURS)
    assert _told(engine) == [(name, "The detector on worker-1 has stopped") for name in ("mail", "pager")]
    _announcing(engine).look(NOW + 3 * HOURS + timedelta(minutes=1))
    assert len(_told(engine)) == 2


def test_a_channel_is_told_that_all_is_well(engine: Engine) -> None:
    """Once in each part of the time, by whichever detector; not at the start; and what is wrong, if that is so."""
    settings = _settings(heartbeat=Heartbeat(channels=("mail",), channel_hours=6.0))
    first, second = _announcing(engine, settings), _announcing(engine, settings)
    first.look(NOW)
    assert _told(engine) == []
    for hours in (5, 6):
        first._started = second._started = float("-inf")
        for each in (first, second):
            each.look(NOW + hours * HOURS)
    assert _told(engine) == [("mail", "The detector does not do its work: no snapshot is stored yet")]
    ref = Recorder(engine).snapshot(count())
    with writing(engine) as connection:
        cursors.create_cursors(connection)
        cursors.advance_cursor(connection, ref)
        connection.execute(update(snapshot_table).values(mark=b"m" * 16, start=NOW + 12 * HOURS, end=NOW + 12 * HOURS))
    for each in (first, second):
        each.look(NOW + 12 * HOURS)
    assert _told(engine)[1:] == [("mail", "The detector works")]


def test_channels_of_the_heartbeat_exist() -> None:
    """One that is not configured is refused by name."""
    with pytest.raises(ConfigError, match="no channel 'mial'"):
        check_heartbeat(Heartbeat(channels=("mial",)), ["mail"], "file")
