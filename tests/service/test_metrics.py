"""Figures for Prometheus and /healthz, asked for over real sockets as a scraper does."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import stat
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert, update

from detector import config, shipped
from detector.domain import Learning, Losses, NotificationState, Snapshot, SnapshotRef
from detector.errors import ConfigError
from detector.pipeline import STAGES, Detected
from detector.service.metrics import serving
from detector.service.metrics.catalogue import METRICS, Kind
from detector.service.metrics.exporting import Counted
from detector.service.metrics.page import page
from detector.service.metrics.serving import served
from detector.store import totals
from detector.store.engine import open_store, writing
from detector.store.snapshots import SnapshotWriter
from detector.store.tables import alert_silences, detection_cursors, hosts, notifications, replacements
from tests.builders import Lines, Recorder, count, insert_alert
from tests.service.test_delivering import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

_ROOT = Path(__file__).parents[2]


class Served:
    """A server, and what it answers."""

    def __init__(self, port: int, report: Counted) -> None:
        self.port, self.report = port, report

    def get(self, path: str) -> tuple[int, str]:
        """Status and body."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as fault:
            with fault:
                return fault.code, fault.read().decode()

    def figures(self) -> dict[str, float]:
        """By name, with labels as `name{a=b,c=d}`, as Prometheus' own parser reads it."""
        status, text = self.get("/metrics")
        assert status == 200
        found = {}
        for family in text_string_to_metric_families(text):
            for each in family.samples:
                labels = ",".join(f"{name}={value}" for name, value in each.labels.items())
                found[f"{each.name}{{{labels}}}" if labels else each.name] = each.value
        return found


@contextmanager
def _serving(engine: Engine, **more: str) -> Iterator[Served]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = engine.url.render_as_string(hide_password=False)
    environment = {"DETECTOR_METRICS_LISTEN": f"127.0.0.1:{port}", "DETECTOR_DATABASE_URL": url, **more}
    asked = open_store(url)
    with served(config.load(None, environment), asked, Faults()) as registry:
        yield Served(port, Counted(Lines(), registry))


@pytest.fixture
def watched(engine: Engine, tmp_path: Path) -> Iterator[Served]:
    """A server on an empty database."""
    with _serving(engine, DETECTOR_STATE_FOLDER=str(tmp_path)) as serving:
        yield serving


def _captured(engine: Engine, host: str, ago: float, losses: Losses | None = None) -> None:
    end = datetime.now(UTC) - timedelta(seconds=ago)
    sent = Snapshot(host=host, start=end - timedelta(seconds=10), end=end, counts=(), losses=losses or Losses())
    with writing(engine) as connection:
        ref = SnapshotWriter(host).write(connection, sent, mark=os.urandom(16))
        totals.advance(connection, ref, rows=2, attempted=5, findings=1)
        connection.execute(insert(detection_cursors).values(host_id=ref.host_id, seq=ref.seq))


