"""An alert in one sentence: who, with what, where, how many, how it ended, how unusual."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from detector.domain import Direction
from detector.visible import visible

if TYPE_CHECKING:
    from datetime import timedelta

    from detector.alerts.facts import Facts, Totals

# What needs no quotes in a sentence. A name with blanks or commas could go on telling the story in its own favour.
_PLAIN = re.compile(r"[\w./:@%+=~#$-]+", re.ASCII)
_NAME_LIMIT = 120
_EXPLANATION_LIMIT = 300


def summary(facts: Facts) -> str:
    """One or two sentences on one line of printable text; names are quoted where they could be taken for prose."""
    # Inbound connections are counted when established: to say how they ended adds nothing.
    inbound = facts.of("direction").sole == Direction.INBOUND
    told = _inbound(facts) if inbound else f"{_actor(facts)} {_outbound(facts)}"
    told += f" in {humanised(facts.duration)}"
    if not inbound and (outcomes := _outcomes(facts.totals)):
        told += f", {outcomes}"
    return f"{told}. {_unusual(facts)}".rstrip()


def humanised(duration: timedelta) -> str:
    """ "40 s", "2 min 30 s", "3 h 5 min", "2 d 4 h": the two largest units that are not zero."""
    seconds = round(duration.total_seconds())
    if seconds < 1:
        return "less than a second"
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        amount, seconds = divmod(seconds, size)
        if amount:
            parts.append(f"{amount} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def numbered(count: int, noun: str, plural: str | None = None) -> str:
    """ "1 port", "65,535 ports"."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def named(text: str) -> str:
    """A name from outside as it may stand in a sentence: printable, bounded, quoted unless it is one plain word."""
    shown = visible(text, _NAME_LIMIT)
    if _PLAIN.fullmatch(shown):
        return shown
    inner = shown.replace('"', "'")
    return f'"{inner}"'


def _outbound(facts: Facts) -> str:
    count = facts.totals.magnitude
    addresses, ports = facts.of("address"), facts.of("port")
    if ports.count > 1 and addresses.count == 1:
        told = f"tried {numbered(ports.count, 'port')} on {addresses.sole}"
        return told if count == ports.count else f"{told} with {numbered(count, 'connect')}"
    if addresses.count > 1 and ports.count == 1:
        told = f"tried port {ports.sole} on {numbered(addresses.count, 'address', 'addresses')}"
        return told if count == addresses.count else f"{told} with {numbered(count, 'connect')}"
    told = f"made {numbered(count, 'connect')}"
    if addresses.sole is not None:
        return f"{told} to {_endpoint(addresses.sole, ports.sole)}"
    return f"{told} to {numbered(addresses.count, 'address', 'addresses')} on {numbered(ports.count, 'port')}"


def _inbound(facts: Facts) -> str:
    addresses, ports = facts.of("address"), facts.of("port")
    source = addresses.sole or numbered(addresses.count, "address", "addresses")
    target = f"port {ports.sole}" if ports.sole else numbered(ports.count, "port")
    told = f"{source} opened {numbered(facts.totals.magnitude, 'connection')} to {target}"
    if executable := _executable(facts):
        told += f" of {executable}"
    return told


def _actor(facts: Facts) -> str:
    who, executable = _who(facts), _executable(facts)
    if who and executable:
        return f"{who}, via {executable},"
    return who or executable or "An unknown process"


def _who(facts: Facts) -> str:
    users, logins = facts.of("user"), facts.of("login_user")
    user = named(users.sole) if users.sole is not None else (users.count and numbered(users.count, "user"))
    login = named(logins.sole) if logins.sole is not None else (logins.count and numbered(logins.count, "login user"))
    if user and login and user != login:
        return f"{login} as {user}"
    return str(user or login or "")


def _executable(facts: Facts) -> str:
    executables = facts.of("executable")
    if executables.sole is not None:
        return named(executables.sole)
    return numbered(executables.count, "executable") if executables.count else ""


def _endpoint(address: str, port: str | None) -> str:
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _outcomes(totals: Totals) -> str:
    told = [
        f"{count:,} {name}"
        for count, name in (
            (totals.refused, "refused"),
            (totals.timed_out, "timed out"),
            (totals.failed, "failed"),
            (totals.established, "established"),
        )
        if count
    ]
    return ", ".join(told)


def _unusual(facts: Facts) -> str:
    if facts.explanation:
        sentence = visible(facts.explanation.strip(), _EXPLANATION_LIMIT)
        sentence = sentence[:1].upper() + sentence[1:]
        return sentence if sentence.endswith((".", "…", "!", "?")) else f"{sentence}."
    if facts.totals.score is not None:
        return f"Anomaly score {facts.totals.score:.4f}."
    return ""
