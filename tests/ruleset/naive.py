"""A second evaluator of rules, as plain as can be: Python over dictionaries, one connect after another in thought.

It shares nothing with the code it judges: no SQL, no pySigma, its own reading of wildcards.
"""

from __future__ import annotations

import operator
import re
from collections import defaultdict
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from tests.ruleset import regexes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from detector.domain import CaptureHealth, IPAddress, Losses, SnapshotRef, StoredCount

_ORDERED = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
OUTCOMES = ("attempted", "established", "refused", "timed_out", "failed")

LISTS = {
    "nets": ("10.0.0.0/31", "10.0.0.1", "192.168.7.7", "2001:db8::/33"),
    "all": ("::/0", "10.0.0.2"),
    "odd": ("1", "3-4", "4-22"),
    "words": ("a", "AB", "b%", "a\\b", "É"),
    "empty-handed": ("nothing like it",),
}
"""Named lists, by name."""

Row = dict[str, Any]
Tree = tuple[Any, ...]
"""A condition: ("name", selection), ("1 of", pattern), ("all of", pattern), ("and", a, b), ("or", a, b), ("not", a)."""


def row_of(ref: SnapshotRef, stored: StoredCount, observation: Mapping[str, Any]) -> Row:
    """A stored count under Sigma's names; what is missing is None."""
    count, key = stored.count, stored.count.key
    outbound = key.direction == "outbound"
    return {
        "_id": (ref.seq, stored.key_id, count.session),
        **{outcome: getattr(count, outcome) for outcome in OUTCOMES},
        "Host": ref.host,
        "Hour": ref.start.hour,
        "Weekday": ref.start.isoweekday(),
        "Initiated": outbound,
        "Image": key.executable,
        "Script": key.script,
        "ParentImage": key.parent_executable,
        "Command": key.command,
        "User": key.user,
        "LoginUser": key.login_user,
        "LoginIp": count.login_address,
        "Unit": key.unit,
        "Container": key.container,
        "Session": count.session,
        "Protocol": key.protocol.value,
        "DestinationIp": key.remote_address if outbound else None,
        "DestinationHostname": count.remote_name if outbound else None,
        "DestinationCountry": count.remote_country if outbound else None,
        "DestinationNetwork": count.remote_network if outbound else None,
        "SourceIp": None if outbound else key.remote_address,
        "SourceHostname": None if outbound else count.remote_name,
        "SourceCountry": None if outbound else count.remote_country,
        "SourceNetwork": None if outbound else count.remote_network,
        "DestinationPort": key.remote_port if outbound else key.local_port,
        "Attempted": count.attempted,
        "Established": count.established,
        "Refused": count.refused,
        "TimedOut": count.timed_out,
        "Failed": count.failed,
        "HandshakeUsMax": count.handshake_us_max,
        "AnomalyScore": observation.get("score"),
        "Unusual": observation.get("unusual"),
        "Novelty": observation.get("novelty"),
    }


def row_of_snapshot(ref: SnapshotRef, losses: Losses, health: CaptureHealth, gap_seconds: float) -> Row:
    """How a snapshot was taken under Sigma's names; what is missing is None."""
    lost = {
        "LostAttempted": losses.attempted,
        "LostEstablished": losses.established,
        "LostRefused": losses.refused,
        "LostTimedOut": losses.timed_out,
        "LostFailed": losses.failed,
        "LostInbound": losses.inbound,
        "LostPendingFull": losses.pending_full,
        "LostUnmatched": losses.unmatched,
        "LostUnnamed": losses.unnamed,
        "LostUnread": losses.unread,
        "LostMissed": losses.missed,
        "Unnumbered": losses.unnumbered,
    }
    gap = gap_seconds if gap_seconds > 1 else 0.0
    whole = losses.complete and health.self_test_passed is not False and gap == 0
    blind = None if health.blind_since is None else max(0.0, (ref.end - health.blind_since).total_seconds())
    return {
        "_id": (ref.seq, 0, 0),
        "attempted": 1,
        "Host": ref.host,
        "Complete": whole,
        "Lost": sum(lost.values()),
        **lost,
        "Folded": losses.folded,
        "LostNames": losses.names,
        "LostSnapshots": losses.snapshots,
        "SelfTest": {None: None, True: "passed", False: "failed"}[health.self_test_passed],
        "BlindSeconds": blind,
        "LateSeconds": health.late_seconds,
        "ClockStepSeconds": health.clock_step_seconds,
        "SuspendedSeconds": health.suspended_seconds,
        "GapSeconds": gap,
        "WaitedSeconds": 0.0,
        "SetAside": None,
        "Unseen": "; ".join(health.unseen) or None,
    }


def rows_matching(selections: Mapping[str, Any], tree: Tree, rows: Iterable[Row]) -> dict[tuple[int, ...], int]:
    """The rows that hold a connect which matches, with how many of their connects do."""
    found = {}
    for row in rows:
        named = {value for _, value in _outcomes(selections)}
        if _holds(selections, tree, row, "attempted"):
            found[row["_id"]] = row["attempted"]
        elif ways := [o for o in named - {"attempted"} if row[o] > 0 and _holds(selections, tree, row, o)]:
            found[row["_id"]] = sum(row[outcome] for outcome in ways)
    return found


