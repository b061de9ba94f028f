"""What a stored row says, in words: who, with what, where to, how often. The same in tables and in messages.

The texts hold names as they are: whoever shows them makes them harmless.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from detector.domain import Direction, Outcome, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONNECTING = (Protocol.TCP, Protocol.SCTP)
# Programs that run others as someone else.
_SWITCHES = frozenset({"sudo", "sudo-rs", "su", "doas", "pkexec", "runuser"})


def who_text(row: Mapping[str, Any]) -> str:
    """`alice from 203.0.113.7 as root through sudo`, as far as it is known."""
    user, login_user, parent = row["user"], row["login_user"], row["parent_executable"]
    switched = login_user is not None and login_user != user
    words = [login_user or user or ("-" if row["login_address"] is None else "?")]
    if row["login_address"] is not None:
        words.append(f"from {row['login_address']}")
    if switched:
        words.append(f"as {user or '?'}")
    if switched and parent is not None and (through := _file_name(parent)) in _SWITCHES:
        words.append(f"through {through}")
    return " ".join(words)


def program_text(row: Mapping[str, Any]) -> str:
    """`/usr/bin/ssh`, `/opt/backup.py (python3.11)`; the command where no path is known."""
    program: str | None = row["executable"] or row["command"]
    if row["script"] is not None:
        return f"{row['script']} ({_file_name(program)})" if program else str(row["script"])
    return program or "-"


def _file_name(path: str) -> str:
    return PurePosixPath(path.removesuffix(" (deleted)")).name


def connection_text(row: Mapping[str, Any]) -> str:
    """`-> 10.0.4.12:53 udp (resolver.example)`, `:22 <- 10.0.4.9`."""
    address = "unknown" if row["remote_address"] is None else row["remote_address"]
    if row["direction"] == Direction.INBOUND:
        text = f"<- {address}" if row["local_port"] is None else f":{row['local_port']} <- {address}"
    elif row["remote_port"] is None:
        text = f"-> {address}"
    else:
        text = f"-> [{address}]" if isinstance(address, IPv6Address) else f"-> {address}"
        text += f":{row['remote_port']}"
    if row["protocol"] != Protocol.TCP:
        text += f" {row['protocol']}"
    return text if row["remote_name"] is None else f"{text} ({row['remote_name']})"


def connects_text(row: Mapping[str, Any]) -> str:
    """How many there were and how they ended: of connects, or of flows."""
    ended = {each: row[each.value] for each in Outcome}
    if row["protocol"] in _CONNECTING:
        return connects(row["attempted"], ended)
    flows = f"{row['attempted']} flow{'' if row['attempted'] == 1 else 's'}"
    return ", ".join([flows] + [f"{number} {each.value.replace('_', ' ')}" for each, number in ended.items() if number])


def connects(attempted: int, ended: Mapping[Outcome, int]) -> str:
    """How many connects there were and how they ended, in words: "3 established, 1 timed out".

    The number of attempts is said when it is not the sum of the ends: inbound connections have none, and an end may
    fall into a later snapshot than its attempt.
    """
    words = ", ".join(f"{number} {each.value.replace('_', ' ')}" for each, number in ended.items() if number)
    if attempted in {0, sum(ended.values())}:
        return words or "-"
    return f"{attempted} attempted: {words}" if words else f"{attempted} attempted"
