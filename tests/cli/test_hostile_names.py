"""Processes, users, hosts, rules and people that are called an escape sequence with a tag, in all that any verb says.

Each verb stands in a table here. One that does not is missing, and the test of the table says so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert

from detector import config, shipped
from detector.cli.checks import kernel
from detector.cli.program import program
from detector.notify.previewing import KINDS
from detector.service.metrics.serving import served
from detector.store.engine import open_store, writing
from detector.store.migrating import upgrade
from detector.store.tables import notifications
from tests.builders import START, Recorder, count
from tests.cli.terminals import Terminal
from tests.full_store import SINCE, Names, fill
from tests.fuzz.harness import check_harmless
from tests.service.test_delivering import Faults
from tests.verbs import verbs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call

NAME = "\x1b]0;x\x07<script>"
_SEEN = r"\x1b]0;x\x07<script>"
_RULE = "9d3c1b2e-6f0a-4c1e-8f57-0d7b7d0f4a99"
_RULES = ("vertical_scan", "anomaly_score", "host_silent", "rules_refused")
_PERIOD = ("--since", SINCE, "--until", "2026-03-04")
_ASK = ("--since", SINCE)
_AUTHOR = ("--author", NAME)

VERBS: dict[str, tuple[tuple[str, ...], ...]] = {
    "doctor": ((), ("--json",)),
    "support-bundle": (("--out", "{out}/bundle.tar.gz", "--log", "{log}", "--json"),),
    "query": (
        _ASK,
        *((*_ASK, "--format", form) for form in ("json", "jsonl", "csv")),
        *((*_ASK, "--by", "user,executable,remote_name,remote_country", "--format", form) for form in ("table", "csv")),
        (*_ASK, "--new"),
        (*_ASK, "--chart"),
        (*_ASK, "--incomplete"),
        (*_ASK, "--user", NAME),
    ),
    "who": (("203.0.113.66", *_ASK), (NAME, "--as", "user", *_ASK), (NAME, "--as", "program", *_ASK, "--json")),
    "diff": tuple(
        ("--from", "2026-03-02 09:00..2026-03-02 10:00", "--to", "2026-03-02 10:00..2026-03-03", "--format", form)
        for form in ("table", "json", "csv")
    ),
    "top": (("--over", "1d"), ("--over", "1d", "--json")),
    "alerts list": (_ASK, (*_ASK, "--json"), ("--held",)),
    "alerts show": (("1",), ("2", "--json")),
    "alerts ack": (("1", *_AUTHOR, "--note", NAME),),
    "alerts note": (("1", NAME, *_AUTHOR),),
    "alerts resolve": (("1", *_AUTHOR, "--note", NAME, "--as", "true"),),
    "alerts benign": (("1", "--yes", "--reason", NAME, *_AUTHOR), ("2", "--no-filter", "--yes", "--reason", NAME)),
    "alerts silence": (
        ("2", "--for", "1h", "--reason", NAME, *_AUTHOR, "--yes"),
        ("2", "--for", "1h", "--reason", "x", "--dry-run"),
    ),
    "silence add": (
        (f"user={NAME}", "--for", "1h", "--reason", NAME, *_AUTHOR, "--yes"),
        (f"{NAME}=1", "--for", "1h", "--reason", "x"),
    ),
    "silence list": (("--all",), ("--all", "--json")),
    "silence expire": (("1", *_AUTHOR),),
    "import jsonl": (("{rows}", "--host", "copy"), ("{log}", "--host", "other", "--json")),
    "import zeek": (("{log}", "--host", "other"),),
    "export": ((*_ASK, "--what", "observations"), (*_ASK, "--what", "alerts")),
    "rules list": ((), ("--json",), ("--cost",)),
    "rules show": (("named",), ("named", "--json")),
    "rules check": ((), ("{broken}",), ("{broken}", "--json")),
    "rules test": (("vertical_scan", *_ASK), ("vertical_scan", *_ASK, "--json")),
    "rules explain": (("vertical_scan", "1"), ("vertical_scan", "1", "--json")),
    "rules convert": (("named", "--for", "sqlite"),),
    "rules tune": (("vertical_scan", "--from-alert", "1", "--no-test", "--yes", "--reason", NAME, *_AUTHOR),),
    "rules new": (("made", "--from-alert", "1", "--no-edit", "--title", NAME, *_AUTHOR),),
    "rules disable": (("named", "--reason", NAME, *_AUTHOR),),
    "rules enable": (("named",),),
    "rules diff": (("named",), (NAME,)),
    "rules rollback": (("named", "--list"), (NAME,)),
    "model list": ((), ("--json",)),
    "model status": ((), ("--json",)),
    "model explain": (("--alert", "1"), (*_ASK, "--limit", "3"), (*_ASK, "--limit", "3", "--json")),
    "model review": (("--list", "--all"), ("--list", "--all", "--json"), ("--accept", "2", *_AUTHOR)),
    "model feedback add": (("1", "benign", "--reason", NAME, *_AUTHOR),),
    "model feedback list": ((), ("--json",)),
    "model feedback undo": (("1",),),
    "model train": ((), ("--json",)),
    "model rollback": (("1",),),
    "notify digest": (
        (*_PERIOD,),
        (*_PERIOD, "--json"),
        *((*_PERIOD, "--out", f"{{out}}/d.{end}") for end in ("html", "txt", "json")),
    ),
    "notify preview": (("--alert", "1"), ("--alert", "2", "--reason", NAME, "--out", "{out}/preview")),
    "notify route": (("1",), ("1", "--json")),
    "notify status": ((), ("--json",)),
    "notify resend": (("--dead",),),
    "notify test": (("away",), (NAME,)),
    "verify": ((), ("--json",), ("--noted", f"{NAME}:1:00")),
    "db status": ((), ("--json",)),
    "db backup": (("{out}/copy.db",),),
    "db prune": (("--older-than", "30d", "--dry-run"),),
    "db vacuum": ((),),
    "db roles": ((),),
    "db upgrade": ((),),
    "db downgrade": ((NAME,),),
}
"""What is asked of each verb that has an end; each answer is looked at, and all files that it writes."""
ELSEWHERE = {
    "run": "starts the two roles, whose lines tests/test_log.py looks at",
    "collect": "says how many rows it stored, and no name of them",
    "detect": "see test_the_service_says_names_harmlessly",
    "alerts watch": "see test_what_is_watched_is_harmless",
    "rules edit": "opens an editor with the file; what it says is what rules check says",
    "evaluate": "see test_names_from_a_manifest_do_no_harm_to_a_terminal in test_evaluate.py",
}
"""Verbs that go on, or ask for an editor, and where they are looked at."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration, rules of one's own, and a store in which everything has the name."""
    folder = tmp_path_factory.mktemp("hostile")
    rules, out = folder / "rules", folder / "out"
    for each in (rules, out):
        each.mkdir()
    for name in _RULES:
        shutil.copy(shipped.folder("rules") / f"{name}.yml", rules)
    (rules / "named.yml").write_text(_rule(NAME))
    (folder / "broken.yml").write_text(f"{json.dumps(NAME)}: 1\n{_rule(NAME)}level: {json.dumps(NAME)}\n")
    (folder / "log").write_text(f"{NAME}\n")
    (folder / "rows.jsonl").write_text(
        json.dumps({"host": "copy", "user": NAME, "start": "2026-03-02T09:00:00Z"}) + "\n"
    )
    (folder / "templates").mkdir()
    (folder / "templates" / "subject.txt").write_text("{{ " + NAME)
    url = f"sqlite:///{folder / 'detector.db'}"
    (folder / "detector.toml").write_text(
        f'state_folder = "{folder}"\n[database]\nurl = "{url}"\n[rules]\nfolders = ["{rules}"]\n'
        f'[notify]\ntemplates = "{folder / "templates"}"\n'
        '[[channels]]\nname = "away"\nurl = "json://127.0.0.1:9"\n[digest]\nchannels = ["away"]\n'
    )
    engine = open_store(url)
    upgrade(engine)
    fill(engine, Names.all(NAME))
    # And what happens now.
    Recorder(engine, host=NAME, now=datetime.now(UTC) - timedelta(minutes=1)).snapshot(
        count(user=NAME, executable=NAME)
    )
    engine.dispose()
    return folder


