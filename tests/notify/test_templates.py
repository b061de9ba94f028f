"""The templates of messages: the operator's own in place of those that ship."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from detector.notify import templates
from detector.notify.example import example
from detector.notify.message import render, values_of
from detector.notify.templates import HTML, MARKDOWN, NAMES, SUBJECT, TEXT, escaped, read, shipped
from tests.hostile import NAMES as HOSTILE
from tests.hostile import TEXT as ANY_TEXT
from tests.notify.samples import alert, rendered
from tests.notify.test_message import Tags, markup_in

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE = values_of(example(), "opened", chart=True)


def test_what_ships_is_complete_and_sound(tmp_path: Path) -> None:
    """As the operator's own, the shipped files have no fault, and write the same."""
    for name in NAMES:
        (tmp_path / name).write_text(shipped().sources[name])
    found = read(tmp_path, SAMPLE)
    assert found.faults == ()
    assert found.own == tuple(sorted(NAMES))
    assert render(example(), "opened", found) == render(example(), "opened")


def test_an_own_template_stands_in_its_place_alone(tmp_path: Path) -> None:
    """The subject is the operator's, all else is as it ships; an editor's own files are no templates."""
    (tmp_path / SUBJECT).write_text(
        "{# at night #}{{ severity | upper }} on {{ host }}\n: {{ summary | truncate(12) }}"
    )
    (tmp_path / ".subject.txt.swp").write_text("{{")
    (tmp_path / "subject.txt~").write_text("{{")
    found = read(tmp_path, SAMPLE)
    assert found.faults == ()
    message = render(example(), "opened", found)
    assert message.title == "HIGH on bastion-1 : alice..."
    assert message.text == render(example(), "opened").text


@pytest.mark.parametrize(
    ("name", "text", "line", "said"),
    [
        (TEXT, "{{ summary }}\n{% if rows %}\nno end", 2, "is not understood"),
        (TEXT, "one\ntwo {{ sumary }}", 2, "'sumary' is undefined; there is about_rule, chart,"),
        (TEXT, "{% for row in rows %}\n{{ row.wo }}{% endfor %}", 2, "has no attribute 'wo'"),
        (HTML, "<p>\n{{ summary | safe }}", 2, "is not understood: No filter named 'safe'"),
        (HTML, "<p>\n{% autoescape false %}{{ summary }}{% endautoescape %}", 2, "switches escaping"),
        (MARKDOWN, "{{ ''.__class__.__mro__ }}", 1, "is not allowed"),
        (MARKDOWN, "\n\n{{ 1 / 0 }}", 3, "cannot be filled in: division by zero"),
        (SUBJECT, "{% include '/etc/passwd' %}", 1, "cannot be filled in"),
        (SUBJECT, "x" * 100_001, 1, "is longer than 100,000 characters"),
    ],
)
def test_a_fault_is_refused_by_file_and_line(tmp_path: Path, name: str, text: str, line: int, said: str) -> None:
    """It says where, what and how to mend it; what ships stays in force."""
    (tmp_path / name).write_text(text)
    found = read(tmp_path, SAMPLE)
    (fault,) = found.faults
    assert str(fault).startswith(f"{tmp_path / name}:{line}: ")
    assert said in fault.message
    assert ";" in fault.message
    assert found.sources == shipped().sources
    assert found.own == ()


def test_what_is_no_template_is_said(tmp_path: Path) -> None:
    """A file of another name, one that is no text, and a folder that is not there."""
    (tmp_path / "mail.html").write_text("hello")
    (tmp_path / TEXT).write_bytes(b"\xff\xfe")
    said = [str(fault) for fault in read(tmp_path, SAMPLE).faults]
    assert f"{tmp_path / 'mail.html'}:1: is no template; templates are {', '.join(NAMES)}" in said
    assert any("is not UTF-8 text" in each for each in said)
    (gone,) = read(tmp_path / "gone", SAMPLE).faults
    assert "there is no such folder" in gone.message


def test_a_template_that_fails_with_an_alert_does_not_keep_it_back(tmp_path: Path) -> None:
    """Sound with the example, it divides by zero with this alert: people are told in the words that ship."""
    (tmp_path / TEXT).write_text("{{ 12 // (number - 12) }}")
    found = read(tmp_path, SAMPLE)
    assert found.faults == ()
    from detector.notify.briefing import Briefing

    assert render(Briefing(alert=alert()), "opened", found) == rendered(alert(), "opened")


def test_what_a_template_writes_is_bounded(tmp_path: Path) -> None:
    """A loop that never tires is cut short."""
    (tmp_path / TEXT).write_text("{% for _ in range(99999) %}{{ summary }}{% endfor %}")
    assert len(render(example(), "opened", read(tmp_path, SAMPLE)).text) <= templates.LONGEST


OWN = {
    SUBJECT: "{{ host }} {{ rule | upper }} {{ summary }}",
    TEXT: "{{ summary }} {{ [host, rule] | join(' ') }} {{ summary ~ host }} {{ facts | string }}",
    MARKDOWN: "{{ summary | e }} {{ [host, rule] | join(' ') }} {{ summary ~ host }} {{ summary | title }}\n"
    "```\n{{ host | code }}\n```\n{{ host | code | lower }}",
    HTML: "<p title=\"{{ host }}\">{{ summary | e }} {{ [host, rule] | join('<b>') }} {{ summary ~ host }}</p>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_gets_through_a_template(tmp_path: Path, name: str) -> None:
    """Filters, joined lists and sums of texts are escaped as names are, in every form."""
    for file, text in OWN.items():
        (tmp_path / file).write_text(text)
    found = read(tmp_path, SAMPLE)
    assert found.faults == ()
    from detector.notify.briefing import Briefing

    hostile = alert(host=name, rule_title=name, summary=name)
    message = render(Briefing(alert=hostile), "opened", found)
    assert message.title.isprintable()
    assert message.text.replace("\n", "").isprintable()
    seen = Tags(message.html)
    assert (seen.tags, seen.attributes) == (["p"], {"title"})
    assert markup_in(message.shorter[0].markdown) is None


@given(ANY_TEXT)
def test_escaped_text_shows_itself(text: str) -> None:
    """Without the escapes, and with mentions as they were, it is what it was; and nothing in it is markup."""
    made = escaped(text)
    shown = re.sub(r"\\(?=[\\`*_\[\]<>#~|&+=\-.):])", "", made).replace("\uff20", "@")
    assert shown.replace("\\", "") == text.replace("\uff20", "@").replace("\\", "")
    if "\n" not in text:
        assert markup_in(made) is None
