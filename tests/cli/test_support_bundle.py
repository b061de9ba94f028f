"""`detector support-bundle`: a file that helps, with nothing in it that is nobody else's business."""

from __future__ import annotations

import json
import re
import shutil
import stat
import tarfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert

from detector import shipped
from detector.cli import support_bundle
from detector.cli.checks import kernel
from detector.domain import Losses, NotificationState
from detector.store.engine import writing
from detector.store.tables import notifications
from tests.builders import Recorder, count, insert_alert

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.cli.conftest import Call

# None of it may be found in the file.
_SECRETS = ("hunter2", "tokentoken", "xoxb-987654", "heartbeat-uuid")
_NAMES = ("alice", "mallory", "bastion-7", "hostname-of-this-machine", "db.internal.example", "mail.example.org",
          "vault-", "trudy", "peggy")  # fmt: skip
_ADDRESSES = ("10.11.12.13", "192.0.2.77", "2001:db8::beef", "FD00::7")
_LOG = """\
09:00:00  bastion-7: alice@10.11.12.13 connected to db.internal.example (192.0.2.77)
09:00:01  mail: 535 hunter2 was refused for ops@mail.example.org by [2001:db8::beef]:587
09:00:02  mallory from fd00::7 again from 10.11.12.13
09:00:03  \x1b]0;x\x07<script>
"""


@pytest.fixture(autouse=True)
def _no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel program is loaded: test_doctor.py looks at what comes of that."""
    monkeypatch.setattr(kernel, "hooks", lambda _: iter(()))


@pytest.fixture
def bundled(call: Call, engine: Engine, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The files of a bundle of a host with a past, channels, and a log."""
    del store
    monkeypatch.setattr("socket.gethostname", lambda: "hostname-of-this-machine.example.org")
    lost = Losses(attempted=7)
    recorder = Recorder(engine, host="bastion-7")
    key: dict[str, Any] = {"user": "alice", "login_user": "mallory", "remote_name": "db.internal.example"}
    recorder.snapshot(count("192.0.2.77", **key), losses=lost)
    insert_alert(engine)
    now = datetime.now(UTC)
    row = {"alert_id": 1, "channel": "mail", "reason": "opened", "state": NotificationState.DEAD, "attempts": 9}
    failed = {"created_at": now, "next_attempt_at": now, "failed_at": now, "last_error": "535 hunter2 from 10.11.12.13"}
    with writing(engine) as connection:
        connection.execute(insert(notifications).values(**row, **failed))
    secret, log, path = tmp_path / "token", tmp_path / "service.log", tmp_path / "detector.toml"
    rules = tmp_path / "rules"
    rules.mkdir()
    shutil.copy(shipped.folder("rules") / "host_silent.yml", rules)
    refused = (rules / "host_silent.yml").read_text().replace("A host fell silent", "Mine")
    (rules / "refused.yml").write_text(re.sub("condition: .*", "condition: nothing", refused))
    secret.write_text("slack://xoxb-987654/T0AAA/B0BBB/tokentoken")
    secret.chmod(0o600)
    log.write_text(_LOG)
    path.write_text(
        f'[rules]\nfolders = ["{rules}"]\n[heartbeat]\nurl = "https://hc.example.org/heartbeat-uuid"\n'
        '[[channels]]\nname = "mail"\nurl = "mailto://ops:hunter2@mail.example.org?to=alice@example.org"\n'
        f'[[channels]]\nname = "chat"\nurl_file = "{secret}"\n'
        '[[routes]]\nchannels = ["mail"]\nhost = ["vault-*"]\nuser = ["trudy"]\nlogin_user = ["peggy"]\n'
        '[[routes]]\nchannels = ["chat"]\n'
    )
    out = tmp_path / "out.tar.gz"
    called = call("--config", path, "support-bundle", "--out", out, "--log", log)
    assert called.code == 0, called.err
    assert f"{out} is written" in called.out
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with tarfile.open(out) as bundle:
        files = {}
        for member in bundle.getmembers():
            read = bundle.extractfile(member)
            assert read
            files[member.name.removeprefix("detector-support/")] = read.read().decode()
            assert (member.mode, member.uname, member.uid) == (0o600, "", 0)
    for name in files:
        if name != "README.txt":
            assert name in called.out
    return files


def test_no_secret_name_or_address_is_in_it(bundled: dict[str, str]) -> None:
    """In whatever file, case or form."""
    for name, text in bundled.items():
        for word in (*_SECRETS, *_NAMES, *_ADDRESSES):
            assert word.casefold() not in text.casefold(), f"{word} in {name}"