@dataclass(frozen=True)
class Counting:
    """A correlation in plain values."""

    kind: str
    group_by: Sequence[str]
    timespan: timedelta
    condition: Mapping[str, int] | Tree | None
    """Comparisons by operator; of rules also a tree over the names that `rule_name` gives them, or nothing."""
    field: str | None = None


def rule_name(number: int) -> str:
    """What a correlation calls its rules."""
    return f"base_{number}"


def groups_passing(
    counting: Counting,
    matched: Sequence[Mapping[tuple[int, ...], int]],
    rows: Sequence[Row],
    ends: Mapping[int, datetime],
    seq: int,
) -> set[tuple[tuple[Any, ...], frozenset[tuple[int, ...]]]]:
    """The groups that pass at snapshot `seq`, each with the rows behind it; `matched` as `rows_matching` by rule."""
    now = ends[seq]
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        end = ends[row["_id"][0]]
        counts = any(row["_id"] in of_rule for of_rule in matched)
        if counts and now - counting.timespan < end <= now and row["_id"][0] <= seq:
            direction = row["Initiated"] if "DestinationPort" in counting.group_by else None
            groups[(*(row[name] for name in counting.group_by), direction)].append(row)
    return {
        (group, frozenset(row["_id"] for row in members))
        for group, members in groups.items()
        if any(row["_id"][0] == seq for row in members) and _passes(counting, matched, members)
    }


def _passes(counting: Counting, matched: Sequence[Mapping[tuple[int, ...], int]], members: Sequence[Row]) -> bool:
    places = [row["_id"] for row in members]
    values = [row[counting.field] for row in members] if counting.field else []
    match counting.kind:
        case "event_count":
            return _compares(sum(matched[0][place] for place in places), counting.condition, 1)
        case "value_count":
            return _compares(len(set(values) - {None}), counting.condition, 1)
        case "value_sum":
            return _compares(sum(values), counting.condition, 0)
        case "temporal_ordered":
            return _in_order([[place[0] for place in places if place in of_rule] for of_rule in matched])
    held = [any(place in of_rule for place in places) for of_rule in matched]
    if counting.condition is None:
        return all(held)
    if isinstance(counting.condition, tuple):
        return _said(counting.condition, {rule_name(number): each for number, each in enumerate(held)})
    return _compares(sum(held), counting.condition, 1)


def _compares(number: int, condition: Any, lowest: int) -> bool:
    held = {
        "gt": lambda threshold: number > threshold,
        "gte": lambda threshold: number >= threshold,
        "lt": lambda threshold: number < threshold,
        "lte": lambda threshold: number <= threshold,
        "eq": lambda threshold: number == threshold,
    }
    return number >= lowest and all(held[how](threshold) for how, threshold in condition.items())


def _in_order(seqs: Sequence[Sequence[int]]) -> bool:
    """Whether one number of each can be chosen so that none is less than the one before."""
    at = 0
    for each in seqs:
        later = [seq for seq in each if seq >= at]
        if not later:
            return False
        at = min(later)
    return True


def _said(tree: Tree, held: Mapping[str, bool]) -> bool:
    kind, *rest = tree
    if kind == "name":
        return held[rest[0]]
    parts = [_said(part, held) for part in rest]
    return {"and": all(parts), "or": any(parts), "not": not parts[0]}[kind]


def rows_new(
    fields: Sequence[str], window: timedelta, rows: Sequence[Row], starts: Mapping[int, datetime], seq: int
) -> set[tuple[int, ...]]:
    """The rows of a snapshot whose values of `fields` no earlier one had since the day that `window` reaches to."""
    since = (starts[seq] - window).date()
    before = {
        tuple(row[name] for name in fields)
        for row in rows
        if row["_id"][0] < seq and starts[row["_id"][0]].date() >= since
    }
    here = [(row["_id"], tuple(row[name] for name in fields)) for row in rows if row["_id"][0] == seq]
    return {place for place, values in here if None not in values and values not in before}


@dataclass(frozen=True)
class Usually:
    """A baseline in plain values, of rows that all match."""

    group_by: Sequence[str]
    field: str
    factor: float
    minimum: int
    window: timedelta


