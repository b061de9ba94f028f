"""`detector who`, `detector diff` and `detector top`."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert

from detector.store.engine import writing
from detector.store.tables import alert_values
from tests.builders import Recorder, count, insert_alert

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.cli.conftest import Call

_PROGRAM = Path(sys.executable).with_name("detector")
_FROM = {"login_address": "203.0.113.7", "login_source": "logind"}


@pytest.fixture
def recorder(engine: Engine) -> Recorder:
    """Two days: alice, who comes from afar, reaches two addresses; bob one of them, on the second day alone."""
    recorder = Recorder(engine)
    recorder.snapshot(count("10.0.4.12", 22, attempted=3, refused=3, **_FROM), count("10.0.4.13", 443, **_FROM))
    recorder.pass_time(hours=24)
    recorder.snapshot(
        count("10.0.4.12", 22, user="bob", login_user="bob", executable="/usr/bin/nc"),
        count("10.0.4.13", 443, attempted=9, established=9),
    )
    insert_alert(engine)
    with writing(engine) as connection:
        connection.execute(insert(alert_values).values(alert_id=1, field="address", value="10.0.4.12"))
    return recorder


@pytest.mark.usefixtures("recorder", "zone")
def test_all_that_is_known_of_an_address(call: Call) -> None:
    """When, by whom, how, at which hours, which alerts, and what else those reached."""
    result = call("who", "10.0.4.12")

    assert result.code == 0, result.err
    text = re.sub(" {2,}", "  ", result.out)
    assert "first seen 2026-03-02 10:00:00+01:00, last 2026-03-03 10:00:20+01:00, on bastion-1" in text
    assert "1 established, 3 refused" in text
    assert "alice  alice  /usr/bin/ssh  3 refused" in text
    assert "bob  bob  /usr/bin/nc  1 established" in text
    assert "Port scan of one destination" in text
    elsewhere = text.partition("What else these users reached lately:")[2]
    assert "10.0.4.13  443  10 established" in elsewhere
    assert "10.0.4.12" not in elsewhere


@pytest.mark.usefixtures("recorder", "zone")
def test_a_dossier_as_an_object(call: Call) -> None:
    """The same for a script."""
    found = json.loads(call("who", "alice", "--json").out)

    (part,) = found["parts"]
    assert (found["kind"], part["role"], part["attempted"], part["refused"]) == ("user", "the user", 13, 3)
    assert [(each["remote_address"], each["port"]) for each in part["where_to"]] == [
        ("10.0.4.13", 443),
        ("10.0.4.12", 22),
    ]
    assert [each["login_address"] for each in part["from_where"]] == ["203.0.113.7"]
    # Monday and Tuesday at ten.
    assert [(day, hour) for day in range(7) for hour in range(24) if part["week"][day][hour]] == [(0, 10), (1, 10)]
    assert sum(map(sum, part["week"])) == 13
    assert found["elsewhere"] == []


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize(
    ("arguments", "kind", "attempted"),
    [
        (["10.0.4.0/24"], "address", [14]),
        (["203.0.113.7"], "address", [4]),
        (["*/nc"], "exe", [1]),
        (["/usr/bin/*"], "exe", [14]),
        (["b?b"], "user", [1]),
        (["10.0.4.12", "--since", "2026-03-03"], "address", [1]),
        (["nc", "--as", "exe"], "exe", []),
        (["alice", "--host", "web-*"], "user", []),
    ],
)
def test_what_is_asked_about_is_told_by_its_form(
    call: Call, arguments: list[str], kind: str, attempted: list[int]
) -> None:
    """An address or network reads like one, a program has a slash, all else is a user."""
    found = json.loads(call("who", *arguments, "--json").out)

    assert found["kind"] == kind
    assert [part["attempted"] for part in found["parts"]] == attempted


@pytest.mark.usefixtures("recorder")
def test_of_strangers_nothing_is_known(call: Call) -> None:
    """Which is said, with what to try."""
    result = call("who", "mallory")

    assert (result.code, result.out) == (0, "")
    assert "nothing is known of the user mallory" in result.err
    assert call("who", "mallory", "--as", "address").code == 2


@pytest.mark.usefixtures("recorder", "zone")
def test_what_is_new_and_what_is_gone(call: Call) -> None:
    """Between two days: bob is new, alice's way to the first address is gone, the other is in both."""
    result = call("diff", "--from", "2026-03-02", "--to", "2026-03-03", "--by", "login_user,destination")

    assert [re.split(" {2,}", line)[:4] for line in result.lines[1:]] == [
        ["+", "bob", "10.0.4.12", "1 established"],
        ["-", "alice", "10.0.4.12", "3 refused"],
    ]
    assert result.err == "1 new, 1 gone, 1 in both\n"
    found = json.loads(call("diff", "--from", "2026-03-02..2026-03-03", "--json").out)
    assert [(each["change"], each["user"], each["port"]) for each in found] == [
        ("new", "bob", 22),
        ("gone", "alice", 22),
    ]
    nothing = call("diff", "--from", "2026-03-02", "--address", "10.0.4.13")
    assert (nothing.out, nothing.err) == ("", "0 new, 0 gone, 1 in both\n")


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ([], "--from"),
        (["--from", "14:00"], "write 14:00.."),
        (["--from", "7d.."], "name the second period with --to"),
        (["--from", "7d"], "name the second period with --to"),
        (["--from", "1d..7d", "--to", "1d"], "ends before it begins"),
    ],
)
def test_a_period_that_is_none_is_refused(call: Call, arguments: list[str], advice: str) -> None:
    """With what would be one."""
    result = call("diff", *arguments)

    assert result.code == 2
    assert advice in " ".join(result.err.split())


@pytest.mark.usefixtures("recorder", "zone")
def test_what_happens_now(call: Call) -> None:
    """Without a terminal it is shown once: what is in the newest snapshots, and when these were."""
    result = call("top", "--by", "user")

    assert result.code == 0, result.err
    assert result.lines[0].startswith("bastion-1 until 2026-03-03 10:00:20+01:00; in 60 s: 10 attempts")
    assert [line.split()[0] for line in result.lines[2:]] == ["alice", "bob"]
    found = json.loads(call("top", "--json", "--user", "bob").out)
    assert [(row["user"], row["port"]) for row in found["rows"]] == [("bob", 22)]
    assert found["hosts"][0]["end"] == "2026-03-03T09:00:20Z"


@pytest.mark.usefixtures("store")
def test_nothing_happens_yet(call: Call) -> None:
    """An empty store is no fault."""
    assert call("top").lines == ["no snapshots yet"]


def test_the_view_follows_the_snapshots(recorder: Recorder, store: str) -> None:
    """On a terminal it is drawn anew when one is stored, and ends quietly with Ctrl-C."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "DETECTOR_DATABASE_URL": store, "TERM": "xterm", "COLUMNS": "160", "LINES": "30"}
    with subprocess.Popen(
        [_PROGRAM, "top"], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment
    ) as watching:
        os.close(theirs)
        try:
            _read_until(ours, b"/usr/bin/nc")
            recorder.snapshot(count(executable="/usr/bin/newcomer"))
            _read_until(ours, b"/usr/bin/newcomer")
            watching.send_signal(signal.SIGINT)
            assert watching.wait(20) == 130
            assert watching.stderr is not None
            assert watching.stderr.read().strip() == b""
        finally:
            watching.kill()
            os.close(ours)


def _read_until(descriptor: int, text: bytes) -> None:
    seen = b""
    deadline = time.monotonic() + 30
    while text not in seen:
        ready, _, _ = select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))
        assert ready, seen
        seen += os.read(descriptor, 65536)
