"""`detector notify preview`."""

from __future__ import annotations

import json
from email import message_from_bytes, policy
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from detector.cli.notify_preview import preview
from detector.config import Channel, Notify, Settings
from detector.notify.previewing import KINDS
from detector.service import messages
from tests.notify.samples import enqueue
from tests.notify.servers import part

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine


@pytest.fixture(autouse=True)
def no_time_for_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of charts draw."""
    monkeypatch.setattr(messages, "draw", lambda _: b"\x89PNG\r\n\x1a\nnot drawn")


def test_each_kind_is_shown() -> None:
    """Without a database or a channel: the example, with its size, as each kind would be sent it."""
    done = CliRunner().invoke(preview, [], obj=Settings(), catch_exceptions=False)
    assert done.exit_code == 0
    assert [line.split()[1].rstrip(":") for line in done.output.splitlines() if line.startswith("-- ")] == list(KINDS)
    assert done.output.count("[high] bastion-1: Vertical port scan") == len(KINDS)
    assert r"login\_user alice" in done.output


def test_files_are_written_to_be_looked_at(tmp_path: Path) -> None:
    """A mail with its picture in it, a page, the picture, and what Slack is posted."""
    out = tmp_path / "new" / "folder"
    done = CliRunner().invoke(preview, ["--out", str(out)], obj=Settings(), catch_exceptions=False)
    assert done.exit_code == 0
    names = {path.name for path in out.iterdir()}
    assert names == {*(f"{kind}.txt" for kind in KINDS), "mail.html", "mail.eml", "slack.json", "chart.png"}
    assert done.output.split() == sorted(done.output.split(), key=done.output.index)
    mail = message_from_bytes((out / "mail.eml").read_bytes(), policy=policy.default)
    assert mail["Subject"] == "[high] bastion-1: Vertical port scan"
    assert 'src="cid:chart.png"' in part(mail, "html")
    (picture,) = [each for each in mail.walk() if each.get_content_type() == "image/png"]
    assert picture["Content-ID"] == "<chart.png>"
    assert picture.get_payload(decode=True) == (out / "chart.png").read_bytes()
    assert 'src="chart.png"' in (out / "mail.html").read_text()
    posted = json.loads((out / "slack.json").read_text())
    assert [block["type"] for block in posted["attachments"][0]["blocks"]] == ["header", "section", "context"]


def test_a_stored_alert_is_shown_as_a_channel_would_be_sent_it(sqlite_engine: Engine) -> None:
    """By its number, and by the name of a channel, whose address says of which kind it is."""
    enqueue(sqlite_engine)
    settings = Settings(
        database=Settings().database.__class__(url=sqlite_engine.url.render_as_string(hide_password=False)),
        channels=(Channel(name="ops", url="discord://100000000000000000/secret-token"),),
    )
    arguments = ["--alert", "1", "--channel", "ops", "--reason", "grown tenfold"]
    done = CliRunner().invoke(preview, arguments, obj=settings, catch_exceptions=False)
    assert done.exit_code == 0
    assert "[high] bastion-1: Scan (grown tenfold)" in done.output
    assert "**What you can do**" in done.output
    assert "secret-token" not in done.output


def test_a_template_with_a_fault_is_named(tmp_path: Path) -> None:
    """Beside the message as it ships."""
    (tmp_path / "subject.txt").write_text("{{ hots }}")
    settings = Settings(notify=Notify(templates=str(tmp_path)))
    done = CliRunner().invoke(preview, ["--channel", "mail"], obj=settings, catch_exceptions=False)
    assert f"template refused: {tmp_path / 'subject.txt'}:1: 'hots' is undefined" in done.output
    assert "[high] bastion-1: Vertical port scan" in done.output


def test_an_unknown_name_lists_what_there_is() -> None:
    """Channels and kinds."""
    done = CliRunner().invoke(preview, ["--channel", "fax"], obj=Settings())
    assert done.exit_code == 2
    assert "neither a channel nor a kind 'fax'" in done.output
    assert "slack" in done.output
