"""What each verb does for members of the service's group, who may ask, and for everybody else, who may not.

Accounts and files are as the package makes them. All verbs of an account are called in one process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from detector import shipped
from detector.cli.program import program
from detector.collector.spool import Spool
from tests.full_store import SINCE, stored_file
from tests.system.accounts import Place, accounts, place
from tests.verbs import verbs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SECRET = "json://hunter2@127.0.0.1:9"
_SINCE = ("--since", SINCE)
_PERIODS = ("--from", SINCE, "--to", "2026-03-03")
_WHY = ("--reason", "x")
# What members would undo.
_BEFORE = (("rules", "disable", "host_silent", *_WHY),)

ANSWERED: dict[str, tuple[str, ...]] = {
    "query": _SINCE,
    "who": ("203.0.113.66", *_SINCE),
    "diff": _PERIODS,
    "top": (),
    "alerts list": _SINCE,
    "alerts show": ("1",),
    "silence list": (),
    "export": _SINCE,
    "rules list": (),
    "rules show": ("vertical_scan",),
    "rules check": (),
    "rules test": ("vertical_scan", *_SINCE),
    "rules explain": ("vertical_scan", "1"),
    "rules convert": ("vertical_scan", "--for", "sqlite"),
    "rules diff": ("vertical_scan",),
    "rules rollback": ("vertical_scan", "--list"),
    "model list": (),
    "model status": (),
    "model explain": _SINCE,
    "model review": ("--list",),
    "model feedback list": (),
    "notify status": (),
    "notify route": ("1",),
    "notify preview": ("--alert", "1", "--channel", "console"),
    "notify digest": (*_SINCE, "--until", "2026-03-03"),
    "verify": (),
    "db status": (),
    "db backup": ("{own}/copy.db",),
    "doctor": (),
    "support-bundle": ("--out", "{own}/bundle.tar.gz"),
}
"""What members of the group are told."""
REFUSED: dict[str, tuple[str, ...]] = {
    "alerts ack": ("2",),
    "alerts note": ("1", "x"),
    "alerts resolve": ("1",),
    "alerts benign": ("4", "--yes", *_WHY),
    "alerts silence": ("1", "--for", "1h", "--yes", *_WHY),
    "silence add": ("user=mallory", "--for", "1h", "--yes", *_WHY),
    "silence expire": ("1",),
    "import jsonl": ("{log}", "--host", "copy"),
    "import zeek": ("{log}", "--host", "copy", "--address", "10.0.0.1"),
    "rules new": ("mine", "--from-alert", "1", "--no-edit"),
    "rules tune": ("vertical_scan", "--from-alert", "1", "--no-test", "--yes", *_WHY),
    "rules disable": ("vertical_scan", *_WHY),
    "rules enable": ("host_silent",),
    "model review": ("--accept", "1"),
    "model feedback add": ("1", "true"),
    "model feedback undo": ("1",),
    "model train": (),
    "notify digest": (*_SINCE, "--until", "2026-03-03", "--send"),
    "notify resend": ("--dead",),
    "notify test": (),
    "db prune": ("--older-than", "1d", "--yes"),
    "db vacuum": ("--full",),
    "db downgrade": ("0001", "--yes"),
    "db upgrade": (),
    "collect": (),
    "run": (),
}
"""What only the service's account and root may do."""
NEITHER = {
    "alerts watch": "goes on; it asks as alerts list does",
    "detect": "goes on, and waits for a database that it may write",
    "rules edit": "wants a terminal; it writes as rules new does",
    "model rollback": "has nothing to go back to with a single forest; it writes as model train does",
    "evaluate": "reads files of whoever calls it",
    "db roles": "prints what to tell a Postgres server",
}
_CALLS = """
import json, sys
from tests.fuzz.harness import call

done = []
for arguments in json.load(sys.stdin):
    code, out, err = call(*arguments)
    done.append([code, out, err])
json.dump(done, sys.stdout)
"""