def _rule(name: str) -> str:
    written = json.dumps(name)
    return (
        f"title: {written}\nid: {_RULE}\nname: named\nlevel: low\ndescription: {written}\nauthor: {written}\n"
        "logsource: {category: network_connection, product: linux}\n"
        f"falsepositives: [{written}]\ndetection:\n  selection:\n    User: {written}\n  condition: selection\n"
    )


@pytest.fixture
def here(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, to be changed by one test."""
    # No kernel program is loaded: test_doctor.py looks at what comes of that.
    monkeypatch.setattr(kernel, "hooks", lambda _: iter(()))
    folder = tmp_path / "here"
    shutil.copytree(place, folder)
    path = folder / "detector.toml"
    path.write_text(path.read_text().replace(str(place), str(folder)))
    return folder


def _asked(verb: str) -> list[tuple[str, ...]]:
    return [(*verb.split(), *arguments) for arguments in VERBS[verb]]


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_says_it_as_it_is(call: Call, here: Path, verb: str) -> None:
    """Neither on a terminal, nor in JSON or CSV, nor in any file that is written for people."""
    known = {"out": here / "out", "log": here / "log", "rows": here / "rows.jsonl", "broken": here / "broken.yml"}
    for arguments in _asked(verb):
        said = call(
            "--config", here / "detector.toml", *(each.format(**known) if "{" in each else each for each in arguments)
        )
        assert said.code in {0, 1, 2, 65, 69, 73, 74, 78}, (arguments, said.err)
        assert "Traceback" not in said.err
        check_harmless(said.out)
        check_harmless(said.err)
        if "csv" in arguments:
            assert not re.search(r'(?:^|[,"\n])[=+@]', said.out)
    for path in sorted((here / "out").rglob("*")):
        if path.is_file():
            _check_file(path)


def _check_file(path: Path) -> None:
    if path.suffix == ".html":
        check_page(path.read_text(encoding="utf-8"))
    elif path.suffix == ".eml":
        _check_mail(path.read_bytes())
    elif path.suffix == ".json":
        _check_posted(path)
    elif path.suffix == ".gz":
        with tarfile.open(path) as bundle:
            for member in bundle:
                file = bundle.extractfile(member)
                assert file is not None
                check_harmless(file.read().decode())
    elif path.suffix not in {".png", ".db"}:
        check_harmless(path.read_text(encoding="utf-8"))


class _Tags(HTMLParser):
    """The elements of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes it, and looks for what does something."""
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)


def check_page(page: str) -> None:
    """A page has no script of whoever named something, and no control characters."""
    check_harmless(page)
    assert "script" not in _Tags(page).tags


def _check_mail(content: bytes) -> None:
    mail = message_from_bytes(content, policy=policy.default)
    assert all(str(value).isprintable() for value in mail.values())
    kinds = set()
    for part in mail.walk():
        kinds.add(part.get_content_type())
        if part.get_content_type() == "text/html":
            check_page(part.get_content().replace("\r", ""))
        elif part.get_content_type() == "text/plain":
            check_harmless(part.get_content().replace("\r", ""))
    assert {"text/html", "text/plain"} <= kinds


def _check_posted(path: Path) -> None:
    """What Slack is sent has no markup of others, and no JSON a character that does not print."""
    content = path.read_text(encoding="utf-8")
    check_harmless(content)
    json.loads(content)
    if path.name.startswith("slack"):
        assert "<script>" not in content


def test_every_verb_is_in_the_table() -> None:
    """Whoever adds a verb says how it is looked at."""
    assert set(verbs(program)) == VERBS.keys() | ELSEWHERE.keys()
    assert not VERBS.keys() & ELSEWHERE.keys()


def test_the_name_is_told_all_the_same(call: Call, here: Path) -> None:
    """Written out, so that people see what it is: it is not left out of what would show it."""
    at = ("--config", here / "detector.toml")
    for arguments in (
        ("query", *_ASK),
        ("alerts", "list", *_ASK),
        ("silence", "list"),
        ("notify", "status"),
        ("rules", "list"),
    ):
        assert _SEEN in call(*at, *arguments).out, arguments
    rows = json.loads(call(*at, "query", *_ASK, "--json", "--user", "*script*").out)
    assert {row["user"] for row in rows} == {NAME}
    assert call(*at, "notify", "preview", "--alert", "1", "--out", here / "out").code == 0
    assert "&lt;script&gt;" in (here / "out" / "mail.html").read_text(encoding="utf-8")


def test_every_kind_of_channel_is_previewed(call: Call, here: Path) -> None:
    """What is looked at above are messages to all of them."""
    call("--config", here / "detector.toml", "notify", "preview", "--alert", "1", "--out", here / "out")
    assert {path.stem for path in (here / "out").iterdir()} >= set(KINDS)


def test_figures_are_served_harmlessly(here: Path) -> None:
    """Labels of hosts and channels that have the name."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"DETECTOR_METRICS_LISTEN": f"127.0.0.1:{port}"}
    settings = config.load(here / "detector.toml", environment)
    engine = open_store(settings.database_url)
    with served(settings, engine, Faults()):
        for page in ("metrics", "healthz"):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=30) as answer:
                    said = answer.read().decode()
            except urllib.error.HTTPError as fault:
                with fault:
                    said = fault.read().decode()
            check_harmless(said)
            assert page == "healthz" or "script" in said
    engine.dispose()


