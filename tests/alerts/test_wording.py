"""An alert in one sentence."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given

from detector.alerts.facts import Distinct, Facts, Totals
from detector.alerts.wording import humanised, named, summary
from tests.hostile import TEXT


def told(*, seconds: float = 8, score: float | None = None, explanation: str | None = None, **values: Any) -> str:
    """The sentence about an outbound incident; totals and fields by name: a number of values, or the sole one."""
    totals = {name: values.pop(name) for name in list(values) if name in Totals.__dataclass_fields__}
    fields: dict[str, Any] = {"direction": "outbound", "user": "root", "executable": "/usr/bin/nc"} | values
    return summary(
        Facts(
            duration=timedelta(seconds=seconds),
            totals=Totals(score=score, **totals),
            values={
                name: Distinct(value) if isinstance(value, int) else Distinct(1, value)
                for name, value in fields.items()
                if value is not None
            },
            explanation=explanation,
        )
    )


def test_a_port_scan() -> None:
    """Many ports of one address."""
    assert told(address="127.0.0.1", port=300, attempted=300, refused=300) == (
        "root, via /usr/bin/nc, tried 300 ports on 127.0.0.1 in 8 s, 300 refused."
    )
    assert told(address="127.0.0.1", port=300, attempted=900, refused=880, timed_out=20) == (
        "root, via /usr/bin/nc, tried 300 ports on 127.0.0.1 with 900 connects in 8 s, 880 refused, 20 timed out."
    )


def test_a_sweep_over_addresses() -> None:
    """One port of many addresses."""
    assert told(address=2540, port="22", attempted=2540, failed=2530, established=10, seconds=150) == (
        "root, via /usr/bin/nc, tried port 22 on 2,540 addresses in 2 min 30 s, 2,530 failed, 10 established."
    )


def test_one_destination() -> None:
    """One address and port, as it is written: IPv6 in brackets."""
    assert told(address="10.0.4.12", port="22", attempted=1, established=1) == (
        "root, via /usr/bin/nc, made 1 connect to 10.0.4.12:22 in 8 s, 1 established."
    )
    assert told(address="fd00::12", port="443", attempted=412, timed_out=412, seconds=40) == (
        "root, via /usr/bin/nc, made 412 connects to [fd00::12]:443 in 40 s, 412 timed out."
    )


def test_a_destination_without_ports() -> None:
    """A protocol without ports has an address alone."""
    assert told(address="10.0.4.12", attempted=3) == "root, via /usr/bin/nc, made 3 connects to 10.0.4.12 in 8 s."


def test_all_over_the_place() -> None:
    """Many addresses, many ports."""
    assert told(address=30, port=12, attempted=900) == (
        "root, via /usr/bin/nc, made 900 connects to 30 addresses on 12 ports in 8 s."
    )


def test_an_outcome_whose_attempt_lies_before_counts_as_a_connect() -> None:
    """The attempt may belong to an earlier snapshot than its outcome."""
    assert told(address="10.0.4.12", port="22", established=2).startswith(
        "root, via /usr/bin/nc, made 2 connects to 10.0.4.12:22 in 8 s, 2 established"
    )


@pytest.mark.parametrize(
    ("values", "actor"),
    [
        ({"login_user": "alice"}, "alice as root, via /usr/bin/nc, made"),
        ({"login_user": "root"}, "root, via /usr/bin/nc, made"),
        ({"user": 2, "login_user": "alice"}, "alice as 2 users, via /usr/bin/nc, made"),
        ({"user": 2, "login_user": 3}, "3 login users as 2 users, via /usr/bin/nc, made"),
        ({"user": None, "login_user": "alice"}, "alice, via /usr/bin/nc, made"),
        ({"user": "bob", "executable": 3}, "bob, via 3 executables, made"),
        ({"executable": None}, "root made"),
        ({"user": None}, "/usr/bin/nc made"),
        ({"user": None, "executable": None}, "An unknown process made"),
    ],
)
def test_who_it_was(values: dict[str, Any], actor: str) -> None:
    """The login is named where it differs from the account; several are counted; what is unknown is left out."""
    assert told(address="10.0.4.12", port="22", attempted=3, **values).startswith(actor)


def test_inbound_connections() -> None:
    """Who came, how often, to which port, and who listens there."""
    assert told(
        direction="inbound", user=None, executable=None, address="203.0.113.7", port="22", established=412, seconds=50
    ) == ("203.0.113.7 opened 412 connections to port 22 in 50 s.")
    assert told(direction="inbound", executable="/usr/sbin/sshd", address=2, port=3, established=1) == (
        "2 addresses opened 1 connection to 3 ports of /usr/sbin/sshd in 8 s."
    )


def test_how_unusual_it_is() -> None:
    """The strangest row's sentence follows, or else the score."""
    where: dict[str, Any] = {"address": "10.0.4.12", "port": "22", "attempted": 1}
    assert told(**where, score=0.9991, explanation="first contact with 10.0.4.12").endswith(
        "in 8 s. First contact with 10.0.4.12."
    )
    assert told(**where, score=0.9991).endswith("in 8 s. Anomaly score 0.9991.")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "less than a second"),
        (1, "1 s"),
        (40.4, "40 s"),
        (60, "1 min"),
        (150, "2 min 30 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (11_100, "3 h 5 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    """The two largest units that say something."""
    assert humanised(timedelta(seconds=seconds)) == shown


def test_a_name_cannot_go_on_telling_the_story() -> None:
    """A name that is not one plain word is quoted, and cannot close the quotes."""
    assert named("/usr/bin/ssh") == "/usr/bin/ssh"
    assert named('/tmp/a", established. "') == "\"/tmp/a', established. '\""
    assert named("") == '""'
    assert named("пс") == '"пс"'


@given(TEXT, TEXT, TEXT, TEXT)
def test_hostile_names_stay_on_the_line(user: str, login: str, executable: str, explanation: str) -> None:
    """Whatever the names are, the sentence is one bounded line of printable text, and still says how many where."""
    sentence = told(
        user=user,
        login_user=login,
        executable=executable,
        explanation=explanation,
        address="127.0.0.1",
        port=300,
        attempted=300,
    )
    assert sentence.isprintable()
    assert len(sentence) < 1000
    assert "tried 300 ports on 127.0.0.1 in 8 s." in sentence
