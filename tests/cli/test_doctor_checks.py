"""What `detector doctor` looks at beside the kernel, each check by what a user sees of it."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, update

from detector import config
from detector.cli import doctor as command
from detector.cli import main
from detector.cli.checks import capturing, channels, clock, database, figures, files, kernel, running, spool
from detector.cli.checks.check import Check, Verdict
from detector.config_heartbeat import Heartbeat
from detector.domain import Losses, NotificationState, Snapshot
from detector.errors import ConfigError
from detector.service.metrics.serving import served
from detector.store.engine import writing
from detector.store.liveness import Liveness
from detector.store.snapshots import SnapshotWriter
from detector.store.tables import detection_cursors, hosts, notifications, replacements
from tests.builders import Recorder, count, insert_alert
from tests.disks import fill, small_disk
from tests.service.test_delivering import Faults

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.cli.conftest import Call

_NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
_LOSSES = Losses(attempted=7)


@pytest.fixture(autouse=True)
def _no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel program is loaded: test_doctor.py looks at what comes of that."""
    monkeypatch.setattr(kernel, "hooks", lambda _: iter(()))


def _said(checks: Iterable[Check]) -> list[tuple[str, str, str]]:
    return [(check.verdict.value, check.finding, check.remedy) for check in checks]


def test_a_configuration_that_is_refused_is_a_line_and_the_machine_is_looked_at_all_the_same(
    call: Call, tmp_path: Path
) -> None:
    """With the key; and nothing is said of what would need it."""
    path = tmp_path / "detector.toml"
    path.write_text("[collector]\nintervall = 3\n")
    called = call("--config", path, "doctor", "--json")
    found = {each["subject"]: each for each in json.loads(called.out) if each["verdict"] != "doubtful"}
    assert called.code == 1
    assert found["configuration"]["finding"].endswith("unknown key collector.intervall")
    assert "did you mean interval_seconds?" in found["configuration"]["remedy"]
    assert "kernel" in found
    assert "database" not in found


@pytest.mark.parametrize(
    "toml",
    [
        "nonsense",
        "host = 5",
        "[[channels]]",
        "[database]\nurl = 'postgresql://127.0.0.1:1/x'",
        "[database]\nurl_file = '/nonexistent/url'",
        "[[channels]]\nname = 'a'\nurl_file = '/nonexistent/url'\n[heartbeat]\nurl_file = '/dev/null'",
        "[rules]\nfolders = ['/nonexistent']",
        "[notify]\ntemplates = '/nonexistent'",
    ],
)
def test_what_is_bad_has_a_remedy(call: Call, tmp_path: Path, toml: str) -> None:
    """Whatever it is."""
    path = tmp_path / "detector.toml"
    path.write_text(toml)
    path.chmod(0o640)
    wrong = [each for each in json.loads(call("--config", path, "doctor", "--json").out) if each["verdict"] == "bad"]
    assert wrong
    assert [each["finding"] for each in wrong if not each["remedy"]] == []


def test_other_verbs_refuse_such_a_configuration_as_ever(call: Call, tmp_path: Path) -> None:
    """With the exit code of a bad configuration; help is still given."""
    path = tmp_path / "detector.toml"
    path.write_text("nonsense")
    assert call("--config", path, "query").code == ConfigError.exit_code
    assert call("--config", path, "query", "--help").code == 0


