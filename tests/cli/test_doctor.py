"""`detector doctor`: every fault with its remedy."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert

from detector.bpf.capture import Capture
from detector.cli import main
from detector.collector.backlog import Backlog
from detector.collector.spool import Spool
from detector.domain import Snapshot
from detector.store.engine import open_store, writing
from detector.store.tables import model_hosts
from tests.builders import START, Recorder, count, insert_alert

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kernel


@pytest.fixture
def examined(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Doctor:
    """The program with an empty, current database."""
    monkeypatch.setenv("DETECTOR_DATABASE_URL", sqlite_url)
    return Doctor(tmp_path, sqlite_url, capsys)


class Doctor:
    """Runs `detector doctor --json` with a configuration."""

    def __init__(self, folder: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.url, self._capsys = folder, url, capsys

    def __call__(self, toml: str = "") -> tuple[int, dict[str, list[tuple[str, str, str]]]]:
        """Exit code, and (verdict, finding, remedy) by subject."""
        path = self.folder / "detector.toml"
        path.write_text(toml)
        path.chmod(0o640)
        code = main(["--config", str(path), "doctor", "--json"])
        return code, by_subject(self._capsys.readouterr().out)


def by_subject(output: str) -> dict[str, list[tuple[str, str, str]]]:
    """(verdict, finding, remedy) of each line."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for check in json.loads(output):
        found.setdefault(check["subject"], []).append((check["verdict"], check["finding"], check["remedy"]))
    return found


def test_a_sound_machine_is_said_to_be_so(examined: Doctor) -> None:
    """Each subject has a line; no more than the channels, of which there are none, and the clock are not good."""
    code, found = examined()
    assert code == 0
    for subject in ("kernel", "kernel types", "tracefs", "capabilities", "bcc", "services", "configuration", "files",
                    "capture", "database", "size", "disk", "spool", "rules", "outbox"):  # fmt: skip
        assert [verdict for verdict, _, _ in found[subject]] == ["good"], subject
    assert found["channels"][0][0] == "doubtful"
    assert "SQLite 3." in found["database"][0][1]
    assert "growing by about 0.0 MB a day" in found["size"][0][1]
    assert found["snapshots"][0][:2] == ("doubtful", "none is stored of any host yet")


def test_each_hook_is_said_to_be_in_use_or_what_is_not_seen_without_it(examined: Doctor) -> None:
    """By the attachments that a collector here has; what is missing is doubtful, and the exit code 0."""
    with Capture(map_entries=64) as capture:
        states = capture.hooks
    code, found = examined()
    assert code == 0
    lines = dict(zip([state.name for state in states], found["hooks"], strict=True))
    for state in states:
        verdict, finding, remedy = lines[state.name]
        if state.in_use:
            assert (verdict, remedy) == ("good", "")
            assert finding.startswith(f"{state.name}: seen through ")
            assert all(attachment in finding for attachment in state.in_use)
        else:
            assert (verdict, finding) == ("doubtful", f"{state.name}: not in use; not seen: {state.unseen}")
            assert remedy.startswith("needs a kernel that has: ")


def test_without_type_information_each_hook_says_what_is_not_seen(examined: Doctor) -> None:
    """Doubtful all of it: counting goes on."""
    code, found = _apart(
        examined, "unshare", "--mount", "sh", "-c", 'mount -t tmpfs n /sys/kernel/btf; exec "$@"', "sh"
    )
    assert code == 0
    verdicts = [verdict for verdict, _, _ in found["hooks"]]
    unknown, states, *others = found["hooks"]
    assert verdicts == ["doubtful", "good", *["doubtful"] * len(others)]
    assert unknown[1].startswith("not known: executables, logins, and why connects fail (/sys/kernel/btf/vmlinux: ")
    assert states[1] == "connections: seen through tracepoint sock:inet_sock_set_state"
    assert all("CONFIG_DEBUG_INFO_BTF=y" in remedy for _, _, remedy in others)
    assert [verdict for verdict, _, _ in found["capture"]] == ["good"]
    ((verdict, finding, _),) = found["kernel types"]
    assert (verdict, finding.split(":")[0]) == ("doubtful", "/sys/kernel/btf/vmlinux is missing")


def test_who_may_not_load_programs_is_told_that_hooks_were_not_tried(examined: Doctor) -> None:
    """Bad for capture, which is this user's affair, and not known for the hooks."""
    code, found = _apart(examined, "setpriv", "--bounding-set", "-bpf,-perfmon,-sys_admin")
    assert code == 1
    assert found["capabilities"][0][:2] == ("bad", "this process (user 0) lacks CAP_PERFMON, CAP_BPF")
    ((verdict, finding, remedy),) = found["hooks"]
    assert verdict == "doubtful"
    assert finding == "could not be tried, so what cannot be seen is not known"
    assert "run doctor with the privileges of detector collect" in remedy


