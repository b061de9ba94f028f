"""Stored rows as lines of a table: who it was, with what, and what it was."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.builders import Recorder, count

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.cli.conftest import Call

_LOGIN: dict[str, Any] = {"login_address": "203.0.113.7", "login_source": "logind"}
_NAME: dict[str, Any] = {"remote_name": "db.example.org", "remote_name_source": "udp answer of 10.0.0.2"}
_SUDO: dict[str, Any] = {"user": "root", "parent_executable": "/usr/bin/sudo"}


def _line(call: Call, engine: Engine, values: dict[str, Any]) -> list[str]:
    """The cells of the one row."""
    Recorder(engine).snapshot(count(**values))
    _title, line = call("query").lines
    return re.split(r" {2,}", line)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({**_LOGIN, **_SUDO}, "alice from 203.0.113.7 as root through sudo"),
        (_SUDO, "alice as root through sudo"),
        ({**_SUDO, "parent_executable": "/usr/bin/su (deleted)"}, "alice as root through su"),
        ({**_SUDO, "parent_executable": "/usr/bin/bash"}, "alice as root"),
        ({**_SUDO, "user": "alice"}, "alice"),
        ({**_SUDO, "user": None}, "alice as ? through sudo"),
        ({**_SUDO, "login_user": None}, "root"),
        (_LOGIN, "alice from 203.0.113.7"),
        ({**_LOGIN, "login_address": "2001:db8::7"}, "alice from 2001:db8::7"),
        ({**_LOGIN, "user": None, "login_user": None}, "? from 203.0.113.7"),
        ({"user": None, "login_user": None}, "-"),
    ],
)
def test_who_it_was_is_said(call: Call, engine: Engine, values: dict[str, Any], said: str) -> None:
    """Who logged in, from where, whom the process ran as, and through what, as far as it is known."""
    assert _line(call, engine, values)[1] == said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"script": "/opt/backup.py", "executable": "/usr/bin/python3.11"}, "/opt/backup.py (python3.11)"),
        ({"script": "/opt/a", "executable": "/usr/bin/dash (deleted)"}, "/opt/a (dash)"),
        ({"script": "/opt/a", "executable": None}, "/opt/a (ssh)"),
        ({"script": "/opt/a", "executable": None, "command": None}, "/opt/a"),
        ({"executable": "/usr/bin/nc (deleted)"}, "/usr/bin/nc (deleted)"),
    ],
)
def test_a_script_is_named_before_its_interpreter(
    call: Call, engine: Engine, values: dict[str, Any], said: str
) -> None:
    """What a person wrote stands first."""
    assert _line(call, engine, values)[2] == said


@pytest.mark.parametrize(
    ("values", "connection", "how_many"),
    [
        (_NAME, "-> 10.0.4.12:22 (db.example.org)", "1 established"),
        ({"address": None}, "-> unknown:22", "1 established"),
        ({"address": None, "port": None, "attempted": 9, "refused": 9}, "-> unknown", "9 refused"),
        ({"port": 53, "protocol": "udp", **_NAME}, "-> 10.0.4.12:53 udp (db.example.org)", "1 flow"),
        ({"port": 53, "protocol": "udp", "attempted": 3, "failed": 2}, "-> 10.0.4.12:53 udp", "3 flows, 2 failed"),
        ({"protocol": "udp", "attempted": 0, "failed": 2}, "-> 10.0.4.12:22 udp", "0 flows, 2 failed"),
        ({"port": None, "protocol": "icmp", "address": "fd00::1"}, "-> fd00::1 icmp", "1 flow"),
        ({"port": None, "protocol": "packet", "address": None}, "-> unknown packet", "1 flow"),
        ({"protocol": "sctp", "address": "fd00::1"}, "-> [fd00::1]:22 sctp", "1 established"),
        ({"direction": "inbound", "address": None, "established": 2}, ":22 <- unknown", "2 established"),
        ({"direction": "inbound", "port": None, "established": 2}, "<- 10.0.4.12", "2 established"),
    ],
)
def test_what_it_was_is_said(
    call: Call, engine: Engine, values: dict[str, Any], connection: str, how_many: str
) -> None:
    """Address and port with the name that was looked up, the protocol unless it is TCP, "unknown" for what is; and
    connects or flows by number.
    """
    assert _line(call, engine, values)[3:5] == [connection, how_many]