def groups_unusual(
    usually: Usually, rows: Sequence[Row], starts: Mapping[int, datetime], seq: int
) -> set[tuple[Any, ...]]:
    """The groups of snapshot `seq` that did more in its hour so far than they usually do in an hour."""
    this = starts[seq].replace(minute=0, second=0)
    hours: dict[tuple[Any, ...], dict[datetime, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        hour = starts[row["_id"][0]].replace(minute=0, second=0)
        if row["_id"][0] <= seq and hour >= this - usually.window:
            hours[tuple(row[name] for name in usually.group_by)][hour] += row[usually.field]
    found = set()
    for group in {tuple(row[name] for name in usually.group_by) for row in rows if row["_id"][0] == seq}:
        before = [amount for hour, amount in hours[group].items() if hour < this]
        if len(before) >= 3 and hours[group][this] >= max(usually.minimum, usually.factor * sum(before) / len(before)):
            found.add(group)
    return found


def _outcomes(definition: Any) -> Iterable[tuple[str, str]]:
    if isinstance(definition, dict):
        for key, value in definition.items():
            if key == "Outcome":
                yield from ((key, each) for each in (value if isinstance(value, list) else [value]))
            else:
                yield from _outcomes(value)
    elif isinstance(definition, list):
        for each in definition:
            yield from _outcomes(each)


def _holds(selections: Mapping[str, Any], tree: Tree, row: Row, outcome: str) -> bool:
    kind, *rest = tree
    if kind == "name":
        return _selected(selections[rest[0]], row, outcome)
    if kind in ("1 of", "all of"):
        pattern = ".*" if rest[0] == "them" else rest[0].replace("*", ".*")
        names = [name for name in selections if re.fullmatch(pattern, name)]
        held = [_selected(selections[name], row, outcome) for name in names]
        return any(held) if kind == "1 of" else all(held)
    parts = [_holds(selections, part, row, outcome) for part in rest]
    return {"and": all(parts), "or": any(parts), "not": not parts[0]}[kind]


def _selected(definition: Any, row: Row, outcome: str) -> bool:
    if isinstance(definition, list):
        return any(_selected(each, row, outcome) for each in definition)
    return all(_item(key, value, row, outcome) for key, value in definition.items())


def _item(key: str, value: Any, row: Row, outcome: str) -> bool:
    name, *modifiers = key.split("|")
    values = value if isinstance(value, list) else [value]
    if name == "Outcome":
        if "attempted" in values and row["attempted" if outcome == "attempted" else outcome] > 0:
            return True
        return outcome in values and row[outcome] > 0
    if "expand" in modifiers:
        without = [each for each in modifiers if each != "expand"]
        held = [any(_compared(row[name], without, entry) for entry in _listed(each)) for each in values]
    elif "fieldref" in modifiers:
        held = [_alike(row[name], modifiers, row[each]) for each in values]
    else:
        held = [_compared(row[name], modifiers, each) for each in values]
    return (all(held) if "all" in modifiers else any(held)) is not ("neq" in modifiers)


def _listed(value: str) -> Iterable[Any]:
    """What a value with the name of a list stands for, each as it would be written in its place."""
    before, name, after = value.split("%")
    for entry in LISTS[name]:
        if name == "odd":
            first, _, last = entry.partition("-")
            yield from range(int(first), int(last or first) + 1)
        else:
            yield before + entry.replace("\\", "\\\\") + after


def _alike(stored: Any, modifiers: Sequence[str], other: Any) -> bool:
    """Two fields of one row, wildcards being nothing special."""
    if stored is None or other is None:
        return False
    if not isinstance(stored, str):
        return bool(stored == other)
    one, two = (text if "cased" in modifiers else _lower(text) for text in (stored, other))
    if "contains" in modifiers:
        return two in one
    if "startswith" in modifiers:
        return one.startswith(two)
    return one.endswith(two) if "endswith" in modifiers else one == two


def _compared(stored: Any, modifiers: Sequence[str], value: Any) -> bool:
    if "exists" in modifiers:
        return value is (stored is not None)
    if stored is None:
        return False
    if "re" in modifiers:
        return regexes.holds_match(value, frozenset(modifiers) & set("ims"), stored)
    for modifier in modifiers:
        if modifier in _ORDERED:
            return bool(_ORDERED[modifier](stored, value))
    if "cidr" in modifiers:
        return _in_network(ip_address(str(stored)), value)
    if isinstance(stored, bool):
        return stored == (str(value).lower() == "true")
    if isinstance(stored, str):
        before = ".*" if {"contains", "endswith"} & set(modifiers) else ""
        after = ".*" if {"contains", "startswith"} & set(modifiers) else ""
        text, wanted = (stored, value) if "cased" in modifiers else (_lower(stored), _lower(value))
        return re.fullmatch(before + _pattern(wanted) + after, text, re.DOTALL) is not None
    if isinstance(stored, int | float):
        return bool(stored == float(value))
    return _in_network(ip_address(str(stored)), value)


def _in_network(address: IPAddress, written: str) -> bool:
    network = ip_network(written)
    if isinstance(network, IPv6Network) and network[0].ipv4_mapped and network.prefixlen >= 96:
        network = ip_network((network[0].ipv4_mapped, network.prefixlen - 96))
    return address in network


def _lower(text: str) -> str:
    return re.sub("[A-Z]", lambda found: chr(ord(found.group()) + 32), text)


def _pattern(text: str) -> str:
    """Sigma's escapes: a backslash before *, ? or a backslash takes their meaning away; elsewhere it is itself."""
    found = re.findall(r"\\[*?\\]|[*?]|(?s:.)", text)
    meaning = {"*": ".*", "?": "."}
    return "".join(meaning.get(each) or re.escape(each[-1]) for each in found)