def test_what_must_not_vanish_is_served(engine: Engine, watched: Served) -> None:
    """Losses by kind, what waits, was given up or is held, lags and sizes, from either database."""
    _captured(engine, "bastion-1", 5, Losses(attempted=312, snapshots=2))
    insert_alert(engine)
    now = datetime.now(UTC)
    capped = {"fingerprint": f"{shipped.HELD_BACK}1", "finding_count": 12, "end": now, "rule_id": shipped.ANOMALY_RULE}
    insert_alert(engine, alert_id=2, **capped)
    states = [("mail", NotificationState.DEAD, 90), ("mail", NotificationState.PENDING, 60)]
    with writing(engine) as connection:
        connection.execute(update(hosts).values(given_up=4))
        for name, state, ago in states:
            at = now - timedelta(seconds=ago)
            row = {"alert_id": 1, "channel": name, "reason": "opened", "state": state, "attempts": 1}
            connection.execute(insert(notifications).values(**row, created_at=at, next_attempt_at=at))
        took = {"created_at": now - timedelta(seconds=7), "next_attempt_at": now, "delivered_at": now}
        done = {"alert_id": 1, "channel": "slack", "reason": "opened", "state": NotificationState.DELIVERED}
        connection.execute(insert(notifications).values(**done, attempts=1, **took))
        ends = {"starts_at": now, "ends_at": now + timedelta(hours=1), "created_at": now}
        connection.execute(insert(alert_silences).values(matchers=[], author="kim", reason="work", **ends))
    found = watched.figures()
    expected = {
        "detector_lost_total{host=bastion-1,kind=attempted}": 312,
        "detector_lost_total{host=bastion-1,kind=snapshots}": 2,
        "detector_lost_total{host=bastion-1,kind=folded}": 0,
        "detector_snapshots_total{host=bastion-1}": 1,
        "detector_snapshots_incomplete_total{host=bastion-1}": 1,
        "detector_snapshots_given_up_total{host=bastion-1}": 4,
        "detector_attempts_total{host=bastion-1}": 5,
        "detector_findings_total{host=bastion-1}": 1,
        "detector_snapshots_waiting{host=bastion-1}": 0,
        "detector_detection_lag_seconds{host=bastion-1}": 0,
        "detector_snapshot_seconds{host=bastion-1}": 10,
        "detector_host_learnt{host=bastion-1}": 0,
        "detector_findings_held{host=bastion-1}": 0,
        "detector_findings_capped{host=bastion-1}": 12,
        "detector_rule_files_refused{host=bastion-1}": 0,
        "detector_notifications{channel=mail,state=dead}": 1,
        "detector_notifications{channel=mail,state=pending}": 1,
        "detector_notifications{channel=slack,state=dead}": 0,
        "detector_delivery_seconds{channel=slack}": 7,
        "detector_messages_last_hour{channel=slack}": 1,
        "detector_silences": 1,
        "detector_alerts_silenced": 0,
        "detector_store_up": 1,
        "detector_healthy": 1,
        "detector_spool_snapshots": 0,
    }
    assert {name: found[name] for name in expected} == expected
    waits = found["detector_notification_waiting_timestamp_seconds{channel=mail}"]
    assert waits == pytest.approx(now.timestamp() - 60, abs=1)
    assert found["detector_captured_timestamp_seconds{host=bastion-1}"] == pytest.approx(now.timestamp() - 5, abs=3)
    assert found["detector_database_bytes{part=used}"] > 0
    assert "detector_delivery_seconds{channel=mail}" not in found


def test_every_metric_that_is_documented_is_served_and_no_other(sqlite_engine: Engine, tmp_path: Path) -> None:
    """By name, kind, labels and meaning; the client library's own aside."""
    _captured(sqlite_engine, "bastion-1", 5)
    insert_alert(sqlite_engine)
    now = datetime.now(UTC)
    row = {"alert_id": 1, "reason": "opened", "attempts": 1, "next_attempt_at": now, "created_at": now}
    with writing(sqlite_engine) as connection:
        aside = {"replaced_at": now, "set_aside": "/var/lib/detector/x", "reason": "malformed"}
        connection.execute(insert(replacements).values(**aside))
        for state, delivered in ((NotificationState.PENDING, None), (NotificationState.DELIVERED, now)):
            connection.execute(insert(notifications).values(**row, channel="mail", state=state, delivered_at=delivered))
    with _serving(sqlite_engine, DETECTOR_STATE_FOLDER=str(tmp_path)) as serving:
        _, text = serving.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    ours = {name for name in families if name.startswith("detector_")}
    # What the parser takes apart belongs to a family.
    assert {name.removesuffix("_created") for name in ours} == {each.name for each in METRICS}
    for each in METRICS:
        family = families[each.name]
        assert (family.type, family.documentation) == (each.kind.value, each.meaning)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(each.labels), each.name
    for each in METRICS:
        assert re.fullmatch(r"detector_[a-z_]+", each.name)
        assert each.kind is not Kind.COUNTER or each.shown.endswith("_total")


