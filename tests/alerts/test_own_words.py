"""What a rule says of its alerts itself: when, where, how often, and in which words."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from detector.alerts.facts import CaptureFacts, Distinct, Facts, Totals
from detector.alerts.wording import summary
from detector.domain import Learning, Losses, Severity, Telling
from detector.sentence import NUMBERS, SentenceError, fill_in, names_in
from detector.store import held
from detector.store.engine import reading, writing
from tests.alerts.hosts import MAIL, PAGER, Host, finding, scan
from tests.builders import START, count

if TYPE_CHECKING:
    from sqlalchemy import Engine


def _facts(explain: str, **more: Any) -> Facts:
    values: dict[str, Any] = {
        "duration": timedelta(seconds=40),
        "totals": Totals(attempted=12, refused=12, score=0.5),
        "values": {"user": Distinct(1, "bob, who is root"), "address": Distinct(3), "port": Distinct(1, "22")},
        "explanation": "never seen before",
        "host": "bastion-1",
    }
    return Facts(**values | {"group": {"remote_port": 22, "login_user": None}} | more, explain=explain)


def test_an_alert_speaks_in_the_words_of_its_rule() -> None:
    """Values of all kinds, quoted where they could be taken for prose; how unusual it is follows."""
    said = (
        "{{ user }} on {{ host }}: {{ attempted }} to {{ remote_address }}, port {{ port }}/{{ remote_port }},"
        " {{ login_user }}, {{ executable }}, {{ score }}, {% if addresses > 2 %}many{% else %}few{% endif %},"
        " in {{ duration }}."
    )
    assert summary(_facts(said)) == (
        '"bob, who is root" on bastion-1: 12 to 3 addresses, port 22/22, unknown, unknown, 0.5000, many, in 40 s.'
        " Never seen before."
    )


def test_what_a_rule_leaves_out_follows() -> None:
    """How many, by whose login from where, and how they ended, unless its sentence has it; each is a sentence."""
    connected = "{{ executable }} connected to {{ remote_address }}"
    of_login = {
        "user": Distinct(1, "root"),
        "login_user": Distinct(1, "alice"),
        "login_address": Distinct(1, "203.0.113.7"),
        "executable": Distinct(1, "/usr/bin/nc"),
        "address": Distinct(1, "10.0.0.1"),
    }
    assert summary(_facts(connected, values=of_login)) == (
        "/usr/bin/nc connected to 10.0.0.1. 12 connects in 40 s by alice (ssh from 203.0.113.7), as root, 12 refused."
        " Never seen before."
    )
    assert summary(_facts("{{ user }} came from {{ login_address }}!", values=of_login, explanation=None)) == (
        "root came from 203.0.113.7! 12 connects in 40 s, 12 refused. Anomaly score 0.5000."
    )
    assert summary(_facts(f"{connected} {{{{ events }}}} times", values=of_login)) == (
        "/usr/bin/nc connected to 10.0.0.1 12 times. Never seen before."
    )
    inbound = of_login | {"direction": Distinct(1, "inbound")}
    assert "connected to 10.0.0.1. 12 connections in 40 s. Never" in summary(_facts(connected, values=inbound))


def test_an_alert_about_capture_has_words_of_its_own() -> None:
    """Host, time and what was lost."""
    about = CaptureFacts(host="bastion-1", end=START, losses=Losses(missed=3, names=7))
    assert summary(_facts("{{ host }} lost {{ lost }} in {{ duration }}", capture=about, group={})) == (
        "bastion-1 lost 3 in 40 s"
    )


def test_a_sentence_that_cannot_be_made_is_ours() -> None:
    """A text compared with a number in a branch that no sample reaches costs nobody the alert."""
    broken = "{% if attempted > 1 %}{% if user > 1 %}{% endif %}{% endif %}"
    assert summary(_facts(broken)).startswith('"bob, who is root" tried port 22 on 3 addresses')


def test_a_sentence_is_one_line_and_bounded() -> None:
    """Whatever is filled in."""
    facts = _facts("{{ user }}\n{{ user }} " + "x" * 900, values={"user": Distinct(1, "\x1b[31m" + "y" * 4096)})
    told = summary(facts).removesuffix(" 12 connects in 40 s, 12 refused. Never seen before.")
    assert told.isprintable()
    assert len(told) == 500


@given(st.text(alphabet="{}%|.()[]+*~ 'abefiors\n_1#-", max_size=60))
def test_no_template_does_more_than_fill_in(text: str) -> None:
    """Every template is refused with a reason, or gives a sentence of bounded length from names alone."""
    try:
        names = names_in(text)
        told = fill_in(text, {name: 1 if name in NUMBERS else "x" for name in names})
    except SentenceError as fault:
        told = str(fault)
    assert told.isprintable()
    assert len(told) <= 500


def test_a_rule_has_a_cooldown_of_its_own(engine: Engine) -> None:
    """Two findings ten minutes apart are one alert or two, as their rule says, beside others that do as configured."""
    host = Host(engine, cooldown=timedelta(minutes=5))
    told = {"a": timedelta(minutes=20), "b": timedelta(minutes=1), "c": None}
    for minutes in (0, 3):
        host.recorder.pass_time(minutes=minutes)
        ref, evidence = host.snapshot(*scan(1, 3))
        host.record(
            ref,
            *(
                finding(ref, evidence, rule_id=name, fingerprint=name * 32, telling=Telling(cooldown=cooldown))
                for name, cooldown in told.items()
            ),
        )
    assert sorted(alert.rule_id for alert in host.alerts()) == ["a", "b", "b", "c"]


def test_a_rule_names_its_channels(engine: Engine) -> None:
    """They are told, however much they want of severity, and no others are."""
    host = Host(engine, channels=(MAIL, PAGER))
    ref, evidence = host.snapshot(count())
    for name, channels in (("a", ("pager",)), ("b", None)):
        telling = Telling(channels=channels)
        host.record(
            ref, finding(ref, evidence, rule_id=name, fingerprint=name * 32, severity=Severity.LOW, telling=telling)
        )
    sent = {alert.rule_id: host.sent(alert) for alert in host.alerts()}
    assert sent == {"a": [("pager", "opened")], "b": [("mail", "opened")]}


def test_nobody_is_told_of_a_host_that_is_new(engine: Engine) -> None:
    """While a rule's burn-in lasts its findings are counted, once for each snapshot, and no alert is made of them."""
    host = Host(engine)
    burn_ins: tuple[timedelta | bool, ...] = (False, True, timedelta(hours=2), timedelta(days=2))
    for hours, seconds in ((1, 3600), (25, 90_000)):
        ref, evidence = host.snapshot(count())
        learning = Learning(elapsed_seconds=seconds, required_seconds=7200)
        found = [
            finding(ref, evidence, rule_id=str(burn_in), fingerprint=f"{number}" * 32, telling=Telling(burn_in=burn_in))
            for number, burn_in in enumerate(burn_ins)
        ]
        for _ in range(2):
            with writing(engine) as connection:
                host.book.record(connection, ref, found, learning)
        expected = {"False"} if hours == 1 else {"False", "True", "2:00:00"}
        assert {alert.rule_id for alert in host.alerts()} == expected
    with reading(engine) as connection:
        (two_days,) = held.held_of(connection, "2 days, 0:00:00")
        assert (two_days.host, two_days.findings, two_days.incidents, two_days.end) == ("bastion-1", 2, 1, ref.end)
        assert [each.findings for each in held.held_of(connection, "True")] == [1]
        assert held.held_of(connection, "False") == []
