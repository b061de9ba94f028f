"""What an operator can rely on: burn-in, surprise, explanations, restarts, both databases."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.config import Models
from detector.domain import Observation
from detector.models import threshold
from detector.models.scorer import learning
from detector.store.engine import reading, writing
from tests.builders import count
from tests.examples import examples
from tests.models.conftest import Watched, usual

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.domain import ConnectionCount

_SHORT = Models(burn_in_hours=2.5, train_every_hours=2.5)


def _bare(observed: Observation) -> bool:
    return observed == Observation(
        key_id=observed.key_id,
        session=observed.session,
        score=None,
        surprise=None,
        channel=None,
        novelty=None,
        p_novelty=None,
        p_volume=None,
        p_forest=None,
        explanation=None,
    )


def _busy(seed: int, snapshots: int) -> list[tuple[ConnectionCount, ...]]:
    """Snapshots of a host with several people and programs, and now and then something new."""
    chance = random.Random(seed)
    people, programs = ("alice", "bob", "root"), ("/usr/bin/ssh", "/usr/bin/curl", "/usr/bin/rsync")
    made = []
    for _ in range(snapshots):
        rows = {
            (host, port, person, program): count(
                f"10.0.4.{host}",
                port,
                user=person,
                login_user=person,
                executable=program,
                attempted=chance.randint(1, 9),
                refused=chance.randint(0, 1),
                session=chance.randint(0, 2),
            )
            for host, port, person, program in (
                (
                    chance.randint(1, 12),
                    chance.choice((22, 22, 443, 873)),
                    chance.choice(people),
                    chance.choice(programs),
                )
                for _ in range(25)
            )
        }
        inbound = count(f"192.0.2.{chance.randint(1, 200)}", 22, direction="inbound", established=chance.randint(1, 4))
        made.append((*rows.values(), inbound))
    return made


def test_burn_in_is_stated_and_gives_no_scores(sqlite_engine: Engine) -> None:
    """While a host is learnt there are no scores, and how long that will last is said."""
    watched = Watched(sqlite_engine, Models(burn_in_hours=1))
    for number in range(1, 12):
        observed = watched.snapshot(*usual())
        assert all(_bare(each) for each in observed)
        assert not watched.learning.finished
        assert watched.learning.elapsed_seconds == number * 300
        assert watched.learning.required_seconds == 3600
    observed = watched.snapshot(*usual())
    assert watched.learning.finished
    assert all(each.score is not None for each in observed)
    with reading(sqlite_engine) as connection:
        assert learning(connection, 1, watched.settings) == watched.learning


def test_empty_snapshots_are_time_observed(sqlite_engine: Engine) -> None:
    """A host that does nothing is learnt as well; a gap without snapshots is not."""
    watched = Watched(sqlite_engine, Models(burn_in_hours=1))
    watched.snapshot()
    watched.recorder.pass_time(hours=5)
    watched.snapshot()
    assert watched.learning.elapsed_seconds == 600


def test_a_jump_of_the_clock_is_not_time_observed(sqlite_engine: Engine) -> None:
    """A clock that is set forward in the middle of a snapshot does not end burn-in."""
    watched = Watched(sqlite_engine, interval=timedelta(days=400))
    watched.snapshot(*usual())
    assert watched.learning.elapsed_seconds == 3600


def test_without_burn_in_scores_come_from_the_first_snapshot(sqlite_engine: Engine) -> None:
    """With burn_in_hours = 0 there are scores at once, and nothing is strange yet."""
    watched = Watched(sqlite_engine, Models(burn_in_hours=0))
    (first,) = watched.snapshot(count())
    assert first.channel is None
    assert first.surprise is not None
    assert first.surprise < 0.1
    assert first.novelty == "port"
    assert first.p_forest is None


def test_first_contact_after_a_quiet_day_is_strange_and_says_why(quiet: Watched) -> None:
    """A new destination on a quiet host scores above .99, by novelty, in a sentence."""
    (observed,) = quiet.would_say(count("10.0.9.7", 22, user=None, login_user=None, executable=None))
    assert observed.score is not None
    assert observed.score > 0.99
    assert (observed.channel, observed.novelty) == ("novelty", "destination")
    assert observed.explanation is not None
    assert observed.explanation.startswith(
        "first contact with 10.0.9.7; this host meets a new destination on port 22 in about 1 hour of "
    )


@pytest.mark.parametrize(
    ("address", "port", "novelty"),
    [
        ("10.0.4.99", 22, "destination_in_known_network"),
        ("10.0.4.12", 443, "pair"),
        ("10.0.4.12", 4444, "port"),
        ("10.0.4.12", 8080, "common_port"),
        ("127.0.0.1", 22, "address_class"),
    ],
)
def test_what_is_new_is_named(quiet: Watched, address: str, port: int, novelty: str) -> None:
    """Each kind of novelty has its name, once, and a sentence with the address."""
    for _ in range(24):
        quiet.snapshot(*usual(1))
    (observed,) = quiet.snapshot(count(address, port))
    assert observed.novelty == novelty
    assert observed.explanation is not None
    assert address in observed.explanation
    (again,) = quiet.snapshot(count(address, port))
    assert again.novelty is None


def test_what_was_new_stays_strange_for_a_day(quiet: Watched) -> None:
    """A strange destination is still strange an hour later, on another port as well, and no longer after three days."""
    (first,) = quiet.snapshot(count("10.0.4.12", 4444))
    for _ in range(11):
        quiet.snapshot(*usual(1))
    (later,) = quiet.would_say(count("10.0.4.12", 4444))
    (other,) = quiet.would_say(count("10.0.4.12", 22, attempted=3, established=3))
    assert first.surprise is not None
    assert later.surprise is not None
    assert other.surprise is not None
    assert 0.9 * first.surprise < later.surprise < first.surprise
    assert other.surprise > 0.7 * first.surprise
    assert later.explanation == (
        "10.0.4.12 port 4444 is still new: the first contact with this destination or port was 1 h ago and was unusual"
    )
    quiet.recorder.interval = timedelta(hours=1)
    for _ in range(72):
        quiet.snapshot(*usual())
    (much_later,) = quiet.would_say(count("10.0.4.12", 4444))
    assert much_later.p_novelty is not None
    assert much_later.p_novelty > 0.1


def test_larger_bursts_are_stranger(quiet: Watched) -> None:
    """On a known key 20,000 connects surprise more than 200, those more than 20, and those more than the usual 3."""
    surprises = []
    for attempted in (3, 20, 200, 20_000):
        (observed,) = quiet.would_say(count("10.0.4.12", 22, attempted=attempted))
        surprises.append(observed.surprise or 0.0)
    assert surprises == sorted(set(surprises))
    assert observed.channel in ("volume", "host_volume")
    assert observed.explanation is not None
    assert re.match(r"20,0\d\d connects .*10\.0\.4\.12|20,0\d\d connects and flows of the whole", observed.explanation)


@pytest.mark.parametrize(("attempted", "learnt"), [(8, True), (200, False)])
def test_where_the_threshold_is_low_what_is_not_strange_is_learnt(
    quiet: Watched, attempted: int, *, learnt: bool
) -> None:
    """People are told of both; of the smaller burst for less than an hour, of the larger for as long as it lasts."""
    with writing(quiet.engine) as connection:
        state = threshold.load(connection, 1, 1.0)
        threshold._save(connection, 1, replace(state, observed=0.3, hours=1000))
    quiet.settings = Models(false_alerts_per_day=1.0)
    quiet.restart()
    burst = count("10.0.4.12", 22, attempted=attempted, established=attempted)
    first, *_, last = [quiet.snapshot(burst)[0] for _ in range(12)]
    assert first.surprise is not None
    assert last.surprise is not None
    assert first.unusual
    assert (last.surprise < 0.7 * first.surprise) == learnt
    assert last.unusual == (not learnt)


def test_usual_traffic_stays_usual(quiet: Watched) -> None:
    """What the host does every day never comes near an alert."""
    highest = max(each.surprise or 0.0 for number in range(48) for each in quiet.snapshot(*usual(number)))
    assert highest < 0.5


def test_a_burst_is_put_down_to_who_made_it(quiet: Watched) -> None:
    """Of two processes that connect to the same place, the one that made the burst answers for it."""
    few, many = sorted(
        quiet.would_say(
            count("10.0.4.12", 22, attempted=3),
            count("10.0.4.12", 22, attempted=3000, executable="/usr/bin/nc", command="nc"),
        ),
        key=lambda each: each.key_id,
    )
    assert (few.p_volume, few.channel) == (1.0, None)
    assert many.p_volume is not None
    assert many.p_volume < 1e-6


def test_inbound_connections_are_judged_by_volume_alone(quiet: Watched) -> None:
    """Strangers who knock are nothing new; how often they knock is."""
    for _ in range(24):
        quiet.snapshot(*(count(f"198.51.100.{n}", 22, direction="inbound", established=1) for n in (7, 8)))
    (stranger,) = quiet.would_say(count("203.0.113.9", 22, direction="inbound", established=1))
    assert (stranger.p_novelty, stranger.novelty) == (1.0, None)
    assert stranger.score is not None
    assert stranger.score < 0.9
    (burst,) = quiet.would_say(count("203.0.113.9", 22, direction="inbound", established=900))
    assert burst.score is not None
    assert burst.score > 0.99
    assert burst.explanation is not None
    assert "inbound connections from the network of 203.0.113.9 to port 22" in burst.explanation


def test_an_outcome_of_an_earlier_attempt_is_no_volume(quiet: Watched) -> None:
    """A row that only tells how an earlier attempt ended counts no connects."""
    (observed,) = quiet.would_say(count("10.0.4.12", 22, timed_out=5000))
    assert observed.p_volume == 1.0


def test_explanations_hold_no_names(quiet: Watched) -> None:
    """What a watched process calls itself does not get into a sentence."""
    evil = "/tmp/<!channel>\x1b[2J"
    observed = quiet.would_say(
        count("10.0.9.7", 22, executable=evil, command=evil, user=evil, login_user=evil, unit=evil, container=evil)
    )
    assert observed[0].explanation is not None
    assert "channel" not in observed[0].explanation
    assert observed[0].explanation.isprintable()


def test_observations_come_in_the_order_of_the_counts(quiet: Watched) -> None:
    """Each observation belongs to the count at its place, sessions apart."""
    observed = quiet.would_say(*(count(f"10.0.4.{n}", 22, session=s) for n in range(9, 2, -1) for s in (2, 1)))
    places = [(each.key_id, each.session) for each in observed]
    assert places == sorted(places)
    assert len(set(places)) == 14


def test_hosts_are_learnt_apart(quiet: Watched) -> None:
    """What one host does every day is new on another."""
    other = Watched(quiet.engine, Models(burn_in_hours=0), host="bastion-2")
    other.snapshot()
    other.recorder.interval = timedelta(hours=1)
    other.snapshot()
    (observed,) = other.snapshot(usual()[0])
    assert observed.novelty == "port"


def test_a_restart_changes_nothing(engine: Engine) -> None:
    """A new worker for every snapshot gives exactly the observations that one long-lived worker gives."""
    steady, restarted = (Watched(engine, _SHORT, host=name, interval=timedelta(minutes=15)) for name in ("one", "two"))
    forests = 0
    for rows in _busy(seed=1, snapshots=26):
        restarted.restart()
        expected, observed = steady.snapshot(*rows), restarted.snapshot(*rows)
        assert observed == expected
        assert restarted.learning == steady.learning
        forests += any(each.p_forest is not None for each in expected)
    assert forests > 8


def test_a_rolled_back_transaction_leaves_no_trace(engine: Engine) -> None:
    """Scoring that is undone and done again gives the same, before, at and after a training."""
    steady, undone = (Watched(engine, _SHORT, host=name, interval=timedelta(minutes=15)) for name in ("one", "two"))
    for rows in _busy(seed=2, snapshots=20):
        attack = (*rows, count("203.0.113.5", 4444, attempted=5000))
        undone.would_say(*attack)
        now = steady.recorder.now
        steady.recorder.snapshot(*attack)  # never scored; keys are numbered alike
        steady.recorder.now = now
        expected, first, second = steady.snapshot(*rows), undone.would_say(*rows), undone.snapshot(*rows)
        assert first == second == expected


def test_both_databases_give_the_same(sqlite_engine: Engine, postgres_engine: Engine) -> None:
    """SQLite and Postgres give the same observations."""
    on_sqlite, on_postgres = (
        Watched(engine, _SHORT, interval=timedelta(minutes=15)) for engine in (sqlite_engine, postgres_engine)
    )
    for rows in _busy(seed=3, snapshots=22):
        assert on_postgres.snapshot(*rows) == on_sqlite.snapshot(*rows)


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    last=st.integers(1, 30),
    port=st.sampled_from((22, 443, 873, 4444, 40_000)),
    attempted=st.integers(0, 10**9),
    more=st.integers(1, 10**9),
    failed=st.integers(0, 100),
)
def test_surprise_grows_with_the_count(
    quiet: Watched, last: int, port: int, attempted: int, more: int, failed: int
) -> None:
    """Probabilities are above 0 and at most 1, scores from 0 to 1, and more connects never surprise less."""
    (less,) = quiet.would_say(count(f"10.0.4.{last}", port, attempted=attempted, failed=failed))
    (greater,) = quiet.would_say(count(f"10.0.4.{last}", port, attempted=attempted + more, failed=failed))
    for observed in (less, greater):
        assert all(0 < p <= 1 for p in (observed.p_novelty, observed.p_volume, observed.p_forest) if p is not None)
        assert observed.p_novelty is not None
        assert observed.p_volume is not None
        assert observed.score is not None
        assert observed.surprise is not None
        assert 0 <= observed.score <= 1
        assert observed.surprise >= 0
    assert greater.surprise is not None
    assert less.surprise is not None
    assert greater.surprise >= less.surprise