def test_a_check_that_fails_is_a_line_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever it failed with."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("by whatever")

    def unreadable(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/proc/1")

    monkeypatch.setattr(files, "files", broken)
    monkeypatch.setattr(clock, "clock", unreadable)
    environment = {"DETECTOR_STATE_FOLDER": str(tmp_path), "DETECTOR_RULES_FOLDERS": f'["{tmp_path}"]'}
    found = {check.subject: check for check in command.examine(config.load(None, environment), None)}
    assert found["files"].finding == "could not be looked at: ZeroDivisionError: by whatever"
    assert found["clock"].finding.startswith("cannot be looked at: ")
    assert found["kernel"].verdict is Verdict.GOOD
    assert found["rules"].finding == "there are none, so nothing can alert"


@pytest.mark.parametrize("damage", [b"", b"not a database, " * 1000, None])
def test_a_database_that_cannot_be_used_is_one_bad_line(damage: bytes | None, tmp_path: Path) -> None:
    """Emptied, damaged, or a folder."""
    path = tmp_path / "detector.db"
    path.mkdir() if damage is None else path.write_bytes(damage)
    settings = config.load(None, {"DETECTOR_DATABASE_URL": f"sqlite:///{path}"})
    ((verdict, finding, _),) = _said(database.database(settings))
    assert verdict == "bad"
    assert str(path) in finding or "schema is empty" in finding


def test_a_disk_that_is_nearly_full_is_bad(sqlite_engine: Engine, tmp_path: Path) -> None:
    """By what is free where the file is."""
    Recorder(sqlite_engine).snapshot(count())
    settings = config.load(None, {"DETECTOR_DATABASE_URL": str(sqlite_engine.url)})
    assert [verdict for verdict, finding, _ in _said(database.database(settings)) if "are free" in finding] == ["good"]
    sqlite_engine.dispose()

    with small_disk(tmp_path / "disk", "50m") as disk:
        copy = shutil.copy(tmp_path / "detector.db", disk)
        settings = config.load(None, {"DETECTOR_DATABASE_URL": f"sqlite:///{copy}"})
        ((verdict, finding, _),) = [each for each in _said(database.database(settings)) if "are free" in each[1]]
    assert verdict == "bad"
    assert re.match(r"5[012] MB are free of the 52 MB that ", finding)


def test_a_disk_that_is_full_is_told_of_a_database_that_does_not_open(sqlite_engine: Engine, tmp_path: Path) -> None:
    """What SQLite says of it is something else; each line has its remedy."""
    Recorder(sqlite_engine).snapshot(count())
    sqlite_engine.dispose()
    with small_disk(tmp_path / "disk", "3m") as disk:
        copy = shutil.copy(tmp_path / "detector.db", disk)
        fill(disk)
        settings = config.load(None, {"DETECTOR_DATABASE_URL": f"sqlite:///{copy}"})
        found = list(database.database(settings))
    assert [(check.subject, check.verdict.value) for check in found] == [("database", "bad"), ("disk", "bad")]
    assert found[1].finding.startswith("0.0 MB are free of the 3.1 MB that ")
    assert all(check.remedy for check in found)


def test_a_file_system_that_can_only_be_read_is_bad(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Questions are answered, and nothing is stored; with where it is mounted."""
    Recorder(sqlite_engine).snapshot(count())
    sqlite_engine.dispose()
    with small_disk(tmp_path / "disk", "50m") as disk:
        copy = shutil.copy(tmp_path / "detector.db", disk)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        settings = config.load(None, {"DETECTOR_DATABASE_URL": f"sqlite:///{copy}"})
        found = {check.finding: check for check in database.database(settings) if check.subject == "database"}
    (told,) = (check for finding, check in found.items() if "can only be read" in finding)
    assert (told.verdict, told.remedy) == (
        Verdict.BAD, f"find out why (dmesg), then: mount -o remount,rw {disk}"
    )  # fmt: skip


@pytest.mark.parametrize("url", ["postgresql://u:s3cret@127.0.0.1:1/x", "postgresql://u:s3cret@nowhere.invalid/x"])
def test_a_server_that_is_not_reached_is_bad_with_what_to_look_at(url: str) -> None:
    """And without its password."""
    settings = config.load(None, {"DETECTOR_DATABASE_URL": url})
    ((verdict, finding, remedy),) = _said(database.database(settings))
    assert verdict == "bad"
    assert remedy.startswith("see that the server runs")
    assert "s3cret" not in finding + remedy


def test_each_channel_that_cannot_be_used_is_a_line(tmp_path: Path) -> None:
    """And so are those that can, and the heartbeat."""
    away = str(tmp_path / "away")
    named = (
        config.Channel(name="a", url_file=away),
        config.Channel(name="b", url="json://localhost"),
        config.Channel(name="c", url="nonsense"),
    )
    settings = config.Settings(channels=named, heartbeat=Heartbeat(url_file=away))
    found = list(channels.channels(settings))
    assert [(check.subject, check.verdict.value) for check in found] == [
        ("channels", "bad"), ("channels", "bad"), ("channels", "good"), ("heartbeat", "bad")
    ]  # fmt: skip
    assert "'a'" in found[0].finding
    assert "'c'" in found[1].finding
    assert found[2].finding.startswith("b: understood")


def test_where_systemd_has_the_unit_it_is_what_is_to_be_started() -> None:
    """`detector run` beside the units would be a second one."""
    assert running.starting("detect", {"LoadState": "loaded"}) == "start it: systemctl start detector-detect"
    assert running.starting("detect", {"LoadState": "not-found"}) == "start it: detector run"
    assert running.starting("detect", {}) == "start it: detector run"


def test_compiled_programs_of_the_unit_are_no_fault_since_root_uses_none_of_them(tmp_path: Path) -> None:
    """The folder is the unit's account's, which keeps them there. Without units it is whoever runs that cannot."""
    shutil.chown(tmp_path, "daemon")
    assert not kernel.is_the_services(tmp_path, installed=False)
    assert kernel.is_the_services(tmp_path, installed=True)
    assert not kernel.is_the_services(tmp_path / "missing", installed=True)
    shutil.chown(tmp_path, "root")
    assert not kernel.is_the_services(tmp_path, installed=True)


def test_a_disk_without_room_for_what_may_wait_is_doubtful(tmp_path: Path) -> None:
    """By what the spool may take."""
    with small_disk(tmp_path / "disk", "100m") as disk:
        settings = config.load(None, {"DETECTOR_STATE_FOLDER": str(disk)})
        (room, state) = _said(spool.spool(settings))
    assert (room[0], state[0]) == ("doubtful", "good")
    assert room[1].startswith(f"105 MB are free on the disk of {disk}, less than the 256 MB")


def test_what_had_to_go_and_what_was_replaced_is_told(sqlite_engine: Engine) -> None:
    """Snapshots that detection never saw are bad; that a damaged database was set aside is doubtful."""
    Recorder(sqlite_engine).snapshot(count())
    with writing(sqlite_engine) as connection:
        connection.execute(update(hosts).values(given_up=3))
        connection.execute(
            insert(replacements).values(replaced_at=_NOW, set_aside="/var/x.damaged", reason="malformed")
        )
    settings = config.load(None, {"DETECTOR_DATABASE_URL": str(sqlite_engine.url)})
    found = {finding: verdict for verdict, finding, _ in _said(database.database(settings))}
    assert any(verdict == "bad" and finding.startswith("3 snapshots of ") for finding, verdict in found.items())
    assert any(verdict == "doubtful" and "of a damaged one" in finding for finding, verdict in found.items())


@pytest.mark.postgres
def test_a_postgres_database_is_said_with_its_version(postgres_url: str) -> None:
    """And neither with its password nor with the room of a disk that another machine may have."""
    settings = config.load(None, {"DETECTOR_DATABASE_URL": postgres_url})
    (where, size) = database.database(settings)
    assert "(Postgres 1" in where.finding
    assert size.subject == "size"


def test_snapshots_that_do_not_come_are_bad_unless_the_collector_was_stopped(sqlite_engine: Engine) -> None:
    """And detection that is behind is bad too."""
    settings = config.load(None, {"DETECTOR_DATABASE_URL": str(sqlite_engine.url)})
    now = datetime.now(UTC)

    def sent(seconds_ago: int, losses: Losses, number: int) -> None:
        end = now - timedelta(seconds=seconds_ago)
        taken = Snapshot(host="young", start=end - timedelta(seconds=10), end=end, counts=(), losses=losses)
        with writing(sqlite_engine) as connection:
            SnapshotWriter("young").write(connection, taken, mark=bytes([number] * 16))

    sent(400, _LOSSES, 1)
    # The first of a host is not seen before it is stored.
    silent, (lacks, lacking, _) = _said(capturing.capturing(settings))
    assert (silent[0], lacks) == ("bad", "doubtful")
    assert lacking == "1 of the 1 snapshot of the last day is not complete; lost: 7 attempted"
    sent(10, Losses(), 2)
    ((verdict, finding, _), behind, (_, lacking, _)) = _said(capturing.capturing(settings))
    assert (verdict, behind[0]) == ("good", "bad")
    assert "young" in finding
    assert lacking == (
        "2 of the 2 snapshots of the last day are not complete; lost: 7 attempted; nobody watched for 6 min 20 s in all"
    )
    with writing(sqlite_engine) as connection:
        connection.execute(insert(detection_cursors).values(host_id=1, seq=1))
    assert "bad" not in [verdict for verdict, _, _ in _said(capturing.capturing(settings))]
    old = Liveness(host="old", captured_until=_NOW, usual_seconds=10, detected_until=_NOW)
    assert capturing._captured(old, now).verdict is Verdict.BAD
    assert capturing._captured(replace(old, stopped=True), now).verdict is Verdict.DOUBTFUL


def test_clocks_that_are_apart_are_bad() -> None:
    """A database server's, and that of a host whose snapshots are of a time to come."""
    late = Liveness(host="late", captured_until=_NOW - timedelta(hours=1), usual_seconds=10, detected_until=None)
    early = replace(late, host="early", captured_until=_NOW + timedelta(minutes=5))
    assert not list(clock.against(_NOW + timedelta(seconds=1), [late], _NOW))
    server, host = clock.against(_NOW - timedelta(seconds=30), [late, early], _NOW)
    assert server.finding == "the database's is 30 s behind"
    assert "the last snapshot of early is of " in host.finding


def test_what_waits_for_long_and_what_was_given_up_is_told_by_channel(sqlite_engine: Engine) -> None:
    """With the last failure, and the command that sends it once more."""
    settings = config.load(None, {"DETECTOR_DATABASE_URL": str(sqlite_engine.url)})
    assert _said(channels.outbox(settings)) == [("good", "nothing waits, and nothing was given up", "")]
    ago = datetime.now(UTC) - timedelta(hours=1)
    states = (("mail", NotificationState.DEAD), ("mail", NotificationState.DEAD), ("slack", NotificationState.PENDING))
    Recorder(sqlite_engine).snapshot(count())
    insert_alert(sqlite_engine)
    with writing(sqlite_engine) as connection:
        for name, state in states:
            row = {"alert_id": 1, "channel": name, "reason": "opened", "state": state, "attempts": 9, "created_at": ago}
            more = {"next_attempt_at": ago, "failed_at": ago, "last_error": "550 \x1b[2Jgo away"}
            connection.execute(insert(notifications).values(**row, **more))
    (dead, waiting) = _said(channels.outbox(settings))
    assert dead[0] == "bad"
    assert dead[1].startswith("2 notifications to mail were given up")
    assert dead[2].endswith("detector notify resend --dead")
    assert waiting[0] == "doubtful"
    assert waiting[1].startswith("1 notification to slack wait")


def test_copies_that_run_are_told_by_their_processes(tmp_path: Path) -> None:
    """Real processes with the command lines of roles: one is good, two collectors are not, nor two that detect."""
    settings = config.load(None, {"DETECTOR_STATE_FOLDER": str(tmp_path)})
    # Their command lines are shown once they have begun.
    waits = "import sys; print(flush=True); sys.stdin.read()"
    started = [
        subprocess.Popen([sys.executable, "-c", waits, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for arguments in (
            ("-m", "detector.cli.roles", "collect", "5"),
            ("-m", "detector", "--config", "x.toml", "collect", "--parent", "1"),
            ("-m", "detector", "detect"),
            ("-m", "detector", "detect", "--user", "detector"),
            ("-m", "detector", "query", "detect"),
        )
    ]
    try:
        for each in started:
            assert each.stdout
            each.stdout.readline()
        ours = {each.pid for each in started}
        found = [(each.role, each.process) for each in running.running() if each.process in ours]
        lines = [finding for _, finding, _ in _said(running.copies(settings))]
    finally:
        for each in started:
            each.communicate()
    roles = ("collect", "collect", "detect", "detect")
    assert found == [(role, each.pid) for role, each in zip(roles, started, strict=False)]
    assert any(re.match(r"detect runs \d+ times on this machine: processes ", line) for line in lines)
    assert any("collectors run on this machine" in line and str(started[1].pid) in line for line in lines)


@pytest.mark.parametrize(
    ("told", "verdict", "finding"),
    [
        (
            {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "NRestarts": "0"},
            "good",
            "is active",
        ),
        (
            {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "NRestarts": "4"},
            "doubtful",
            "4 times",
        ),
        ({"LoadState": "loaded", "ActiveState": "failed", "Result": "exit-code"}, "bad", "is failed"),
        ({"LoadState": "loaded", "ActiveState": "inactive", "Result": "success"}, "doubtful", "is inactive"),
        ({"LoadState": "not-found", "ActiveState": "inactive"}, "doubtful", "is not installed here"),
    ],
)
def test_a_service_is_told_by_what_systemd_says_of_it(told: dict[str, str], verdict: str, finding: str) -> None:
    """Failed is bad; stopped, restarted or not installed may be meant."""
    check = running.service("detector-detect.service", told)
    assert check.verdict == verdict
    assert finding in check.finding


def test_figures_that_nobody_serves_are_doubtful_and_what_is_served_is_told(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    """By what /healthz answers; and nothing is said where none are wanted."""
    path = tmp_path / "metrics.sock"
    url = str(sqlite_engine.url)
    settings = config.load(None, {"DETECTOR_METRICS_LISTEN": f"unix:{path}", "DETECTOR_DATABASE_URL": url})
    ((verdict, finding, _),) = _said(figures.figures(settings))
    assert (verdict, finding.split(":")[0]) == ("doubtful", "nothing that is understood answers at unix")
    with served(settings, sqlite_engine, Faults()):
        ((verdict, finding, _),) = _said(figures.figures(settings))
    assert (verdict, finding) == (
        "bad",
        f"unix:{path} answers that something is wrong: no snapshot is stored yet",
    )
    assert _said(figures.figures(config.load(None, {}))) == []


def test_text_from_outside_is_written_out(
    call: Call, store: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host's name cannot rewrite the screen."""
    del store
    monkeypatch.setattr(socket, "gethostname", lambda: "bastion")
    Recorder(engine, host="\x1b]0;x\x07<script>").snapshot(count())
    monkeypatch.setenv("DETECTOR_RULES_FOLDERS", f'["{tmp_path}"]')
    called = call("doctor")
    assert "\x1b" not in called.out
    assert "\\x1b]0;x\\x07<script>" in called.out
    assert main(["doctor", "--help"]) == 0
