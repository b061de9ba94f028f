"""The templates of messages: the operator's own in place of those that ship."""

from __future__ import annotations

import os
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from detector import apart
from detector.notify import filling
from detector.notify.example import example
from detector.notify.markdown import escaped
from detector.notify.message import render, values_of
from detector.notify.templates import HTML, MARKDOWN, NAMES, SUBJECT, TEXT, read, shipped
from tests.hostile import NAMES as HOSTILE
from tests.hostile import TEXT as ANY_TEXT
from tests.notify.samples import alert, rendered
from tests.notify.test_message import Tags, markup_in

if TYPE_CHECKING:
    from pathlib import Path

    from detector.notify.templates import Templates

SAMPLE = values_of(example(), "opened", chart=True)


def test_what_ships_is_complete_and_sound(tmp_path: Path) -> None:
    """As the operator's own, the shipped files have no fault, and write the same."""
    for name in NAMES:
        (tmp_path / name).write_text(shipped().sources[name])
    found = read(tmp_path, SAMPLE)
    assert found.faults == ()
    assert found.own == {name: tmp_path / name for name in NAMES}
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
    assert found.own == {}


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

    message = render(Briefing(alert=alert()), "opened", found)
    assert replace(message, template_fault=None) == rendered(alert(), "opened")
    assert "division or modulo by zero" in str(message.template_fault)


ENDLESS = {
    "a loop without output": (
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "takes",
    ),
    "a power": ("\n{{ 9 ** (9 ** 9) }}", "takes"),
    "a doubled text": (
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "takes too much memory",
    ),
    "a long text": ("{{ 'a' * 10 ** 9 }}", "takes too much memory"),
    "a wide text": ("{{ 'a' | center(10 ** 10) }}", "takes too much memory"),
    "a wide number": ("{{ '%099999999999d' | format(1) }}", "takes too much memory"),
    "many words": ("{{ lipsum(10 ** 7) }}", "takes"),
    "a macro that calls itself": ("{% macro a() %}{{ a() }}{{ a() }}{% endmacro %}{{ a() }}", "nested too deep"),
    "brackets": ("{{ " + "(" * 30_000 + "1" + ")" * 30_000 + " }}", "nested too deep"),
    "blocks": ("{% for i in rows %}" * 40 + "{% endfor %}" * 40, "nested too deep"),
    "conditions": ("{% if host %}" * 3_000 + "{% endif %}" * 3_000, "nested too deep"),
}


@pytest.mark.parametrize("text", ENDLESS)
def test_no_template_holds_anything_up(tmp_path: Path, text: str) -> None:
    """One that does not end, or takes all memory, is refused within a moment, and says why."""
    template, said = ENDLESS[text]
    (tmp_path / TEXT).write_text(template)
    before = time.monotonic()
    (fault,) = read(tmp_path, SAMPLE).faults
    assert time.monotonic() - before < 5  # on a machine that does other things as well
    assert said in fault.message
    assert "; " in fault.message
    assert fault.path == str(tmp_path / TEXT)


def test_a_template_that_never_ends_with_an_alert_does_not_keep_it_back(tmp_path: Path) -> None:
    """Sound with the example, it loops with this alert: people are told in the words that ship, and why is known."""
    (tmp_path / HTML).write_text("{% if number == 12 %}{{ 9 ** (number ** 9) }}{% endif %}")
    (tmp_path / TEXT).write_text("{{ host }}")
    found = read(tmp_path, SAMPLE)
    assert found.faults == ()
    from detector.notify.briefing import Briefing

    message = render(Briefing(alert=alert()), "opened", found)
    assert replace(message, template_fault=None) == rendered(alert(), "opened")
    assert message.template_fault is not None
    assert message.template_fault.exhausted
    said = "takes more than 1 s of processor time; write it simpler, with shorter loops"
    assert str(message.template_fault) == f"{tmp_path / HTML}:1: {said}"
    assert found.without(HTML).own == {TEXT: tmp_path / TEXT}


def test_without_a_process_to_be_had_people_are_told_in_the_words_that_ship(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is no fault of the template."""
    (tmp_path / TEXT).write_text("{{ host }}")
    found = read(tmp_path, SAMPLE)
    monkeypatch.setattr(apart, "PYTHON", (str(tmp_path / "gone"),))
    message = render(example(), "opened", found)
    assert message.text == render(example(), "opened").text
    assert message.template_fault is not None
    assert not message.template_fault.exhausted
    assert "no process to fill it in: No such file" in str(message.template_fault)


def test_what_is_in_a_list_is_escaped_as_well(tmp_path: Path) -> None:
    """A list that is filled in as it stands shows its texts."""
    (tmp_path / MARKDOWN).write_text("{{ normal }}")
    message = render(replace(example(), normal=("*bold* <b>",)), "opened", read(tmp_path, SAMPLE))
    assert message.shorter[0].markdown == "\\['\\*bold\\* \\<b\\>'\\]"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe is not waited for, nor is a folder looked into; a folder that is closed is said."""
    os.mkfifo(tmp_path / TEXT)
    (tmp_path / HTML).mkdir()
    assert [each.message for each in read(tmp_path, SAMPLE).faults] == [
        "is no file; put one there, or take it away"
    ] * 2
    (tmp_path / "file").touch()
    (fault,) = read(tmp_path / "file", SAMPLE).faults
    assert fault.message == "Not a directory; let the account that runs detect read it"


def test_what_a_template_writes_is_bounded(tmp_path: Path) -> None:
    """A loop that never tires is cut short."""
    (tmp_path / TEXT).write_text("{% for _ in range(99999) %}{{ summary }}{% endfor %}")
    assert len(render(example(), "opened", read(tmp_path, SAMPLE)).text) <= filling.LONGEST


OWN = {
    SUBJECT: "{{ host }} {{ rule | upper }} {{ summary }}",
    TEXT: "{{ summary }} {{ [host, rule] | join(' ') }} {{ summary ~ host }} {{ facts | string }}",
    MARKDOWN: "{{ summary | e }} {{ [host, rule] | join(' ') }} {{ summary ~ host }} {{ summary | title }}\n"
    "```\n{{ host | code }}\n```\n{{ host | code | lower }}",
    HTML: "<p title=\"{{ host }}\">{{ summary | e }} {{ [host, rule] | join('<b>') }} {{ summary ~ host }}</p>",
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """The operator's, all four."""
    folder = tmp_path_factory.mktemp("own")
    for file, text in OWN.items():
        (folder / file).write_text(text)
    found = read(folder, SAMPLE)
    assert found.faults == ()
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_gets_through_a_template(own: Templates, name: str) -> None:
    """Filters, joined lists and sums of texts are escaped as names are, in every form."""
    from detector.notify.briefing import Briefing

    hostile = alert(host=name, rule_title=name, summary=name)
    message = render(Briefing(alert=hostile), "opened", own)
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
