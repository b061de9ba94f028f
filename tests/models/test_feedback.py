"""What people say of alerts is learnt, and can be taken back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, insert, select, update

from detector import shipped
from detector.alerts.book import AlertBook
from detector.config import Models
from detector.domain import Verdict
from detector.models import training
from detector.models.features import FEATURES
from detector.models.feedback import rows_of
from detector.pipeline import Stages, detect_next
from detector.ruleset.evaluate import RuleSet
from detector.ruleset.load import load_rules
from detector.service import feedback
from detector.store.cursors import create_cursors
from detector.store.engine import reading, writing
from detector.store.feedback import listed
from detector.store.old_alerts import expire
from detector.store.tables import (
    alert_verdict_keys,
    alert_verdict_subjects,
    alerts,
    detection_cursors,
    evidence,
    snapshots,
)
from tests.builders import START, alert_values, count, insert_alert
from tests.models.conftest import Watched, usual

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.domain import ConnectionCount, Observation

_NEW = count("203.0.113.66", 4444, executable="/tmp/.x", user="www-data", login_user=None)
_HOURS = timedelta(hours=1)


@pytest.fixture
def quiet(quiet: Watched) -> Watched:
    """The quiet host, of which one false alert a day may be told."""
    quiet.settings = Models(train_every_hours=720, false_alerts_per_day=1.0)
    quiet.restart()
    return quiet


def _told(quiet: Watched, *counts: ConnectionCount, alert_id: int = 1) -> list[Observation]:
    """Writes the next snapshot, and an alert of all that is unusual in it."""
    observed = quiet.snapshot(*counts)
    unusual = [each for each in observed if each.unusual]
    assert unusual
    now = quiet.recorder.now
    with writing(quiet.engine) as connection:
        connection.execute(
            insert(alerts).values(
                alert_values(
                    alert_id=alert_id,
                    fingerprint=f"{alert_id}" * 32,
                    rule_id=shipped.ANOMALY_RULE,
                    score=max(each.score or 0.0 for each in unusual),
                    explanations=[[max(each.surprise or 0.0 for each in unusual), "never seen before"]],
                    opened_at=now,
                    start=now - quiet.interval,
                    end=now,
                )
            )
        )
        seq = connection.scalar(select(func.max(snapshots.c.seq)))
        for each in unusual:
            place = {"seq": seq, "key_id": each.key_id, "session": each.session, "found_seq": seq}
            connection.execute(insert(evidence).values(alert_id=alert_id, **place))
    return unusual


def _say(quiet: Watched, verdict: Verdict, alert_id: int = 1) -> feedback.Taken:
    with writing(quiet.engine) as connection:
        taken = feedback.record(connection, alert_id, verdict, author="alice", now=quiet.recorder.now)
    assert taken is not None
    return taken


def _undo(quiet: Watched, alert_id: int = 1) -> feedback.Taken | None:
    with writing(quiet.engine) as connection:
        return feedback.undo(connection, alert_id)


def _pass(quiet: Watched, hours: int, *counts: ConnectionCount) -> list[Observation]:
    """Hour by hour, the host does what it usually does, and this; gives what was said of the latter."""
    quiet.recorder.interval = _HOURS
    return [each for _ in range(hours) for each in quiet.snapshot(*usual(), *counts)[len(usual()) :]]


def test_what_is_benign_is_told_no_more_until_that_is_taken_back(quiet: Watched) -> None:
    """At once, with who said so in place of why it is strange; once taken back, it is as strange as it was."""
    (strange,) = _told(quiet, _NEW)
    assert _say(quiet, Verdict.BENIGN).keys == 1
    (benign,) = quiet.would_say(_NEW)
    assert not benign.unusual
    assert (benign.p_novelty, benign.p_actor) == (1.0, 1.0)
    assert benign.explanation == "usual, since alice called this benign on 2026-03-03, by alert 1"

    taken = _undo(quiet)
    assert taken is not None
    assert (taken.verdict, taken.keys) == (Verdict.BENIGN, 1)
    (again,) = quiet.would_say(_NEW)
    assert again.unusual
    assert (again.surprise or 0) > 0.9 * (strange.surprise or 0)
    assert _undo(quiet) is None


def test_what_is_benign_is_learnt_and_unlearnt(quiet: Watched) -> None:
    """After three days of it nothing is strange about it; taken back even then, it is as strange as it was."""
    _told(quiet, _NEW)
    _say(quiet, Verdict.BENIGN)
    assert not any(each.unusual for each in _pass(quiet, 72, _NEW))
    with writing(quiet.engine) as connection:
        keys = connection.execute(alert_verdict_keys.delete())
        assert keys.rowcount == 1
    (learnt,) = quiet.would_say(_NEW)
    assert not learnt.unusual
    _undo(quiet)
    (again,) = quiet.would_say(_NEW)
    assert again.unusual


def test_what_is_benign_is_told_again_when_it_is_far_more(quiet: Watched) -> None:
    """A word on a few hundred connects is none on a hundred thousand; nor on another person, or another place."""
    many = count("10.0.4.12", 22, attempted=400)
    _told(quiet, many)
    _say(quiet, Verdict.BENIGN)
    assert not any(each.unusual for each in quiet.would_say(many))
    assert not any(each.unusual for each in quiet.would_say(count("10.0.4.12", 22, attempted=500)))
    (more,) = quiet.would_say(count("10.0.4.12", 22, attempted=100_000))
    assert more.unusual
    others = (_NEW, count("10.0.4.12", 4444))
    assert all(each.unusual for other in others for each in quiet.would_say(other))


def test_what_is_true_stays_strange_for_a_week(quiet: Watched) -> None:
    """However often it is met: it is not learnt. Once that is taken back it is judged by itself alone."""
    _told(quiet, _NEW)
    assert _say(quiet, Verdict.TRUE).keys == 1
    week = _pass(quiet, 7 * 24, _NEW)
    assert all(each.unusual for each in week)
    assert week[-1].explanation is not None
    assert week[-1].explanation.startswith("this is behind alert 1, which alice called true on 2026-03-03")
    assert week[-1].channel is not None
    _undo(quiet)
    (alone,) = quiet.would_say(_NEW)
    assert alone.unusual
    assert alone.explanation is not None
    assert "alice" not in alone.explanation


def test_of_a_key_of_every_day_only_what_is_strange_is_true(quiet: Watched) -> None:
    """A burst over the usual connection was an attack: the connection itself is usual as before, and learnt."""
    many = count("10.0.4.12", 22, attempted=4000)
    _told(quiet, many)
    _say(quiet, Verdict.TRUE)
    with reading(quiet.engine) as connection:
        (said,) = listed(connection)
    assert (said.keys, said.limited_keys, said.rows) == (1, 1, 1)
    assert not any(each.unusual for each in quiet.snapshot(*usual(1)))
    (again,) = quiet.would_say(many)
    assert again.unusual
    assert again.explanation is not None
    assert "alice called true" in again.explanation


def test_the_last_word_counts(quiet: Watched) -> None:
    """Benign first and true then, of one alert or of two about the same: nothing is left of the former."""
    _told(quiet, _NEW)
    _say(quiet, Verdict.BENIGN)
    _say(quiet, Verdict.TRUE)
    assert all(each.unusual for each in quiet.snapshot(_NEW))
    with reading(quiet.engine) as connection:
        assert connection.scalar(select(func.count()).select_from(alert_verdict_subjects)) == 0
    _told(quiet, _NEW, alert_id=2)
    _say(quiet, Verdict.BENIGN, 2)
    assert not any(each.unusual for each in quiet.would_say(_NEW))


def test_said_once_more_it_is_about_what_came_since(quiet: Watched) -> None:
    """What was kept before it was learnt stays as it was."""
    _told(quiet, _NEW)
    _say(quiet, Verdict.BENIGN)
    other = count("203.0.113.67", 4445, executable="/tmp/.y", user="www-data", login_user=None)
    observed = quiet.snapshot(_NEW, other)
    with writing(quiet.engine) as connection:
        seq = connection.scalar(select(func.max(snapshots.c.seq)))
        for each in observed:
            place = {"seq": seq, "key_id": each.key_id, "session": 0, "found_seq": seq}
            connection.execute(insert(evidence).values(alert_id=1, **place))
    assert _say(quiet, Verdict.BENIGN).keys == 2
    assert not any(each.unusual for each in quiet.would_say(_NEW, other))
    _undo(quiet)
    assert all(each.unusual for each in quiet.would_say(_NEW, other))


def test_forests_are_compared_by_what_was_said(quiet: Watched) -> None:
    """Rows behind the alerts stand beside those that are held back, with their figures in the reason."""
    _told(quiet, _NEW)
    _say(quiet, Verdict.TRUE)
    with reading(quiet.engine) as connection:
        assert rows_of(connection, 1, Verdict.TRUE).shape == (1, len(FEATURES))
        assert rows_of(connection, 1, Verdict.BENIGN).shape == (0, len(FEATURES))
        material = training.gather(connection, 1, quiet.settings)
    trained = training.train(material, START)
    assert trained.figures["true_rows"] == 1
    assert trained.figures["true"] > 0.5
    assert "true alerts " in trained.reason


def test_words_go_with_their_alert(quiet: Watched) -> None:
    """When an alert has expired, what was said of it does not hold any more, and nothing refers to it."""
    _told(quiet, _NEW)
    _say(quiet, Verdict.BENIGN)
    while expire(quiet.engine, before=quiet.recorder.now + _HOURS, limit=100):
        pass
    with reading(quiet.engine) as connection:
        assert listed(connection) == []
        assert connection.scalar(select(func.count()).select_from(alert_verdict_keys)) == 0


def test_nothing_is_learnt_of_no_alert(quiet: Watched) -> None:
    """It is not there."""
    with writing(quiet.engine) as connection:
        assert feedback.record(connection, 99, Verdict.TRUE, author="alice", now=START) is None


def test_people_are_told_as_they_said(quiet: Watched) -> None:
    """Through the shipped rule: an alert, none after it was called benign, one once that is taken back, and one again
    each time after that was called true.
    """
    ruleset = RuleSet(
        each for each in load_rules([shipped.folder("rules")]).ruleset.rules if each.rule_id == shipped.ANOMALY_RULE
    )
    stages = Stages(scorer=quiet.scorer, ruleset=ruleset, alert_book=AlertBook([], timedelta(minutes=1)))
    with writing(quiet.engine) as connection:
        create_cursors(connection)
        newest = connection.scalar(select(func.max(snapshots.c.seq)))
        connection.execute(update(detection_cursors).values(seq=newest))

    def told() -> list[int]:
        quiet.recorder.pass_time(minutes=5)
        quiet.recorder.snapshot(*usual(1), _NEW)
        assert detect_next(quiet.engine, 1, stages)
        with reading(quiet.engine) as connection:
            ours = select(alerts.c.alert_id).where(alerts.c.rule_id == shipped.ANOMALY_RULE)
            return list(connection.scalars(ours.order_by(alerts.c.alert_id)))

    first = told()
    assert len(first) == 1
    _say(quiet, Verdict.BENIGN, first[0])
    assert told() == told() == first
    _undo(quiet, first[0])
    second = told()
    assert len(second) == 2
    _say(quiet, Verdict.TRUE, second[1])
    assert len(told()) == 3
    assert len(told()) == 4


def test_words_are_kept_alike_by_both_databases(engine: Engine) -> None:
    """Benign, then true, then nothing: keys, rows and what is unlearnt, on SQLite and Postgres."""
    watched = Watched(engine, Models(burn_in_hours=0))
    watched.snapshot(*usual())
    observed = watched.snapshot(_NEW)
    insert_alert(engine, alert_id=3, start=watched.recorder.now - watched.interval, end=watched.recorder.now)
    with writing(engine) as connection:
        place = {"seq": 2, "key_id": observed[0].key_id, "session": 0, "found_seq": 2}
        connection.execute(insert(evidence).values(alert_id=3, **place))
    kept = []
    for verdict in (Verdict.BENIGN, Verdict.TRUE):
        assert _say(watched, verdict, 3).keys == 1
        watched.snapshot(_NEW)
        with reading(engine) as connection:
            (said,) = listed(connection)
            levels = list(connection.scalars(select(alert_verdict_keys.c.level)))
            subjects = connection.scalar(select(func.count()).select_from(alert_verdict_subjects)) or 0
            kept.append((said.verdict, said.keys, said.limited_keys, said.rows, levels, subjects))
    # Of the alert: the surprise of its first sentence. Of the key: its pair and destination, twice its actors'.
    assert kept == [(Verdict.BENIGN, 1, 1, 1, [2.5], 6), (Verdict.TRUE, 1, 0, 1, [0.0], 0)]
    assert _undo(watched, 3) is not None
    (judged,) = watched.snapshot(_NEW)
    assert judged.explanation is None or "alice" not in judged.explanation
