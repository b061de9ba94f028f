"""A scan that goes on and on is one alert for each who scans, and nobody else waits for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from detector.config import Channel, Models, Settings
from detector.notify.outbox import deliver_channel
from detector.pipeline import detect_next, hosts_behind
from detector.ruleset.load import load_rules
from detector.service.detecting import build_stages
from detector.store.alerts import list_alerts
from detector.store.engine import reading
from detector.store.outbox import StoredOutbox
from tests.builders import Recorder, count
from tests.notify.samples import POLICY, Receiver, entries

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.domain import ConnectionCount

_USERS = ("alice", "bob", "carol")
_SNAPSHOTS, _OF_SCAN, _PORTS = 24, 6, 90
_SCAN = "Port scan of one destination"


def test_three_scans_without_end_are_three_alerts(sqlite_engine: Engine) -> None:
    """Each is told when it begins and when it has grown tenfold, and is one alert with all of its connects; what
    another user does meanwhile is told with its snapshot. (`benchmarks scan_hour` is the same with all ports.)
    """
    settings = Settings(models=Models(burn_in_hours=24), channels=(Channel(name="mail", url="mailto://localhost"),))
    stages = build_stages(settings, load_rules(settings.rule_folders).ruleset)
    recorder, channel = Recorder(sqlite_engine, unpacked=False), Receiver()
    told: list[list[str]] = []
    for number in range(_SNAPSHOTS):
        recorder.snapshot(*_scans(number), *([_chat()] if number == _SNAPSHOTS // 2 else []))
        (host_id,) = hosts_behind(sqlite_engine)
        detect_next(sqlite_engine, host_id, stages)
        deliver_channel(StoredOutbox(sqlite_engine), "mail", channel, clock=lambda: datetime.now(UTC), policy=POLICY)
        told.append([text for text in channel.texts if "dave" in text])
    with reading(sqlite_engine) as connection:
        scans = [each for each in list_alerts(connection) if each.rule_title == _SCAN]
    assert [len(each) for each in told] == [0] * (_SNAPSHOTS // 2) + [1] * (_SNAPSHOTS // 2)
    assert {each.group["login_user"] for each in scans} == set(_USERS)
    assert [(each.attempted, each.ports) for each in scans] == [(_SNAPSHOTS * _PORTS // _OF_SCAN, _PORTS)] * len(_USERS)
    numbers = {each.alert_id for each in scans}
    reasons = [each.reason for each in entries(sqlite_engine) if each.channel == "mail" and each.alert_id in numbers]
    assert sorted(reasons) == ["grown tenfold"] * len(_USERS) + ["opened"] * len(_USERS)


def _scans(number: int) -> list[ConnectionCount]:
    """What the three do in one snapshot: a sixth of the ports, each time the next."""
    part = _PORTS // _OF_SCAN
    first = 1 + number % _OF_SCAN * part
    return [
        count(f"10.0.4.{place}", port, user=user, login_user=user, executable="/usr/bin/nmap", attempted=1, refused=1)
        for place, user in enumerate(_USERS)
        for port in range(first, first + part)
    ]


def _chat() -> ConnectionCount:
    return count("93.184.216.34", 6667, user="dave", login_user="dave", executable="/usr/bin/irssi")