def test_the_same_thing_has_the_same_mask_in_all_of_it(bundled: dict[str, str]) -> None:
    """An address can be followed from one line, and one file, to the next."""
    first, second, third, escaped = [line for line in bundled["log.txt"].splitlines() if line.startswith("09:00")]
    address = first.split("@")[1].split()[0]
    assert address.startswith("address-")
    assert third.endswith(f"again from {address}")
    assert escaped == "09:00:03  \\x1b]0;x\\x07<script>"
    (channel,) = json.loads(bundled["channels.json"])
    assert channel["last_error"].endswith(f"from {address}")
    (host,) = json.loads(bundled["losses.json"])["totals"]
    assert first.split("  ")[1].startswith(f"{host['host']}: ")
    assert "(secret)" in second


def test_it_holds_what_helps(bundled: dict[str, str]) -> None:
    """What doctor says, versions, settings, rules, sizes and losses; and says what is in it."""
    assert {"doctor.json", "versions.json", "configuration.json", "rules.json", "database.json"} <= set(bundled)
    assert any(
        check["subject"] == "outbox" and check["verdict"] == "bad" for check in json.loads(bundled["doctor.json"])
    )
    versions = json.loads(bundled["versions.json"])
    assert {"detector", "python", "kernel"} <= set(versions)
    assert "sqlalchemy" in versions["packages"]
    settings = json.loads(bundled["configuration.json"])
    assert [channel["url"] for channel in settings["channels"]] == ["(set)", ""]
    assert settings["collector"]["interval_seconds"] == 10.0
    rules = json.loads(bundled["rules.json"])
    assert rules["in_force"] == 1
    assert {each["title"]: (each["kind"], each["state"]) for each in rules["rules"]} == {
        "A host fell silent": ("event", "active"),
        "Mine": ("event", "refused"),
    }
    assert json.loads(bundled["database.json"])["hosts"][0]["snapshots"] == 1
    assert json.loads(bundled["losses.json"])["incomplete"][0]["losses"]["attempted"] == 7
    assert all(name in bundled["README.txt"] for name in bundled if name != "README.txt")


def test_without_a_configuration_or_database_the_rest_is_gathered(call: Call, tmp_path: Path) -> None:
    """And what could not be learnt, so that it may not be masked, is said."""
    path, out = tmp_path / "detector.toml", tmp_path / "out.tar.gz"
    log = tmp_path / "log"
    token, log_line = tmp_path / "token", "ops:hunter2 was refused, and so was tokentoken by smtp.example"
    token.write_text("slack://xoxb-987654/T0AAA/B0BBB/tokentoken\n")
    log.write_text(log_line)
    # What stands there is known all the same.
    path.write_text(
        f'nonsense\n[[channels]]\nurl = "mailto://ops:hunter2@smtp.example?to=a@b"\n'
        f'[[channels]]\nurl_file = "{token}"\n'
    )
    called = call("--config", path, "support-bundle", "--out", out, "--json", "--log", log)
    with tarfile.open(out) as bundle:
        texts = [read.read().decode() for each in bundle if (read := bundle.extractfile(each))]
    assert not any(secret in text for text in texts for secret in _SECRETS)
    told = json.loads(called.out)
    assert called.code == 0
    assert [each["name"] for each in told["files"]] == ["doctor.json", "versions.json", "processes.json", "log.txt"]
    assert told["not_masked"]
    path.write_text("")
    called = call("--config", path, "support-bundle", "--out", out, "--force")
    assert called.code == 0
    assert "names in the database were not learnt" in called.err


def test_a_file_that_is_there_is_not_replaced_unasked(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is interrupted leaves nothing behind."""
    out = tmp_path / "out.tar.gz"
    out.write_text("mine")
    monkeypatch.setattr(support_bundle, "parts", lambda *_: [])
    called = call("support-bundle", "--out", out)
    assert called.code == support_bundle.BundleError.exit_code
    assert "--force" in called.err
    assert out.read_text() == "mine"
    called = call("support-bundle", "--out", tmp_path / "none" / "out.tar.gz")
    assert called.code == support_bundle.BundleError.exit_code

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tarfile.TarFile, "addfile", interrupted)
    assert call("support-bundle", "--out", out, "--force").code == 130
    assert out.read_text() == "mine"
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []
