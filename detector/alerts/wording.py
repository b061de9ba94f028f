"""An alert in one sentence: who, with what, where, how many, how it ended, how unusual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector.alerts import capture_wording
from detector.alerts.own_words import COUNTS, names_told, told
from detector.alerts.phrases import named
from detector.amounts import humanised, numbered
from detector.domain import Direction, Protocol
from detector.visible import visible

if TYPE_CHECKING:
    from detector.alerts.facts import Facts, Totals

_EXPLANATION_LIMIT = 300
_LABELS = {
    Protocol.SCTP: "SCTP ",
    Protocol.UDP: "UDP ",
    Protocol.ICMP: "ICMP ",
    Protocol.RAW: "raw IP ",
    Protocol.PACKET: "AF_PACKET ",
}


def summary(facts: Facts) -> str:
    """A few sentences on one line of printable text; names are quoted where they could be taken for prose."""
    if own := told(facts):
        if facts.capture is not None:
            return own
        return " ".join(filter(None, (_ended(own), _what_it_leaves_out(facts), _unusual(facts))))
    if facts.capture is not None:
        return capture_wording.summary(facts.capture, facts.duration)
    # Inbound connections are counted when established: to say how they ended adds nothing.
    inbound = facts.of("direction").sole == Direction.INBOUND
    said = _inbound(facts) if inbound else f"{_actor(facts)} {_outbound(facts)}"
    said += f" in {humanised(facts.duration)}"
    if not inbound and (outcomes := _outcomes(facts.totals)):
        said += f", {outcomes}"
    return f"{said}. {_unusual(facts)}".rstrip()


@dataclass(frozen=True, slots=True)
class _Events:
    """What the rows count: connects, flows, or both."""

    noun: str
    plural: str
    tried: str
    made: str
    through: str
    label: str
    number: int

    @classmethod
    def of(cls, facts: Facts) -> _Events:
        manners, protocol = facts.of("manner"), facts.of("protocol").sole
        label = _LABELS.get(Protocol(protocol), "") if protocol else ""
        number = facts.totals.magnitude
        if manners.count > 1:
            return cls("connect or flow", "connects and flows", "tried", "made", "with", label, number)
        if manners.sole == "flow":
            # Each packet of a flow may be refused by itself.
            number = facts.totals.attempted or number
            return cls("flow", "flows", "sent to", "sent", "in", label, number)
        return cls("connect", "connects", "tried", "made", "with", label, number)

    @property
    def counted(self) -> str:
        """ "12 UDP flows" """
        return numbered(self.number, f"{self.label}{self.noun}", f"{self.label}{self.plural}")

    def beyond(self, targets: int) -> str:
        """How many there were, unless one to each of the targets."""
        if self.number == targets:
            return ""
        return f" {self.through} {numbered(self.number, self.noun, self.plural)}"


def _outbound(facts: Facts) -> str:
    events = _Events.of(facts)
    addresses, ports = facts.of("address"), facts.of("port")
    several = numbered(addresses.count, "address", "addresses")
    if ports.count > 1 and addresses.count == 1:
        told = f"{events.tried} {numbered(ports.count, f'{events.label}port')} on {_address(facts)}"
        told += events.beyond(ports.count)
    elif ports.count == 1 and addresses.count > 1:
        told = f"{events.tried} {events.label}port {ports.sole} on {several}{events.beyond(addresses.count)}"
    elif addresses.count == 0:
        return f"{events.made} {events.counted} to unknown destinations"
    else:
        told = f"{events.made} {events.counted} to "
        if addresses.sole is not None:
            told += _address(facts, ports.sole)
        else:
            told += several + (f" on {numbered(ports.count, 'port')}" if ports.count else "")
    return f"{told}, some to unknown destinations," if facts.of("unaddressed").count else told


def _inbound(facts: Facts) -> str:
    addresses, ports = facts.of("address"), facts.of("port")
    source = _address(facts) if addresses.sole else numbered(addresses.count, "address", "addresses")
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
    users, logins, origin = facts.of("user"), facts.of("login_user"), facts.of("login_address").sole
    user = named(users.sole) if users.sole is not None else (users.count and numbered(users.count, "user"))
    login = named(logins.sole) if logins.sole is not None else (logins.count and numbered(logins.count, "login user"))
    if login and origin:
        where = f"{login} (ssh from {origin})"
        return f"{where}, as {user}" if user and user != login else where
    if user and login and user != login:
        return f"{login} as {user}"
    return str(user or login or "")


def _executable(facts: Facts) -> str:
    executables, script = facts.of("executable"), facts.of("script").sole
    if executables.sole is not None:
        return named(executables.sole) + (f" running {named(script)}" if script else "")
    return numbered(executables.count, "executable") if executables.count else ""


def _address(facts: Facts, port: str | None = None) -> str:
    """The one address, with the port if there is one, and with its name if it has one."""
    address, name = str(facts.of("address").sole), facts.of("remote_name").sole
    if port is not None:
        address = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return f"{address} ({named(name)})" if name else address


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


def _what_it_leaves_out(facts: Facts) -> str:
    """How many, from where, and how they ended, beside a sentence of the rule that does not say how many."""
    named_there = names_told(facts)
    if named_there & COUNTS:
        return ""
    if facts.of("direction").sole == Direction.INBOUND:
        return f"{numbered(facts.totals.magnitude, 'connection')} in {humanised(facts.duration)}."
    said = f"{_Events.of(facts).counted} in {humanised(facts.duration)}"
    if facts.of("login_address").sole is not None and "login_address" not in named_there and (who := _who(facts)):
        said += f" by {who}"
    return ", ".join(filter(None, (said, _outcomes(facts.totals)))) + "."


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "…", "!", "?")) else f"{sentence}."


def _unusual(facts: Facts) -> str:
    if facts.explanation:
        sentence = visible(facts.explanation.strip(), _EXPLANATION_LIMIT)
        return _ended(sentence[:1].upper() + sentence[1:])
    if facts.totals.score is not None:
        return f"Anomaly score {facts.totals.score:.4f}."
    return ""