def test_doctor_does_not_disturb_a_collector_that_runs(examined: Doctor) -> None:
    """Not a connect is lost while the programs are there twice."""
    with Capture(map_entries=65_536) as capture:
        stop = Event()
        made = 0

        def connect() -> None:
            nonlocal made
            while not stop.is_set():
                with socket.socket() as client:
                    client.connect_ex(("127.0.0.1", 42))
                made += 1

        client = Thread(target=connect)
        client.start()
        examined()
        stop.set()
        client.join()
        drained = capture.drain()
    found = [each for each in drained.counts if each.remote_port == 42]
    assert sum(each.attempted for each in found) == sum(each.refused for each in found) == made > 100
    # An outcome is unmatched if somebody on this machine began to connect before the capture.
    assert replace(drained.losses, unmatched=0).complete


def _apart(examined: Doctor, *prefix: str) -> tuple[int, dict[str, list[tuple[str, str, str]]]]:
    """As `examined`, in a process of its own that `prefix` starts."""
    command = [*prefix, sys.executable, "-P", "-m", "detector", "doctor", "--json"]
    environment = {**os.environ, "DETECTOR_DATABASE_URL": examined.url}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    return done.returncode, by_subject(done.stdout.decode())


def test_a_database_that_is_missing_is_bad_and_not_made(
    examined: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The remedy is the command that makes it."""
    monkeypatch.setenv("DETECTOR_DATABASE_URL", f"sqlite:///{tmp_path}/none.db")
    code, found = examined()
    assert code == 1
    ((verdict, _, remedy),) = found["database"]
    assert verdict == "bad"
    assert "detector db upgrade" in remedy
    assert not (tmp_path / "none.db").exists()


def test_a_rule_with_a_fault_is_bad_with_its_place(examined: Doctor, tmp_path: Path) -> None:
    """Path and line."""
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "broken.yml").write_text("titel: Typo\n")
    code, found = examined(f'[rules]\nfolders = ["{folder}"]\n')
    assert code == 1
    assert any(verdict == "bad" and "broken.yml:1: " in finding for verdict, finding, _ in found["rules"])


def test_a_channel_that_cannot_be_used_is_bad_and_keeps_its_secret(examined: Doctor) -> None:
    """Named by its name."""
    code, found = examined('[[channels]]\nname = "slack"\nurl = "nonsense://s3cret"\n')
    assert code == 1
    ((verdict, finding, remedy),) = found["channels"]
    assert verdict == "bad"
    assert "slack" in finding
    assert "s3cret" not in finding + remedy


def test_a_host_that_is_being_learnt_is_doubtful_and_one_that_is_learnt_good(examined: Doctor) -> None:
    """With how far it has come."""
    engine = open_store(examined.url)
    for host in ("young", "known"):
        Recorder(engine, host=host).snapshot(count())
    with writing(engine) as connection:
        for host_id, hours in ((1, 2.5), (2, 30)):
            connection.execute(insert(model_hosts).values(host_id=host_id, observed_seconds=hours * 3600))
    engine.dispose()
    _, found = examined()
    (young_verdict, young, _), (known_verdict, known, _) = found["models"]
    assert (young_verdict, known_verdict) == ("doubtful", "good")
    assert "young: learning: 2 h 30 min of 24 h" in young
    assert known == "known is learnt and scored"


def test_what_was_held_back_is_said_for_a_week(examined: Doctor) -> None:
    """With where to look at it."""
    engine = open_store(examined.url)
    Recorder(engine, host="bastion-1").snapshot(count())
    now = datetime.now(UTC)
    title = "Unusual: held back, beyond 5 alerts on 2026-03-02"
    for number, ago in enumerate((timedelta(days=1), timedelta(days=8)), start=1):
        mark = {"fingerprint": f"capped-{number}", "rule_title": title}
        insert_alert(engine, alert_id=number, end=now - ago, **mark)
    engine.dispose()
    _, found = examined()
    ((verdict, finding, remedy),) = found["alerts"]
    assert (verdict, finding) == ("doubtful", f"bastion-1: {title}: 2 findings")
    assert "detector alerts list --held" in remedy


def test_what_waits_in_the_spool_is_said(examined: Doctor, tmp_path: Path) -> None:
    """How much and since when; a fault if the database is there all the same, and none if it is not."""
    assert examined()[1]["spool"] == [("good", "no snapshot waits for the database", "")]
    (tmp_path / "state").mkdir()
    with closing(Spool(tmp_path / "state" / "spool", 1_000_000)) as spool:
        backlog = Backlog(spool)
        for _ in range(2):
            backlog.add(Snapshot(host="bastion-1", start=START, end=START + timedelta(seconds=10), counts=(count(),)))
            backlog.keep()
    code, found = examined()
    ((verdict, finding, remedy),) = found["spool"]
    assert (code, verdict) == (1, "bad")
    assert finding.startswith("2 snapshots of 2 kB wait for the database, the oldest of 2026-03-02 ")
    assert finding.endswith(", although that answers")
    assert "start detector collect" in remedy
    (tmp_path / "detector.db").unlink()
    ((verdict, _, remedy),) = examined()[1]["spool"]
    assert (verdict, remedy) == ("doubtful", "nothing is lost yet: look after the database")


def test_a_spool_that_is_turned_off_is_doubtful(examined: Doctor) -> None:
    """With what that means."""
    code, found = examined("[collector]\nspool_megabytes = 0\n")
    assert code == 0
    assert found["spool"][0][:2] == ("doubtful", "is turned off: when the database is away, what is counted is lost")