def test_the_page_is_what_the_code_says() -> None:
    """docs/metrics.md is made from the metrics: make docs."""
    assert (_ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == page()


def test_stages_and_faults_of_this_process_are_counted_and_passed_on(sqlite_engine: Engine) -> None:
    """Each stage is there from the beginning."""
    with _serving(sqlite_engine) as serving:
        before = serving.figures()
        at = datetime.now(UTC)
        ref = SnapshotRef(host_id=1, host="a", seq=1, start=at, end=at)
        learning = Learning(elapsed_seconds=0, required_seconds=1)
        took = dict.fromkeys(STAGES, 0.002)
        serving.report.detected(Detected(snapshot=ref, observations=1, findings=0, learning=learning, took=took))
        serving.report.fault("broken")
        serving.report.trained("a forest")
        after = serving.figures()
    for stage in STAGES:
        assert before[f"detector_stage_seconds_count{{stage={stage}}}"] == 0
        assert after[f"detector_stage_seconds_sum{{stage={stage}}}"] == pytest.approx(0.002)
        assert after[f"detector_stage_seconds_bucket{{le=0.005,stage={stage}}}"] == 1
    assert (before["detector_faults_total"], after["detector_faults_total"]) == (0, 1)
    assert after["detector_trainings_total"] == 1


def test_healthz_says_whether_all_is_well_and_why_not(sqlite_engine: Engine, tmp_path: Path) -> None:
    """200 or 503: nothing stored, nothing comes any more, all is well, and the database away."""
    with _serving(sqlite_engine) as serving:
        assert _told(serving) == (503, ["no snapshot is stored yet"])
    _captured(sqlite_engine, "bastion-1", 600)
    with _serving(sqlite_engine) as serving:
        assert _told(serving) == (503, ["no snapshot has come for 10 min"])
    _captured(sqlite_engine, "bastion-2", 1)
    with _serving(sqlite_engine) as serving:
        assert _told(serving) == (200, [])
    (tmp_path / "detector.db").rename(tmp_path / "away.db")
    (tmp_path / "detector.db").mkdir()
    with _serving(sqlite_engine) as serving:
        assert _told(serving) == (503, ["the database cannot be read"])
        found = serving.figures()
    assert (found["detector_store_up"], found["detector_healthy"]) == (0, 0)
    assert found["detector_faults_total"] == 0


def _told(serving: Served) -> tuple[int, list[str]]:
    status, text = serving.get("/healthz")
    told = json.loads(text)
    assert told["healthy"] is (status == 200)
    return status, told["reasons"]


@pytest.mark.postgres
def test_a_database_that_hangs_keeps_nobody_waiting(postgres_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks is told so after a moment."""
    monkeypatch.setattr("detector.service.metrics.sampling._PATIENCE_SECONDS", 0.3)
    with postgres_engine.connect() as connection:
        connection.exec_driver_sql("LOCK TABLE hosts IN ACCESS EXCLUSIVE MODE")
        with _serving(postgres_engine) as serving:
            status, reasons = _told(serving)
            found = serving.figures()
    assert (status, reasons) == (503, ["the database has not answered for 0 s"])
    assert found["detector_store_up"] == 0


def test_a_socket_is_its_owners_and_its_groups_and_goes_with_the_process(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Mode 0660; what an earlier process left there is no hindrance, and that of one that lives stays its own."""
    path = tmp_path / "metrics.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with _serving(sqlite_engine, DETECTOR_METRICS_LISTEN=f"unix:{path}"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with _serving(sqlite_engine, DETECTOR_METRICS_LISTEN=f"unix:{path}"):
            pass
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(path))
        connection.request("HEAD", "/metrics")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        connection.close()
    assert not path.exists()
    path.write_text("mine")
    with (
        pytest.raises(ConfigError, match="no socket"),
        _serving(sqlite_engine, DETECTOR_METRICS_LISTEN=f"unix:{path}"),
    ):
        pass
    assert path.read_text() == "mine"


def test_who_only_keeps_connections_open_keeps_nobody_else_out_for_long(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few are served at once, and a silent one is dropped; other paths and methods are refused."""
    monkeypatch.setattr("detector.service.metrics.serving._Handler.timeout", 0.3)
    with _serving(sqlite_engine) as serving:
        before = threading.active_count()
        idle = [socket.create_connection(("127.0.0.1", serving.port)) for _ in range(40)]
        assert threading.active_count() <= before + 9
        for each in idle:
            each.settimeout(10)
            assert each.recv(1) == b""
            each.close()
        assert serving.get("/metrics")[0] == 200
        assert serving.get("/")[0] == 404
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{serving.port}/metrics", data=b"x", timeout=30)
        assert refused.value.code == 501
        refused.value.close()


def test_names_of_hosts_cannot_forge_a_line(sqlite_engine: Engine) -> None:
    """What does not print is written out."""
    Recorder(sqlite_engine, host='a"}\nforged 1\x1b').snapshot(count())
    with _serving(sqlite_engine) as serving:
        _, text = serving.get("/metrics")
    assert not re.search(r"^forged", text, re.MULTILINE)
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("listen", "why"),
    [
        ("0.0.0.0:9469", "is no address of this machine alone"),
        ("[::]:9469", "is no address of this machine alone"),
        ("10.0.0.1:9469", "is no address of this machine alone"),
        ("127.0.0.1", "names no address"),
        ("127.0.0.1:", "has no port"),
        ("127.0.0.1:0", "has no port"),
        ("127.0.0.1:70000", "has no port"),
        ("bastion:9469", "names no address"),
        ("unix:metrics.sock", "has no full path"),
        (":9469", "names no address"),
    ],
)
def test_what_others_could_reach_is_refused(listen: str, why: str) -> None:
    """With the key, and what to write."""
    with pytest.raises(ConfigError) as fault:
        config.load(None, {"DETECTOR_METRICS_LISTEN": listen})
    assert fault.value.message.startswith("environment: metrics.listen: ")
    assert why in fault.value.message
    assert "127.0.0.1:9469" in fault.value.hint


class _Waiting(Faults):
    """Tells when an address is free again."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()

    def fault(self, message: str) -> None:
        super().fault(message)
        if "free again" in message:
            self.free.set()


def test_a_port_that_somebody_else_has_is_waited_for(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any user can take one, which must not keep detection from running; both is said once."""
    monkeypatch.setattr(serving, "RETRY_SECONDS", 0.05)
    faults = _Waiting()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        environment = {"DETECTOR_METRICS_LISTEN": f"127.0.0.1:{port}", "DETECTOR_STATE_FOLDER": str(tmp_path)}
        settings = config.load(None, {**environment, "DETECTOR_DATABASE_URL": str(sqlite_engine.url)})
        with served(settings, sqlite_engine, faults):
            pass
        with served(settings, sqlite_engine, faults) as registry:
            other.close()
            assert faults.free.wait(30)
            assert Served(port, Counted(Lines(), registry)).get("/healthz")[1]
    taken = f"metrics.listen: 127.0.0.1:{port} is taken: no figures until it is free; see ss -lnp"
    assert faults.said == [taken, taken, f"metrics.listen: 127.0.0.1:{port} is free again: figures are served"]


def test_a_socket_without_its_folder_is_refused_with_the_command_that_makes_it(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    """Nobody makes /run/detector where systemd does not."""
    path = tmp_path / "none" / "metrics.sock"
    settings = config.load(None, {"DETECTOR_METRICS_LISTEN": f"unix:{path}", "DETECTOR_STATE_FOLDER": str(tmp_path)})
    with pytest.raises(ConfigError) as fault, served(settings, sqlite_engine, Faults()):
        pass
    assert fault.value.hint == f"make its folder: install -d -o detector -g detector -m 0750 {path.parent}"


def test_nothing_is_served_unless_it_is_asked_for() -> None:
    """Off by default; addresses of loopback in each way of writing them."""
    assert config.load(None, {}).metrics.address is None
    for listen, host in {"127.0.0.1:1": "127.0.0.1", "localhost:1": "127.0.0.1", "[::1]:1": "::1"}.items():
        address = config.load(None, {"DETECTOR_METRICS_LISTEN": listen}).metrics.address
        assert getattr(address, "host", None) == host