def test_what_is_watched_is_harmless(here: Path) -> None:
    """A screen that is drawn anew all the time shows the name, and does nothing that it says."""
    for arguments in (("alerts", "watch"), ("top", "--over", "1d")):
        with Terminal("--config", here / "detector.toml", *arguments) as terminal:
            seen = terminal.expect(r"\x1b]0;x")
            assert "\x1b]0;" not in seen


def test_the_service_says_names_harmlessly(here: Path) -> None:
    """Its console, which is text, and its log, as JSON here: tests/test_log.py has all forms of it."""
    engine = open_store(f"sqlite:///{here / 'detector.db'}")
    with writing(engine) as connection:
        row = {"channel": "console", "reason": NAME, "state": "pending", "attempts": 0, "alert_id": 1}
        connection.execute(insert(notifications).values(**row, created_at=START, next_attempt_at=START))
    engine.dispose()
    environment = {**os.environ, "DETECTOR_LOG_FORMAT": "json", "DETECTOR_LOG_LEVEL": "debug"}
    command = [sys.executable, "-m", "detector", "--config", str(here / "detector.toml"), "detect"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        said = ""
        assert process.stdout
        for line in process.stdout:
            said += line
            if "template refused" in said and "==" in said:
                break
        process.terminate()
        said += process.stdout.read()
    check_harmless(said)
    assert r"\x1b" in said
