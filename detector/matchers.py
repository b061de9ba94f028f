"""What a silence is about: `login_user=backup`, `remote_address=10.0.0.0/8`, `executable=~/opt/.*`.

A matcher holds for an alert when it holds for each value that the alert's rows have in its field: an alert that is
about somebody else as well is not muted. What is not known matches nothing but the empty value (`login_user=`), so that
a doubt ends in a message.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from detector.domain import Direction, IPAddress, Protocol, Severity
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Facts = dict[str, frozenset[str]]
"""The values of an alert, by field."""

_WHERE = ("host", "severity")
_ADDRESSES = ("remote_address", "login_address")
_PORTS = ("remote_port", "local_port")
# Of all of these the values of an alert's rows are kept; of any other field only what its rule groups by.
_OF_ROWS = ("direction", "protocol", "user", "login_user", "executable", "script", "login_address", "remote_name")
_OF_GROUPS = ("command", "parent_executable", "unit", "container", "session", "remote_country", "remote_network")
FIELDS = ("host", "rule", "rule_title", "severity", *_OF_ROWS, *_ADDRESSES[:1], *_PORTS, *_OF_GROUPS)
"""What a matcher may name; `rule` is a rule's id."""

_CHOICES: dict[str, type[StrEnum]] = {"severity": Severity, "direction": Direction, "protocol": Protocol}
_WRITTEN = re.compile(r"\s*([^=!~\s]*)\s*(=~|!~|!=|=)(.*)", re.DOTALL)
_LONGEST = 1000
# No name is like both: a pattern that takes them takes everything.
_ODD = ("\x01", "~/\x02 :%")
_MOST_COMPILED = 500


class MatcherError(ValueError):
    """A matcher that is not understood; says what is wrong and what to write."""


class Operator(StrEnum):
    """How a value is compared."""

    IS = "="
    IS_NOT = "!="
    LIKE = "=~"
    """The whole value matches an RE2 expression."""
    UNLIKE = "!~"


@dataclass(frozen=True, slots=True, order=True)
class Matcher:
    """One condition of a silence."""

    field: str
    operator: Operator
    value: str

    def __str__(self) -> str:
        return f"{self.field}{self.operator}{self.value}"

    def holds(self, facts: Mapping[str, frozenset[str]]) -> bool:
        """Whether it holds for all of an alert."""
        values = facts.get(self.field) or {""}
        if self.operator is Operator.IS and not self.value:
            return values == {""}
        same = _test(self.field, self.operator in (Operator.LIKE, Operator.UNLIKE), self.value)
        wanted = self.operator in (Operator.IS, Operator.LIKE)
        return all(value and same(value) is wanted for value in values)

    @property
    def narrows(self) -> bool:
        """Whether it says whom or what the silence is about: not where, not how bad, and not everything but."""
        if self.field in _WHERE or self.operator not in (Operator.IS, Operator.LIKE):
            return False
        if self.operator is Operator.IS:
            return not (self.field in _ADDRESSES and self.value.endswith("/0"))
        return not all(map(_test(self.field, True, self.value), _ODD))


def parse(text: str) -> Matcher:
    """A matcher as an operator writes it.

    Raises:
        MatcherError: the field is not known, or the value cannot be one of it.
    """
    written = _WRITTEN.fullmatch(text)
    if written is None or not written[1]:
        raise MatcherError(f"{visible(text, 80)!r} is no matcher; write FIELD=VALUE, such as login_user=backup")
    field, operator, value = written[1], Operator(written[2]), written[3].strip()
    if field not in FIELDS:
        near = difflib.get_close_matches(field, FIELDS, n=1)
        advice = f"did you mean {near[0]}?" if near else f"write one of: {', '.join(FIELDS)}"
        raise MatcherError(f"alerts have no field {visible(field, 80)!r}; {advice}")
    if len(value) > _LONGEST:
        raise MatcherError(f"the value of {field} has more than {_LONGEST} characters; write a shorter one")
    _check(field, operator, value)
    return Matcher(field, operator, value)


def hold(matchers: Iterable[Matcher], facts: Mapping[str, frozenset[str]]) -> bool:
    """Whether all of them hold."""
    return all(each.holds(facts) for each in matchers)


def is_broad(matchers: Sequence[Matcher]) -> bool:
    """Whether nothing but the host and the severity, or not even that, limits what a silence mutes."""
    return not any(each.narrows for each in matchers)


def facts_of(
    *,
    host: str,
    rule: tuple[str, str],
    severity: Severity,
    group: Mapping[str, object],
    values: Mapping[str, Iterable[str]],
) -> Facts:
    """What matchers look at.

    Args:
        host: its name.
        rule: the id and the title of the alert's rule.
        severity: of the alert.
        group: what its rows have in common; exact, where `values` are cut when they are long.
        values: of its rows, as `alert_values` has them.
    """
    facts: Facts = {
        "host": frozenset({host}),
        "rule": frozenset({rule[0]}),
        "rule_title": frozenset({rule[1]}),
        "severity": frozenset({severity.value}),
    }
    for name in _OF_ROWS:
        facts[name] = frozenset(values.get(name, ()))
    unaddressed = {""} if values.get("unaddressed") else set()
    facts["remote_address"] = frozenset({*values.get("address", ()), *unaddressed})
    # Rows of both directions do not tell whose port it is.
    if facts["direction"] in ({Direction.OUTBOUND}, {Direction.INBOUND}):
        port = "remote_port" if facts["direction"] == {Direction.OUTBOUND} else "local_port"
        facts[port] = frozenset(values.get("port", ()))
    facts.update({name: frozenset({_text(value)}) for name, value in group.items()})
    return facts


def of_group(
    host: str, rule_id: str, group: Mapping[str, object], also_seen_by: Iterable[str] = ()
) -> tuple[Matcher, ...]:
    """The narrowest matchers that hold for all alerts like one: its host, its rule, what its rows have in common.

    Args:
        also_seen_by: the ids of other rules that saw the same: of this, they would tell in its place.
    """
    rules = sorted({rule_id, *also_seen_by})
    rule = Matcher("rule", Operator.IS, rule_id)
    if len(rules) > 1:
        # People read it: of what has a meaning in a pattern, a hyphen has one between brackets alone.
        rule = Matcher("rule", Operator.LIKE, "|".join(re.escape(each).replace(r"\-", "-") for each in rules))
    common = (Matcher(name, Operator.IS, _text(value)) for name, value in group.items())
    return Matcher("host", Operator.IS, host), rule, *common


def as_stored(matchers: Iterable[Matcher]) -> list[list[str]]:
    """As the database keeps them."""
    return [[each.field, each.operator.value, each.value] for each in matchers]


def from_stored(stored: Iterable[Sequence[str]]) -> tuple[Matcher, ...]:
    """The inverse of `as_stored`."""
    return tuple(Matcher(field, Operator(operator), value) for field, operator, value in stored)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _check(field: str, operator: Operator, value: str) -> None:
    if operator in (Operator.LIKE, Operator.UNLIKE):
        try:
            _pattern(value)
        except ValueError as fault:
            raise MatcherError(f"{visible(value, 80)!r} is no regular expression (RE2): {fault}") from None
        return
    if not value:
        return
    if field in _ADDRESSES:
        try:
            ip_network(value, strict=False)
        except ValueError:
            raise MatcherError(
                f"{visible(value, 80)!r} is neither address nor network; write 10.0.4.12 or 10.0.0.0/8"
            ) from None
    if (known := _CHOICES.get(field)) is not None and value not in list(known):
        raise MatcherError(f"{visible(value, 80)!r} is no {field}; write one of: {', '.join(known)}")
    if field in _PORTS and not (value.isascii() and value.isdecimal()):
        raise MatcherError(f"{visible(value, 80)!r} is no port; write a number, or {field}=~'80|443' for several")


@lru_cache(_MOST_COMPILED)
def _test(field: str, pattern: bool, value: str) -> Callable[[str], bool]:
    """Whether a value is like another one; a network holds its addresses."""
    if pattern:
        return _pattern(value)
    if field in _ADDRESSES:
        network = ip_network(value, strict=False)
        return lambda text: (address := _address(text)) is not None and address in network
    return lambda text: text == value


def _address(text: str) -> IPAddress | None:
    try:
        return ip_address(text)
    except ValueError:
        # It is in no network.
        return None


def _pattern(value: str) -> Callable[[str], bool]:
    # Here: a collector has no need of it.
    import re2

    options: Any = re2.Options()
    options.log_errors = False
    try:
        match = re2.compile(value, options).fullmatch
    except re2.error as fault:
        reason = fault.args[0]
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from None
    return lambda text: match(text) is not None
