"""A digest as text and as HTML: whole, short enough, and with nothing from outside that does anything."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings

from detector.digest import Kind, to_stored
from detector.domain import Notice, Severity
from detector.notify.apprise_notifier import AppriseNotifier
from detector.notify.digest_message import page, render_digest
from detector.notify.digest_text import full_text, sparkline
from detector.notify.notices import render_notice
from tests.examples import examples
from tests.hostile import NAMES, TEXT
from tests.notify.digests import START, digest, quiet
from tests.notify.servers import MailServer, part

# The most that a service with room for a text takes, and a header.
TEXT_LIMIT, TITLE_LIMIT = 3000, 150
MARKUP = {"div", "p", "b", "br", "span", "table", "tr", "td", "ul", "li", "pre"}


class Reader(HTMLParser):
    """Keeps the tags that are open, what they are, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remembers it."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in {"br", "meta"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """It closes the last one."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keeps it."""
        self.words.append(data)


def read(html: str) -> Reader:
    """Read to its end."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


def test_the_subject_says_what_matters() -> None:
    """Which digest of which day, how many alerts, whether somebody has to answer, and how complete capture was."""
    message = render_digest(digest(), Severity.MEDIUM)
    assert message.title == "Daily digest, Tue 3 Mar: 28 alerts (2 critical, 26 low), 1 unanswered; capture 99.53 %"
    assert render_digest(quiet(), Severity.LOW).title == "Daily digest, Tue 3 Mar: no alerts; capture complete"
    weekly = replace(digest(length=timedelta(days=7)), kind=Kind.WEEKLY)
    assert render_digest(weekly, Severity.LOW).title.startswith("Weekly digest, 2 Mar to 9 Mar: ")


def test_the_text_tells_everything() -> None:
    """Each part with its figures, each suggestion with its command, times in the zone that is configured."""
    lines = full_text(digest()).splitlines()
    assert lines[0] == "Mon 2 Mar 07:00 to Tue 3 Mar 07:00 (Europe/Berlin), 1 host"
    text = "\n".join(lines)
    for expected in (
        "2 critical",
        "2 called benign, 1 called true",
        "Nobody has answered 1 high or critical alert",
        "    detector alerts show 12",
        "- 12 [critical] bastion-1: bastion-1; Mon 2 Mar 07:00, open; bastion-1, via bastion-1, tried 300 ports",
        "- and 3 more",
        "False alerts of the scores: 1 told, at most 0.14 promised for 1 host",
        "- bastion-1: 0.29 a day over 14.0 days, 0.14 promised",
        "New destinations: 14: 5 became normal, 7 met once, 2 behind alerts",
        "- bastion-1 to [2001:db8::7]:443 (bastion-1): bastion-1 with bastion-1; since Mon 2 Mar 07:00",
        "Rules: 58 in force, 3 opened alerts, 49 quiet for 30 days",
        "    detector rules tune --from-alert 31",
        "    detector rules disable reverse_tunnel --reason 'never here'",
        "- bastion-1: Mon 2 Mar 07:00 for 2 h 5 min",
        "Capture: 99.53 % of the time of 1 host was watched, 7 events lost, 1 snapshot lost, 3 snapshots waited for",
        "- bastion-1: 99.53 %, 12 of 8,640 snapshots incomplete, 7 events lost, 1 snapshot lost, 2 taken blind",
        "Notifications: mail 1,204 delivered, 1 given up, 2 waiting",
        "Database: 812 MB of at most 4,000 MB, growing by 12 MB a day",
        "--since '2026-03-02 06:00:00+00:00' --until '2026-03-03 06:00:00+00:00'",
    ):
        assert expected in text, expected


def test_html_tells_what_the_text_tells() -> None:
    """Whoever reads mail misses nothing that stands in the text."""
    told = digest(many=3)
    words = " ".join("".join(read(render_digest(told, Severity.LOW).html).words).split())
    for line in full_text(told).splitlines():
        # The lines of the charts, and of alerts, are laid out otherwise.
        if re.match(r"  by |- \d+ \[|- bastion-1: |- and|Hosts|False|Again", line):
            continue
        said = re.sub(r"^(- (noisy|quiet): |- |Alerts: |New destinations: |[A-Z][a-z]+: )", "", line.strip())
        assert said in words, line


@pytest.mark.parametrize("many", [1, 5, 20])
@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_do_nothing(name: str, many: int) -> None:
    """No tag, attribute or line is of their making, and what is sent is not longer than a service takes."""
    message = render_digest(digest(name, many=many), Severity.CRITICAL)
    reader = read(message.html)
    assert reader.open == []
    assert reader.tags <= MARKUP
    assert reader.attributes <= {"style", "role", "cellspacing", "cellpadding", "aria-label"}
    assert len(message.text) <= TEXT_LIMIT
    assert len(message.title) <= TITLE_LIMIT
    assert "\n" not in message.title
    assert all(line.isprintable() for line in message.text.splitlines())


@given(name=TEXT)
@settings(max_examples=examples(40), deadline=None)
def test_any_name_does_nothing(name: str) -> None:
    """The same of whatever Unicode has."""
    message = render_digest(digest(name, many=2), Severity.LOW)
    expected = render_digest(digest("bastion-1", many=2), Severity.LOW)
    assert re.findall(r"</?[a-z]+", message.html) == re.findall(r"</?[a-z]+", expected.html)
    assert len(message.text) <= TEXT_LIMIT
    read(page(digest(name), Severity.LOW))


def test_a_column_stands_for_each_hour_or_day() -> None:
    """In HTML and in text, the highest for the most; what is little is still seen."""
    assert sparkline(digest()) == sparkline(digest())
    line = sparkline(digest())
    assert len(line) == 24
    assert line[0] == "\u2588"
    assert line[1] == "\u2581"
    assert len(sparkline(digest(length=timedelta(days=7)))) == 7
    assert sparkline(quiet()) == ""
    html = render_digest(digest(length=timedelta(days=7)), Severity.LOW).html
    assert html.count("vertical-align:bottom") == 7
    assert ">Mon 2<" in html


def test_a_late_digest_says_so() -> None:
    """And which ones it does not make up for, with the command that does."""
    late = replace(digest(), late=True, missed=2, made_at=START + timedelta(hours=30))
    text = full_text(late)
    assert "Sent late: when it was due nothing ran that could send it. Made Tue 3 Mar 13:00." in text
    assert (
        "2 digests before it were missed likewise, and were not sent:"
        " detector notify digest --since '2026-02-28 06:00:00+00:00' --until '2026-03-02 06:00:00+00:00'"
    ) in text
    assert "1 digest before it was missed" in full_text(replace(late, missed=1))


def test_a_digest_arrives_as_mail() -> None:
    """A real server receives the HTML as it was made, and text for whoever shows none."""
    message = render_digest(digest(many=3), Severity.MEDIUM)
    with MailServer().running() as server:
        AppriseNotifier("mail", server.url, 5).send(message)
        (mail,) = server.received
    assert mail["Subject"] == message.title
    # An empty line has no blanks.
    assert part(mail, "html").split() == message.html.split()
    assert "Nobody has answered 1 high or critical alert" in part(mail, "plain")


def test_what_another_version_made_is_told_all_the_same() -> None:
    """During an upgrade a digest may wait that is not understood any more: its reader is told how to see it."""
    stored = to_stored(digest())
    del stored["database"]
    values = {"notice_id": 1, "kind": "daily digest", "subject": "2026-03-03T06:00:00+00:00"}
    notice = Notice(**values, severity=Severity.LOW, created_at=START, content=stored)  # type: ignore[arg-type]
    message = render_notice(notice)
    assert message.title == "daily digest until 2026-03-03T06:00:00+00:00"
    assert "detector notify digest --since" in message.text
    assert render_notice(replace(notice, content=to_stored(digest()))).title.startswith("Daily digest")
