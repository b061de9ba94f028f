"""`detector notify digest`."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from detector.domain import NotificationState
from tests.notify.samples import entries
from tests.service.digest_past import END, START, fill

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.cli.conftest import Call

PERIOD = ("--since", START.isoformat(), "--until", END.isoformat())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with two channels, one of which takes digests."""
    path = tmp_path / "detector.toml"
    channel = '[[channels]]\nname = "{}"\nurl = "json://127.0.0.1/s3cret"\n'
    path.write_text('[digest]\nchannels = ["mail"]\n' + channel.format("mail") + channel.format("chat"))
    return path


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """With the day in `digest_past`."""
    fill(engine)
    return engine


@pytest.mark.usefixtures("filled")
def test_a_period_is_shown(call: Call) -> None:
    """As text, and as JSON with the same figures."""
    shown = call("notify", "digest", *PERIOD)
    assert shown.code == 0
    assert shown.lines[0] == "Digest, Tue 3 Mar: 7 alerts (1 high, 1 medium, 5 low), 1 unanswered; capture 95.83 %"
    assert "    detector rules tune --from-alert 5" in shown.lines
    told = json.loads(call("notify", "digest", *PERIOD, "--json").out)
    assert (told["alerts"]["total"], told["capture"]["lost_events"], told["destinations"]["normal"]) == (7, 7, 2)
    assert told["start"] == "2026-03-02T07:00:00Z"


@pytest.mark.usefixtures("filled")
def test_it_is_written_to_a_file(call: Call, tmp_path: Path) -> None:
    """A page that needs nothing else, JSON, or text, by the name."""
    for name, beginning in (("d.html", "<!doctype html>"), ("d.json", "{"), ("d.txt", "Mon 2 Mar 07:00")):
        done = call("notify", "digest", *PERIOD, "--out", tmp_path / name)
        assert (done.code, done.out) == (0, "")
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(beginning)
    page = (tmp_path / "d.html").read_text(encoding="utf-8")
    assert "color-scheme" in page
    assert "src=" not in page
    missing = call("notify", "digest", *PERIOD, "--out", tmp_path / "none" / "d.html")
    assert missing.code != 0
    assert "No such file or directory" in missing.err


def test_it_is_put_into_the_outbox(call: Call, filled: Engine, file: Path) -> None:
    """Of the channels in [digest], or those that are named; whoever asks twice is sent it twice."""
    before = len(entries(filled))
    done = call("--config", file, "notify", "digest", *PERIOD, "--send")
    assert done.code == 0
    assert "put into the outbox for mail" in done.err
    call("--config", file, "notify", "digest", *PERIOD, "--send", "--channel", "chat", "--channel", "console")
    new = entries(filled)[before:]
    assert [(each.channel, each.reason) for each in new] == [
        ("mail", "digest"),
        ("chat", "digest"),
        ("console", "digest"),
    ]
    assert {(each.state, each.alert_id) for each in new} == {(NotificationState.PENDING, None)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--send",), "no channel is named for digests"),
        (("--send", "--channel", "pager"), "there is no channel 'pager'; there is console"),
        (("--channel", "console"), "add --send"),
        (("--since", "2d", "--until", "3d"), "it is not before --until"),
        (("--since", "2020-01-01"), "a digest is of a year at most"),
    ],
)
def test_what_cannot_be_meant_is_refused(call: Call, arguments: tuple[str, ...], message: str) -> None:
    """With what would be right."""
    refused = call("notify", "digest", *arguments)
    assert refused.code != 0
    assert message in refused.err


def test_a_database_of_nothing_has_one(call: Call, engine: Engine) -> None:
    """It says that nothing was captured."""
    assert engine.dialect.name == "sqlite"
    shown = call("notify", "digest", "--since", "7d")
    assert shown.code == 0
    assert "no alerts; nothing captured" in shown.lines[0]
    assert "Capture: nothing was captured" in shown.lines


def test_the_default_is_the_last_day(call: Call, engine: Engine) -> None:
    """Up to now."""
    assert engine.dialect.name == "sqlite"
    told = json.loads(call("notify", "digest", "--json").out)
    length = datetime.fromisoformat(told["end"]) - datetime.fromisoformat(told["start"])
    assert length == timedelta(days=1)