@dataclass(frozen=True)
class Installed:
    """The program with its files, and who is there."""

    place: Place
    service: str
    member: str
    stranger: str

    def own(self, user: str) -> Path:
        """A folder of the account's own."""
        return self.place.folder / user

    def answers(self, user: str, table: dict[str, tuple[str, ...]]) -> dict[str, tuple[int, str, str]]:
        """What each verb ended with and said."""
        known = {"own": str(self.own(user)), "log": str(self.own(user) / "log")}
        asked = [[*verb.split(), *(each.format(**known) for each in given)] for verb, given in table.items()]
        done = self.place.python(_CALLS, user=user, given=json.dumps(asked), folder=self.own(user))
        assert done.returncode == 0, done.stderr
        return {verb: (code, out, err) for verb, (code, out, err) in zip(table, json.loads(done.stdout), strict=True)}


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    """As the package installs it: configuration and rules for the group to read, secrets for root alone."""
    with place() as bare, accounts("service", "member", "stranger", member_of={"member": "service"}) as people:
        service, member, stranger = people
        etc, state = bare.folder / "etc", bare.folder / "state"
        for folder, mode in ((etc, 0o750), (etc / "rules", 0o750), (etc / "secrets", 0o700), (state, 0o750)):
            folder.mkdir()
            folder.chmod(mode)
        secret = etc / "secrets" / "mail"
        secret.write_text(_SECRET)
        secret.chmod(0o600)
        settings = etc / "detector.toml"
        # A few: to read all that ship, for each verb, takes long.
        for name in ("vertical_scan", "host_silent", "capture_lost"):
            shutil.copy(shipped.folder("rules") / f"{name}.yml", etc / "rules")
        settings.write_text(
            f'state_folder = "{state}"\n[rules]\nfolders = ["{etc / "rules"}"]\n'
            f'[[channels]]\nname = "mail"\nurl_file = "{secret}"\n[digest]\nchannels = ["mail"]\n'
        )
        settings.chmod(0o640)
        subprocess.run(["chown", "-R", f"root:{service}", etc], check=True)
        subprocess.run(["chown", "-R", "root:root", etc / "secrets"], check=True)
        subprocess.run(["chown", f"{service}:{service}", state], check=True)
        environment = {name: value for name, value in bare.environment.items() if not name.startswith("DETECTOR_")}
        made = Place(bare.folder, {**environment, "DETECTOR_CONFIG": str(settings), "EDITOR": "true"})
        upgraded = made.run("db", "upgrade", user=service)
        assert upgraded.returncode == 0, upgraded.stderr
        (state / "detector.db").write_bytes(stored_file())
        for change in _BEFORE:
            done = made.run(*change)
            assert done.returncode == 0, done.stderr
        for user in people:
            own = made.folder / user
            own.mkdir()
            (own / "log").write_text("{}\n")
            shutil.chown(own, user, user)
        Spool(state / "spool", 1_000_000).close()
        yield Installed(made, service, member, stranger)


def test_every_verb_is_in_a_table() -> None:
    """Whoever adds one says who may call it."""
    assert set(verbs(program)) == ANSWERED.keys() | REFUSED.keys() | NEITHER.keys()


def test_a_member_is_told(installed: Installed) -> None:
    """Rows, alerts, rules, models: all that only reads."""
    answers = installed.answers(installed.member, ANSWERED)
    for verb, (code, out, err) in answers.items():
        # 1: doctor has something to complain of, or there is no forest.
        assert code in {0, 1}, (verb, code, err)
        assert "readonly" not in err, (verb, err)
        assert "hunter2" not in out + err, verb
    assert "mallory" in answers["query"][1]
    assert "203.0.113.66" in answers["alerts list"][1]


def test_a_member_changes_nothing(installed: Installed) -> None:
    """Each refusal is a sentence with an exit code of its own, and nothing is different afterwards."""
    before = _files(installed)
    for verb, (code, out, err) in installed.answers(installed.member, REFUSED).items():
        assert code in ({1} if verb == "notify test" else {69, 73, 74}), (verb, code, out, err)
        assert 1 <= len(err.splitlines()) <= _LINES.get(verb, 4), (verb, err)
        assert "hunter2" not in out + err, verb
    assert _files(installed) == before


# Each thing that the machine lacks has two.
_LINES = {"collect": 20, "run": 20}


def _files(installed: Installed) -> dict[str, bytes]:
    folders = (installed.place.folder / name for name in ("etc", "state"))
    return {str(path): path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def test_everybody_else_is_told_nothing(installed: Installed) -> None:
    """One clear line, of whatever verb; doctor and the bundle, which are there for what is broken, tell no name."""
    for verb, (code, out, err) in installed.answers(installed.stranger, {**ANSWERED, **REFUSED}).items():
        assert "mallory" not in out + err, verb
        assert "203.0.113.66" not in out, verb
        if verb in {"doctor", "support-bundle"}:
            continue
        assert (code, out) == (78, ""), (verb, code, out, err)
        first, *others = err.splitlines()
        assert first.startswith("detector: "), verb
        assert "Permission denied" in first, verb
        assert len(others) <= 1, (verb, err)


@pytest.mark.parametrize("who", ["member", "stranger"])
def test_secrets_and_what_waits_are_for_nobody(installed: Installed, who: str) -> None:
    """Neither a password, nor a snapshot that waits; and whoever is not in the group sees no file at all."""
    folder = installed.place.folder
    closed = [folder / "etc" / "secrets" / "mail", folder / "state" / "spool"]
    if who == "stranger":
        closed += [folder / "etc" / "detector.toml", folder / "state" / "detector.db", folder / "etc" / "rules"]
    user = getattr(installed, who)
    for path in closed:
        seen = subprocess.run(
            ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "ls" if path.is_dir() else "cat", path],
            capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
        assert (seen.returncode != 0, seen.stdout) == (True, ""), path
        assert "Permission denied" in seen.stderr
