"""Rules compare with named lists, however long these are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, func, select, update

from detector.alerts.book import AlertBook
from detector.config import Models
from detector.models.scorer import HostScorer
from detector.pipeline import Stages, detect_next, hosts_behind
from detector.ruleset.load import load_rules
from detector.store.engine import open_store, reading, writing
from detector.store.migrating import upgrade
from detector.store.tables import list_ranges, named_lists
from tests.builders import Recorder, count
from tests.ruleset.writing import correlation, evaluated, event, loaded, rule_id, write_list

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from detector.ruleset.evaluate import RuleSet


def _prepared(engine: Engine, ruleset: RuleSet) -> RuleSet:
    with writing(engine) as connection:
        ruleset.prepare(connection)
    return ruleset


def _digests(engine: Engine) -> int:
    with reading(engine) as connection:
        kept = connection.scalar(select(func.count()).select_from(named_lists))
        with_ranges = connection.scalar(select(func.count(list_ranges.c.digest.distinct())))
    assert kept == with_ranges
    return int(kept or 0)


def test_a_list_of_networks_holds_what_is_in_it(engine: Engine, tmp_path: Path) -> None:
    """Addresses and networks of both families, overlapping ones as well; the edges count, what is missing does not."""
    write_list(
        tmp_path, "feed", "# bad", "10.1.0.0/16", "10.1.2.0/24  # again", "", "192.0.2.7", "2001:db8::/32", "::1"
    )
    rules = _prepared(engine, loaded(tmp_path, event({"DestinationIp|expand": "%feed%"}, group_by=["DestinationIp"])))
    inside = ["10.1.0.0", "10.1.2.9", "10.1.255.255", "192.0.2.7", "2001:db8::9", "::1"]
    outside = ["10.0.255.255", "10.2.0.0", "192.0.2.6", "192.0.2.8", "2001:db9::", "::2", "0.0.0.1", None]
    ref = Recorder(engine).snapshot(*(count(each) for each in (*inside, *outside)))
    found = {finding.group["remote_address"] for finding in evaluated(engine, rules, ref)}
    assert found == {str(ip_address(each)) for each in inside}


def test_all_of_the_internet_is_one_list(engine: Engine, tmp_path: Path) -> None:
    """::/0 does not hold IPv4, 0.0.0.0/0 does not hold IPv6, both together hold all."""
    for name, networks in (("six", ["::/0"]), ("four", ["0.0.0.0/0"]), ("both", ["::/0", "0.0.0.0/0"])):
        write_list(tmp_path, name, *networks)
    events = [
        event({"DestinationIp|expand": f"%{name}%"}, number=number, group_by=["DestinationIp"])
        for number, name in enumerate(("six", "four", "both"))
    ]
    rules = _prepared(engine, loaded(tmp_path, *events))
    ref = Recorder(engine).snapshot(*(count(each) for each in ("10.0.0.1", "2001:db8::1", "::", "255.255.255.255")))
    found = [(each.rule_id, each.group["remote_address"]) for each in evaluated(engine, rules, ref)]
    assert sorted(found) == sorted(
        (rule_id(number), address)
        for number, addresses in enumerate(
            (
                ["2001:db8::1", "::"],
                ["10.0.0.1", "255.255.255.255"],
                ["10.0.0.1", "2001:db8::1", "::", "255.255.255.255"],
            )
        )
        for address in addresses
    )


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("DestinationHostname|expand", "%sites%", ["evil.example", "a\\b"]),
        (
            "DestinationHostname|endswith|expand",
            "%sites%",
            ["evil.example", "www.EVIL.example", "notevil.example", "a\\b"],
        ),
        ("DestinationHostname|endswith|expand", ".%sites%", ["www.EVIL.example"]),
        ("DestinationHostname|startswith|expand", "%sites%", ["evil.example", "evil.example.org", "a\\b"]),
        (
            "DestinationHostname|contains|expand",
            "%sites%",
            ["evil.example", "www.EVIL.example", "notevil.example", "evil.example.org", "a\\b"],
        ),
        ("DestinationHostname|expand", "*.%sites%", ["www.EVIL.example"]),
        ("DestinationHostname|cased|expand", "www.%sites%", []),
        (
            "DestinationHostname|expand|neq",
            ["%sites%", "not%sites%"],
            ["www.EVIL.example", "evil.example.org", "éa", None],
        ),
        ("DestinationHostname|startswith|expand", "%accents%", ["éa"]),
        ("DestinationHostname|endswith|expand|all", ["%sites%", "w%sites%", "%accents%"], []),
    ],
)
def test_a_list_of_names_is_compared_as_the_rule_says(
    engine: Engine, tmp_path: Path, key: str, value: Any, expected: list[str | None]
) -> None:
    """Whole names, beginnings, ends and parts, with text around them, whatever the case of letters."""
    write_list(tmp_path, "sites", "Evil.example", "sub.evil.example", "a\\b")
    write_list(tmp_path, "accents", "É", "é")
    rules = _prepared(engine, loaded(tmp_path, event({key: value}, group_by=["DestinationHostname"])))
    names = ["evil.example", "www.EVIL.example", "notevil.example", "evil.example.org", "éa", "a\\b", None]
    ref = Recorder(engine).snapshot(*(count(f"10.0.0.{n}", remote_name=name) for n, name in enumerate(names)))
    found = [finding.group["remote_name"] for finding in evaluated(engine, rules, ref)]
    assert sorted(map(str, found)) == sorted(map(str, expected))


def test_a_list_of_ports_has_ports_and_ranges(engine: Engine, tmp_path: Path) -> None:
    """Numbers and ranges of a list of ports are those of the rule."""
    write_list(tmp_path, "odd", "22", "6000-6002", "6002-6004")
    rules = _prepared(
        engine, loaded(tmp_path, event({"DestinationPort|expand": "%odd%"}, group_by=["DestinationPort"]))
    )
    ref = Recorder(engine).snapshot(*(count(port=port) for port in (21, 22, 5999, 6000, 6004, 6005)))
    assert {each.group["remote_port"] for each in evaluated(engine, rules, ref)} == {22, 6000, 6004}


def test_correlations_and_negations_take_lists(engine: Engine, tmp_path: Path) -> None:
    """A list counts in the base rule of a correlation, weighted by outcome, and under a not."""
    write_list(tmp_path, "ours", "10.0.0.0/8")
    base = event({"Outcome": "refused"})
    base["detection"] |= {"ours": {"DestinationIp|expand": "%ours%"}, "condition": "selection and not ours"}
    rules = _prepared(engine, loaded(tmp_path, base, correlation(["User"], {"gte": 5})))
    recorder = Recorder(engine)
    recorder.snapshot(count("192.0.2.1", attempted=3, refused=3), count("10.0.0.1", attempted=9, refused=9))
    recorder.pass_time(seconds=10)
    ref = recorder.snapshot(count("192.0.2.1", attempted=3, refused=2))
    (finding,) = evaluated(engine, rules, ref)
    assert len(finding.evidence) == 2


def test_a_list_is_in_the_database_once(engine: Engine, tmp_path: Path) -> None:
    """Two rules, two names of one content and two programs write it once; another content is another list."""
    for name in ("one", "two"):
        write_list(tmp_path, name, "10.0.0.0/8", "192.0.2.1")
    events = [event({"DestinationIp|expand": f"%{name}%"}, number=n) for n, name in enumerate(("one", "two", "one"))]
    for _ in range(2):
        _prepared(engine, loaded(tmp_path, *events))
    assert _digests(engine) == 1
    write_list(tmp_path, "one", "10.0.0.0/8")
    _prepared(engine, loaded(tmp_path, *events))
    assert _digests(engine) == 2


def test_what_no_rule_has_wanted_for_a_month_is_forgotten(engine: Engine, tmp_path: Path) -> None:
    """Lists that rules still name stay, however old; others go with the next change, and come again if named."""
    write_list(tmp_path, "feed", "10.0.0.0/8")
    old = _prepared(engine, loaded(tmp_path, event({"DestinationIp|expand": "%feed%"})))
    write_list(tmp_path, "feed", "192.0.2.0/24")
    new = _prepared(engine, loaded(tmp_path, event({"DestinationIp|expand": "%feed%"})))
    assert _digests(engine) == 2
    with writing(engine) as connection:
        connection.execute(update(named_lists).values(used_at=datetime.now(UTC) - timedelta(days=31)))
    _prepared(engine, new)
    assert _digests(engine) == 1
    ref = Recorder(engine).snapshot(count("10.0.0.1"))
    with pytest.raises(RuntimeError, match="prepare it first"):
        evaluated(engine, old, ref)
    assert len(evaluated(engine, _prepared(engine, old), ref)) == 1


def test_detection_brings_the_lists_along(engine: Engine, tmp_path: Path) -> None:
    """A snapshot's transaction writes what is missing, so that a new list and a new database are not without."""
    write_list(tmp_path, "feed", "10.0.0.0/8")
    rules = loaded(tmp_path, event({"DestinationIp|expand": "%feed%"}))
    stages = Stages(scorer=HostScorer(Models()), ruleset=rules, alert_book=AlertBook([], timedelta(hours=1)))
    recorder = Recorder(engine, unpacked=False)
    for _ in range(2):
        recorder.snapshot(count("10.0.0.1"), count("192.0.2.1"))
        (host_id,) = hosts_behind(engine)
        detected = detect_next(engine, host_id, stages)
        assert detected is not None
        assert detected.findings == 1
        # As if the database had been replaced by an empty one.
        with writing(engine) as connection:
            for table in (list_ranges, named_lists):
                connection.execute(delete(table))


@pytest.mark.postgres
def test_of_two_workers_one_writes_a_list(postgres_engine: Engine, tmp_path: Path) -> None:
    """The other waits until it is there, and goes on with it; if the first one fails, it writes it itself."""
    write_list(tmp_path, "feed", "10.0.0.0/8")
    rules = loaded(tmp_path, event({"DestinationIp|expand": "%feed%"}))
    with ThreadPoolExecutor() as pool:
        for fails in (True, False):
            with postgres_engine.connect() as connection:
                transaction = connection.begin()
                rules.prepare(connection)
                second = pool.submit(_prepared, postgres_engine, rules)
                with pytest.raises(TimeoutError):
                    second.result(timeout=0.2)
                if fails:
                    transaction.rollback()
                else:
                    transaction.commit()
            second.result(timeout=10)
            assert _digests(postgres_engine) == 1
            with writing(postgres_engine) as connection:
                for table in (list_ranges, named_lists):
                    connection.execute(delete(table))


def test_rules_can_be_evaluated_elsewhere(tmp_path: Path) -> None:
    """A database in memory with the same schema takes the lists as well."""
    engine = open_store("sqlite://")
    upgrade(engine)
    write_list(tmp_path, "feed", "10.0.0.0/8")
    rules = _prepared(engine, loaded(tmp_path, event({"DestinationIp|expand": "%feed%"})))
    assert len(evaluated(engine, rules, Recorder(engine).snapshot(count("10.0.0.1")))) == 1


def test_a_list_of_a_later_folder_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    """So does one that is refused: going on with the other in silence would be worse."""
    for folder, line in (("a", "10.0.0.0/8"), ("b", "name")):
        (tmp_path / folder).mkdir()
        write_list(tmp_path / folder, "feed", line)
    assert load_rules([tmp_path / "a", tmp_path / "b"]).lists.known["feed"].names == ("name",)
    assert load_rules([tmp_path / "a"], checked=[tmp_path / "b"]).lists.known["feed"].names == ("name",)
    assert load_rules([tmp_path / "b"], checked=[tmp_path / "a"]).lists.known["feed"].networks
    write_list(tmp_path / "b", "feed", "10.0.0.1/8")
    loaded = load_rules([tmp_path / "a", tmp_path / "b"])
    assert (list(loaded.lists.known), list(loaded.lists.refused)) == ([], ["feed"])


def test_a_list_that_is_broken_stays_what_it_was(tmp_path: Path) -> None:
    """The fault is told, and rules go on with what was last good of it; the same as with rules."""
    write_list(tmp_path, "feed", "10.0.0.0/8")
    loaded(tmp_path, event({"DestinationIp|expand": "%feed%"}))
    before = load_rules([tmp_path])
    write_list(tmp_path, "feed", "10.0.0.1/8")
    after = load_rules([tmp_path], good=before.files, good_lists=before.lists)
    assert [fault.path for fault in after.faults] == [str(tmp_path / "lists" / "feed.txt")]
    assert len(after.ruleset.rules) == 1
