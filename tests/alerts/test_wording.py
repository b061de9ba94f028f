"""An alert in one sentence."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given

from detector.alerts.facts import Distinct, Facts, Totals
from detector.alerts.phrases import named
from detector.alerts.wording import summary
from detector.amounts import humanised
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


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"protocol": "udp", "address": "10.0.4.12", "port": 312, "attempted": 312, "refused": 900},
            "sent to 312 UDP ports on 10.0.4.12 in 8 s, 900 refused.",
        ),
        (
            {"protocol": "udp", "address": "10.0.4.12", "port": 312, "attempted": 400},
            "sent to 312 UDP ports on 10.0.4.12 in 400 flows in 8 s.",
        ),
        (
            {"protocol": "udp", "address": 254, "port": "161", "attempted": 254, "failed": 4},
            "sent to UDP port 161 on 254 addresses in 8 s, 4 failed.",
        ),
        ({"protocol": "udp", "address": "10.0.0.2", "port": "53", "attempted": 1}, "sent 1 UDP flow to 10.0.0.2:53"),
        ({"protocol": "icmp", "address": 254, "attempted": 260}, "sent 260 ICMP flows to 254 addresses in 8 s."),
        ({"protocol": "raw", "address": "10.0.4.12", "attempted": 1}, "sent 1 raw IP flow to 10.0.4.12 in 8 s."),
        ({"protocol": "packet", "attempted": 7}, "sent 7 AF_PACKET flows to unknown destinations in 8 s."),
        ({"protocol": 2, "address": 3, "port": 2, "attempted": 9}, "sent 9 flows to 3 addresses on 2 ports in 8 s."),
    ],
)
def test_flows_are_sent(values: dict[str, Any], sentence: str) -> None:
    """Protocols without connections have flows, which are sent; the protocol is named where it is one."""
    assert told(manner="flow", **values).startswith(f"root, via /usr/bin/nc, {sentence}")


def test_sctp_connects_and_flows_beside_connects() -> None:
    """What is not TCP is named; an incident of both kinds has both."""
    assert "made 1 SCTP connect to 10.0.4.12:22" in told(
        manner="connect", protocol="sctp", address="10.0.4.12", port="22", attempted=1
    )
    both: dict[str, Any] = {"manner": 2, "protocol": 2}
    assert "tried 30 ports on 10.0.4.12 with 90 connects and flows" in told(
        **both, address="10.0.4.12", port=30, attempted=90
    )
    assert "made 9 connects and flows to 3 addresses on 2 ports" in told(**both, address=3, port=2, attempted=9)


def test_destinations_that_were_not_seen() -> None:
    """Rows without an address are not laid to the others' charge."""
    assert told(unaddressed=1, attempted=180_000) == (
        "root, via /usr/bin/nc, made 180,000 connects to unknown destinations in 8 s."
    )
    assert told(unaddressed=1, address="10.0.4.12", port="22", attempted=900) == (
        "root, via /usr/bin/nc, made 900 connects to 10.0.4.12:22, some to unknown destinations, in 8 s."
    )


def test_a_destination_with_its_name() -> None:
    """The name stands beside the address that it was given for; several names are none."""
    assert "to 10.0.4.12:22 (db.internal) in" in told(
        address="10.0.4.12", port="22", remote_name="db.internal", attempted=1
    )
    assert "300 ports on 10.0.4.12 (db.internal) in" in told(
        address="10.0.4.12", port=300, remote_name="db.internal", attempted=300
    )
    assert "to [fd00::12]:443 in" in told(address="fd00::12", port="443", remote_name=2, attempted=1)
    assert told(
        direction="inbound", address="203.0.113.7", port="22", remote_name="client.example.org", established=3
    ).startswith("203.0.113.7 (client.example.org) opened 3 connections to port 22 of /usr/bin/nc")


def test_a_script_stands_beside_what_runs_it() -> None:
    """The interpreter alone would say little."""
    where: dict[str, Any] = {"address": "10.0.4.12", "port": "22", "attempted": 1}
    python: dict[str, Any] = {"executable": "/usr/bin/python3.11"}
    assert told(**where, **python, script="/opt/backup.py").startswith(
        "root, via /usr/bin/python3.11 running /opt/backup.py, made"
    )
    assert told(**where, **python, script=3).startswith("root, via /usr/bin/python3.11, made")
    assert told(**where, executable=2, script="/opt/backup.py").startswith("root, via 2 executables, made")


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
        (
            {"login_user": "alice", "login_address": "203.0.113.7"},
            "alice (ssh from 203.0.113.7), as root, via /usr/bin/nc, made",
        ),
        (
            {"login_user": "root", "login_address": "203.0.113.7"},
            "root (ssh from 203.0.113.7), via /usr/bin/nc, made",
        ),
        (
            {"login_user": "root", "login_address": "203.0.113.7", "executable": None},
            "root (ssh from 203.0.113.7) made",
        ),
        ({"login_user": "alice", "login_address": 2}, "alice as root, via /usr/bin/nc, made"),
        ({"login_address": "203.0.113.7"}, "root, via /usr/bin/nc, made"),
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


@given(TEXT, TEXT, TEXT, TEXT, TEXT, TEXT)
def test_hostile_names_stay_on_the_line(
    user: str, login: str, executable: str, script: str, name: str, explanation: str
) -> None:
    """Whatever the names are, the sentence is one bounded line of printable text, and still says how many where."""
    sentence = told(
        user=user,
        login_user=login,
        login_address="203.0.113.7",
        executable=executable,
        script=script or None,
        explanation=explanation,
        address="127.0.0.1",
        remote_name=name or None,
        port=300,
        attempted=300,
    )
    assert sentence.isprintable()
    assert len(sentence) < 1200
    assert "tried 300 ports on 127.0.0.1" in sentence
    assert " in 8 s." in sentence
