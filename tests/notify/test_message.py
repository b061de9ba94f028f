"""An alert as plain text, HTML and a block for the terminal."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.domain import Severity
from detector.notify.example import example
from detector.notify.kinds import Form
from detector.notify.markdown import escaped
from detector.notify.message import render, trial
from tests.builders import START
from tests.hostile import TEXT
from tests.notify.samples import alert, rendered

# Markdown that is neither escaped nor ours: links, mentions, code, emphasis, and HTML.
MARKUP = re.compile(r"(?<!\\)(?:\\\\)*[<`\[*_~|]|@\w|(?<!\\)://")


def markup_in(markdown: str) -> str | None:
    """The first markup that is not ours; None: there is none."""
    prose = re.sub(r"```\n.*?\n```", "", markdown, flags=re.DOTALL).replace("**", "")
    found = MARKUP.search(prose)
    return None if found is None else prose[max(found.start() - 20, 0) : found.end() + 20]


class Tags(HTMLParser):
    """What a reader of HTML sees: the tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes a tag."""
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        """Notes text."""
        self.text += data


def test_the_message_says_it_all() -> None:
    """A subject, the summary first, then the facts, then what to do next."""
    message = rendered(alert(), "opened")
    assert message.title == "[high] bastion-1: Vertical port scan"
    assert message.text.splitlines() == [
        "root, via /usr/bin/nc.openbsd, tried 300 ports on 127.0.0.1 in 20 s, 300 refused.",
        "",
        "Rule: Vertical port scan (vertical_scan)",
        "Severity: high",
        "Host: bastion-1",
        "When: 2026-03-02 09:00:00 to 09:00:20 UTC",
        "Counts: 300 attempted, 300 refused",
        "Spread: 1 address, 300 ports",
        "Anomaly score: 0.9987 of 1",
        "In common: user root, remote_address 127.0.0.1",
        "Sent because: opened",
        "",
        "What the model saw:",
        "- root was never at 127.0.0.1 before",
        "- 300 connects; 2 are usual",
        "",
        "What you can do:",
        "  detector alerts show 12",
        "  detector alerts ack 12",
        "  detector alerts silence 12 --for 7d",
        "  detector alerts benign 12",
        "  detector rules tune --from-alert 12",
        "  detector query --host bastion-1 --since '2026-03-02 09:00:00+00:00' --until '2026-03-02 09:00:20+00:00'",
        "  detector rules explain vertical_scan 12",
    ]


def test_other_rules_that_saw_it_are_named() -> None:
    """In every form, harmless, after the rule that tells it."""
    message = rendered(alert(also_seen_by={"a": "First <b>contact</b>", "b": "Unusual\x1b[2J"}), "opened")
    assert message.text.splitlines()[3] == r"Also seen by: First <b>contact</b>; Unusual\x1b[2J"
    assert "Also seen by: First <b>contact</b>;" in Tags(message.html).text
    assert markup_in(message.shorter[0].markdown) is None


def test_a_whole_briefing_is_told() -> None:
    """What is normal, what the model saw, the rule and the rows stand in text, Markdown and HTML alike."""
    told = example()
    message = render(told, "opened")
    shown = Tags(message.html).text
    said = [*told.normal, *told.model, *told.rule, told.rows[0].connection, told.rows[-1].connection, "and 1,016 more"]
    for each in said:
        assert each in message.text
        assert each in shown
        assert escaped(each) in message.shorter[0].markdown


def test_html_says_the_same_as_text() -> None:
    """Line by line, the HTML part holds what the plain text holds."""
    message = rendered(alert(), "opened")
    shown = Tags(message.html).text
    for line in message.text.splitlines():
        assert line.strip().removeprefix("- ").removesuffix(":") in shown


@pytest.mark.parametrize("limit", [10, 100, 300, 1000, 1500, 2000, 3000, 5000])
@pytest.mark.parametrize("form", [Form.TEXT, Form.MARKDOWN])
def test_what_has_room_is_told_whole(form: Form, limit: int) -> None:
    """The first line is never left out, and from 300 characters on there is a command as well; all lines are whole."""
    message = render(example(), "opened")
    body = message.fitting(form, limit)
    assert len(body) <= limit
    assert body.lstrip("*")[:5] == message.text[:5]
    if limit >= 1500:
        assert "What to do: ask alice" in body
    if limit >= 1000:
        assert "detector alerts ack 4711" in body
    if limit >= 300:
        assert "detector alerts show 4711" in body
        assert body.count("```") in (0, 2)
        assert not body.endswith("…")


def test_what_is_unknown_is_left_out() -> None:
    """No score, no group, one explanation (it stands in the summary): no lines for them."""
    text = rendered(alert(score=None, group={}, explanations=("only one",)), "opened").text
    assert "score" not in text
    assert "In common" not in text
    assert "model" not in text


def test_an_alert_without_rows_has_nothing_to_count() -> None:
    """An alert about capture names no connects, and sends the reader to where capture is looked after."""
    counts = dict.fromkeys(("attempted", "established", "refused", "timed_out", "failed", "destinations", "ports"), 0)
    text = rendered(alert(**counts, score=None, explanations=(), summary="Capture is blind."), "opened").text
    assert "Counts" not in text
    assert "Spread" not in text
    period = "--since '2026-03-02 09:00:00+00:00' --until '2026-03-02 09:00:20+00:00'"
    assert text.splitlines()[-5:] == [
        "  detector alerts show 12",
        "  detector alerts ack 12",
        "  detector alerts silence 12 --for 7d",
        f"  detector query --incomplete --host bastion-1 {period}",
        "  detector doctor",
    ]


def test_what_rows_have_in_common_leaves_out_what_is_unknown() -> None:
    """That nobody is known to have logged in is no fact to read at night."""
    text = rendered(alert(group={"login_user": None, "user": "root"}), "opened").text
    assert "In common: user root\n" in text
    assert "None" not in text


def test_an_alert_told_again_says_why() -> None:
    """The subject tells a second message from the first."""
    message = rendered(alert(), "grown tenfold")
    assert message.title == "[high] bastion-1: Vertical port scan (grown tenfold)"
    assert "Sent because: grown tenfold" in message.text


def test_a_period_over_midnight_names_both_days() -> None:
    """Only a second date on the same day is left out."""
    text = rendered(alert(end=START + timedelta(days=1)), "opened").text
    assert "When: 2026-03-02 09:00:00 to 2026-03-03 09:00:00 UTC" in text


def test_the_block_for_the_terminal() -> None:
    """The title stands out, the text is indented below."""
    lines = rendered(alert(), "opened").block.splitlines()
    assert lines[0] == "== [high] bastion-1: Vertical port scan =="
    assert lines[1].startswith("  root, via /usr/bin/nc.openbsd, tried 300 ports")
    assert all(line.startswith("  ") for line in lines[1:])


def test_a_test_message_says_that_it_is_one() -> None:
    """It names the channel and the host."""
    message = trial("mail", "bastion-1")
    assert message.title.startswith("[test] bastion-1")
    assert "through the channel mail" in message.text
    assert "through the channel mail" in Tags(message.html).text


@pytest.mark.parametrize("severity", Severity)
def test_every_severity_has_a_message(severity: Severity) -> None:
    """The subject begins with the severity."""
    assert rendered(alert(severity=severity), "opened").title.startswith(f"[{severity.value}]")


@given(TEXT, TEXT, TEXT, TEXT, st.dictionaries(TEXT, TEXT, max_size=3))
def test_hostile_text_changes_nothing_but_itself(
    host: str, title: str, summary: str, explanation: str, group: dict[str, str]
) -> None:
    """Whatever names say, the message has the same lines and tags, and everything in it prints and is bounded."""
    hostile = alert(host=host, rule_title=title, summary=summary, group=group, explanations=(explanation, "second"))
    harmless = replace(
        hostile,
        host="h",
        rule_title="t",
        summary="s",
        group={"g": "g"} if group else {},
        explanations=("first", "second"),
    )
    message, plain = rendered(hostile, "opened"), rendered(harmless, "opened")
    assert message.title.isprintable()
    assert len(message.title) <= 150
    assert len(message.text.splitlines()) == len(plain.text.splitlines())
    assert message.text.replace("\n", "").isprintable()
    for form in (Form.TEXT, Form.MARKDOWN):
        assert len(message.fitting(form, 3000)) <= 3000
    assert not markup_in(message.shorter[0].markdown)
    seen, expected = Tags(message.html), Tags(plain.html)
    assert seen.tags == expected.tags
    assert seen.attributes == expected.attributes == {"style"}


@given(TEXT)
def test_a_command_can_be_pasted_whatever_the_host_is_called(host: str) -> None:
    """A command consists of our own words and times; a host that is not a plain name is left out."""
    commands = rendered(alert(host=host), "opened").text.splitlines()[-3:]
    for command in commands:
        words = shlex.split(command, comments=True)
        assert words[0] == "detector"
        assert all(re.fullmatch(r"[A-Za-z0-9._:+ -]+", word) for word in words)
