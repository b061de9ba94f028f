"""Random rules, rows, snapshots and countings of both categories, for `test_oracle`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from detector.domain import CaptureHealth, ConnectionCount, Direction, Losses, Protocol
from detector.ruleset.regex import RegexError
from detector.ruleset.regex_sql import Regex
from tests.builders import count
from tests.ruleset import naive, regexes

ADDRESSES = ("10.0.0.1", "10.0.0.2", "192.168.7.7", "::1", "2001:db8::1")
NETWORKS = ("10.0.0.0/8", "10.0.0.0/31", "192.168.7.7/32", "0.0.0.0/0", "::/0", "2001:db8::/32", "::ffff:a00:0/104")
STORED = ("a", "A", "ab", "aB", "b%", "a_b", "a.b", "é", "É", "a\\b", "*", "b")
PATTERNS = (
    *STORED,
    *("A?b", "a*", "*B", "**", "?", "É*", "?\\b", "a%b", "b_", "%", "_"),
    *("\\*", "\\?", "a\\\\b", "a\\\\*", "a\\*", "a\\", "\\"),
)
MODIFIERS = ("", "|contains", "|startswith", "|endswith")
_WRITTEN = st.sampled_from(PATTERNS) | st.text("abAB%_é*?\\", min_size=1, max_size=4)
_NAMES = (
    *("Image", "User", "LoginUser", "Command", "Script", "ParentImage"),
    *("DestinationHostname", "DestinationCountry", "SourceNetwork"),
)
_LIKE = st.sampled_from(MODIFIERS)
_NEQ = st.sampled_from(("", "", "|neq"))


def _lists(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=3)


@st.composite
def _texts(draw: st.DrawFn) -> tuple[str, Any]:
    key: str = draw(st.sampled_from(_NAMES)) + draw(_LIKE) + draw(st.sampled_from(("", "", "|cased")))
    if draw(st.booleans()):
        return key + "|all" + draw(_NEQ), draw(st.lists(_WRITTEN, min_size=1, max_size=3))
    return key + draw(_NEQ), draw(_lists(_WRITTEN))


@st.composite
def _matching(draw: st.DrawFn) -> tuple[str, Any]:
    flags = "".join(f"|{each}" for each in sorted(draw(regexes.FLAGS)))
    every = draw(st.sampled_from(("", "|all"))) + draw(_NEQ)
    return f"{draw(st.sampled_from(_NAMES))}|re{flags}{every}", draw(_lists(_HARMLESS))


def _is_harmless(regex: str) -> bool:
    try:
        return Regex.read(regex, frozenset()) is not None
    except RegexError:
        return False


_HARMLESS = regexes.REGEXES.filter(_is_harmless)


@st.composite
def _references(draw: st.DrawFn) -> tuple[str, Any]:
    family = draw(st.sampled_from((_NAMES, _MEASURES, ("DestinationIp", "LoginIp"), ("SourceIp", "LoginIp"))))
    one, *others = draw(st.permutations(family))
    # A connection has one or the other, never both.
    opposite = {"D": "Source", "S": "Destination"}.get(one[0], "none")
    others = [each for each in others if not each.startswith(opposite)]
    cased, how = (draw(st.sampled_from(("", "|cased"))), draw(_LIKE)) if family is _NAMES else ("", "")
    return f"{one}{cased}|fieldref{how}{draw(_NEQ)}", draw(_lists(st.sampled_from(others)))


@st.composite
def _listed(draw: st.DrawFn) -> tuple[str, Any]:
    way = draw(_LIKE) + draw(st.sampled_from(("", "", "|cased")))
    every = draw(st.sampled_from(("", "", "|all")))
    value = st.builds(
        "{}%{}%{}".format,
        st.sampled_from(("", "", "a", "*", "\\")),
        st.sampled_from(("words", "empty-handed")),
        st.sampled_from(("", "", "b", "?")),
    )
    return f"{draw(st.sampled_from(_NAMES))}{way}|expand{every}{draw(_NEQ)}", draw(_lists(value))


_SMALL = st.integers(0, 3)
_MEASURES = ("Session", "Attempted", "Refused", "Failed", "HandshakeUsMax")
_NUMBERS = st.tuples(
    st.builds("{}{}".format, st.sampled_from((*_MEASURES, "DestinationPort")), _NEQ), _lists(_SMALL | _SMALL.map(str))
)
# What no number of the field meets is refused.
_NEVER = {*((f"{name}|lt", 0) for name in (*_MEASURES, "DestinationPort", "AnomalyScore")), ("AnomalyScore|gt", 1)}
_COMPARED = st.tuples(
    st.builds(
        "{}|{}".format,
        st.sampled_from((*_MEASURES, "DestinationPort", "AnomalyScore")),
        st.sampled_from(("gt", "gte", "lt", "lte")),
    ),
    st.sampled_from((0, 1)),
).filter(lambda item: not {item} & _NEVER)
_EXIST = st.tuples(
    st.builds(
        "{}|exists".format,
        st.sampled_from(
            (
                *("User", "Script", "LoginIp", "DestinationIp", "SourceIp", "DestinationHostname", "SourceCountry"),
                *("DestinationNetwork", "DestinationPort", "AnomalyScore", "Protocol"),
            )
        ),
    ),
    st.booleans(),
)
_WHEN = st.tuples(
    st.builds("Hour{}".format, st.sampled_from(("", "|neq", "|gt", "|gte", "|lt", "|lte"))),
    st.sampled_from((9, 15, 21)),
) | st.tuples(st.builds("Weekday{}".format, _NEQ), st.sampled_from((1, 2)))
_ADDRESS_FIELDS = ("DestinationIp", "SourceIp", "LoginIp")
_PLAIN_ITEMS = st.one_of(
    _texts(),
    _matching(),
    _references(),
    _listed(),
    st.tuples(st.builds("DestinationPort|expand{}".format, _NEQ), st.just("%odd%")),
    st.tuples(
        st.builds("{}|expand{}".format, st.sampled_from(_ADDRESS_FIELDS), _NEQ),
        _lists(st.sampled_from(("%nets%", "%all%"))),
    ),
    _EXIST,
    st.tuples(st.just("Protocol"), _lists(st.sampled_from(("tcp", "udp", "i*", "PACKET")))),
    _NUMBERS,
    _COMPARED,
    _WHEN,
    st.tuples(st.builds("{}{}".format, st.sampled_from(_ADDRESS_FIELDS), _NEQ), _lists(st.sampled_from(ADDRESSES))),
    st.tuples(st.builds("{}|cidr{}".format, st.sampled_from(_ADDRESS_FIELDS), _NEQ), _lists(st.sampled_from(NETWORKS))),
    st.tuples(st.just("Initiated"), st.sampled_from((True, False, "true", "False"))),
    st.tuples(st.just("Novelty"), _lists(st.sampled_from(("destination", "pair", "d*")))),
    st.tuples(st.just("AnomalyScore"), st.sampled_from((0, 0.5, 1))),
    st.tuples(st.just("Unusual"), st.booleans()),
)
_OUTCOMES = st.tuples(st.just("Outcome"), _lists(st.sampled_from(naive.OUTCOMES)))


def _mappings(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(items, min_size=1, max_size=3).map(dict)
    return several | st.lists(several, min_size=1, max_size=2)


@st.composite
def detections(
    draw: st.DrawFn, plain: st.SearchStrategy[Any] = _PLAIN_ITEMS, any_item: st.SearchStrategy[Any] | None = None
) -> tuple[dict[str, Any], naive.Tree]:
    """Selections a1, a2 (with outcomes, never negated) and b1, b2 (without), and a condition over all of them."""
    items = plain | _OUTCOMES if any_item is None else any_item
    positive = {f"a{i}": draw(_mappings(items)) for i in range(draw(st.integers(1, 2)))}
    free = {f"b{i}": draw(_mappings(plain)) for i in range(draw(st.integers(0, 2)))}
    parts: list[naive.Tree] = [("name", name) for name in positive]
    if draw(st.booleans()):
        parts = [(draw(st.sampled_from(("1 of", "all of"))), "a*")]
    if draw(st.booleans()) and free:
        quantifier: str = draw(st.sampled_from(("1 of", "all of")))
        parts.append(("not", (quantifier, "b*")))
    else:
        parts += [draw(st.sampled_from((("name", name), ("not", ("name", name))))) for name in free]
    tree = parts[0]
    for part in parts[1:]:
        tree = (draw(st.sampled_from(("and", "or"))), tree, part)
    return {**positive, **free}, tree


@st.composite
def _counts(draw: st.DrawFn, names: tuple[str | None, ...], addresses: tuple[str | None, ...]) -> ConnectionCount:
    texts = ("executable", "user", "login_user", "command", "script", "parent_executable")
    learnt = ("remote_name", "remote_country", "remote_network")
    drawn: dict[str, Any] = {name: draw(st.sampled_from(names)) for name in (*texts, *learnt)}
    return count(
        draw(st.sampled_from(addresses)),
        draw(st.sampled_from((None, 0, 1, 2))),
        direction=draw(st.sampled_from(Direction)),
        protocol=draw(st.sampled_from(Protocol)),
        login_address=draw(st.sampled_from((None, *ADDRESSES))),
        unit=None,
        **drawn,
        **{name: draw(_SMALL) for name in ("session", *naive.OUTCOMES, "handshake_us_max")},
    )


_OBSERVED = st.fixed_dictionaries(
    {"score": st.sampled_from((None, 0.0, 0.5, 1.0)), "novelty": st.sampled_from((None, "destination", "pair"))}
)
# Pauses of whole intervals, so that ends fall on the edges of windows; a negative one is a clock set back.
# One is long enough for another hour, and after some another day.
_PAUSES = st.sampled_from((0, 10, 20, 50, -10, -20, 23_000))


def _histories(counts: st.SearchStrategy[ConnectionCount]) -> st.SearchStrategy[Any]:
    rows = st.lists(st.tuples(counts, _OBSERVED), max_size=5)
    return st.lists(st.tuples(_PAUSES, rows), min_size=1, max_size=5)


VARIED = _histories(_counts((None, *STORED), (None, *ADDRESSES)))
# Few names, so that snapshots share groups.
ALIKE = _histories(_counts((None, "a"), (None, *ADDRESSES[:2])))
_HOURS = st.sampled_from((0, 0, 0.3, 0.7, 1, 6, 20, 25, 49, 80))
_FEW_ROWS = st.lists(_counts(("a", "b", None), (None, *ADDRESSES[:2])), max_size=4)
LONG = st.lists(st.tuples(_HOURS, _FEW_ROWS), min_size=4, max_size=12)
"""Snapshots after pauses of hours and days."""
ALIKE_ROWS = st.lists(_counts(("a",), (None, *ADDRESSES[:1])), min_size=1, max_size=3)

BROAD = st.sampled_from(
    [
        ({"a1": {"Attempted|gte": 0}}, ("name", "a1")),
        ({"a1": {"Outcome": ["refused", "failed"]}}, ("name", "a1")),
        ({"a1": {"Outcome": "attempted", "Initiated": True}, "a2": {"Outcome": "refused"}}, ("1 of", "a*")),
    ]
)
_TIMESPANS = st.sampled_from((10, 20, 30, 80)).map(lambda seconds: timedelta(seconds=seconds))
_GROUPS = st.lists(
    st.sampled_from(
        (
            *("DestinationPort", "User", "DestinationIp", "Initiated", "Host"),
            *("LoginIp", "DestinationHostname", "Script", "Protocol", "Hour"),
        )
    ),
    min_size=1,
    max_size=2,
    unique=True,
)


def _conditions(least: int, most: int) -> st.SearchStrategy[dict[str, int]]:
    """One comparison, or a range that is not empty."""
    one = st.tuples(st.sampled_from(("gt", "gte", "lt", "lte", "eq")), st.integers(least, most)).map(
        lambda drawn: dict((drawn,))
    )
    ranges = st.tuples(
        st.sampled_from(("gt", "gte")), st.integers(least, most), st.sampled_from(("lt", "lte")), st.integers(2, 3)
    )
    return one | ranges.map(lambda drawn: {drawn[0]: drawn[1], drawn[2]: drawn[1] + drawn[3]})


COUNTINGS = st.one_of(
    st.builds(
        naive.Counting,
        kind=st.just("event_count"),
        group_by=_GROUPS,
        timespan=_TIMESPANS,
        condition=_conditions(2, 6),
    ),
    st.builds(
        naive.Counting,
        kind=st.just("value_count"),
        group_by=_GROUPS,
        timespan=_TIMESPANS,
        condition=_conditions(2, 4),
        field=st.sampled_from(("DestinationPort", "DestinationIp", "Image", "LoginIp", "DestinationHostname")),
    ),
    st.builds(
        naive.Counting,
        kind=st.just("value_sum"),
        group_by=_GROUPS,
        timespan=_TIMESPANS,
        condition=_conditions(1, 6),
        field=st.sampled_from(("Attempted", "Refused", "Failed", "HandshakeUsMax")),
    ),
)

_RULES = tuple(("name", naive.rule_name(number)) for number in range(3))
_ALL_OF_SOME = (
    None,
    {"gte": 2},
    {"eq": 2},
    {"gt": 1, "lt": 3},
    ("and", _RULES[0], ("and", _RULES[1], ("not", _RULES[2]))),
    ("or", ("and", _RULES[0], _RULES[1]), ("and", _RULES[1], ("not", ("or", _RULES[0], _RULES[2])))),
)
TEMPORALS = st.one_of(
    st.builds(
        naive.Counting,
        kind=st.just("temporal"),
        group_by=_GROUPS,
        timespan=_TIMESPANS,
        condition=st.sampled_from(_ALL_OF_SOME),
    ),
    st.builds(
        naive.Counting,
        kind=st.just("temporal_ordered"),
        group_by=_GROUPS,
        timespan=_TIMESPANS,
        condition=st.none(),
    ),
)
# Rules that match often, and each something else, for correlations of three.
NARROW = st.sampled_from(
    [
        ({"a1": {"DestinationPort": 0}}, ("name", "a1")),
        ({"a1": {"DestinationPort|gte": 1}}, ("name", "a1")),
        ({"a1": {"Outcome": "refused"}}, ("name", "a1")),
        ({"a1": {"Image": "a"}}, ("name", "a1")),
        ({"a1": {"Image|exists": False}}, ("name", "a1")),
        ({"a1": {"Protocol": "tcp"}}, ("name", "a1")),
    ]
)

KINDS = (
    *("LostAttempted", "LostEstablished", "LostRefused", "LostTimedOut", "LostFailed", "LostInbound", "LostMissed"),
    *("LostPendingFull", "LostUnmatched", "LostUnnamed", "LostUnread", "LostNames", "Folded", "Unnumbered", "Lost"),
    "LostSnapshots",
)
SECONDS = ("BlindSeconds", "LateSeconds", "ClockStepSeconds", "SuspendedSeconds", "GapSeconds")
_FEW_SECONDS = (0, 0.5, 1, 1.5, 10, 20)
CAPTURE_ITEMS = st.one_of(
    st.tuples(st.sampled_from(KINDS), _lists(_SMALL)),
    st.tuples(
        st.builds("{}|{}".format, st.sampled_from((*KINDS, *SECONDS)), st.sampled_from(("gt", "gte", "lt", "lte"))),
        st.sampled_from((0, 1, 2)),
    ).filter(lambda item: not item[0].endswith("|lt") or item[1] > 0 or item[0].startswith("ClockStep")),
    st.tuples(st.sampled_from(SECONDS), st.sampled_from(_FEW_SECONDS)),
    st.tuples(st.sampled_from(("ClockStepSeconds|lte", "ClockStepSeconds")), st.sampled_from((-10, -0.5))),
    st.tuples(st.builds("{}|exists".format, st.sampled_from(("BlindSeconds", "SelfTest", "Unseen"))), st.booleans()),
    st.tuples(st.just("SelfTest"), _lists(st.sampled_from(("passed", "failed", "FAIL*")))),
    st.tuples(st.just("Complete"), st.booleans()),
    st.tuples(st.just("Unseen") | st.just("Unseen|contains"), st.sampled_from(("a", "A", "a; b", "b", "*"))),
    st.tuples(st.just("Host|startswith"), st.sampled_from(("host-", "other"))),
)
_LOSSES = st.one_of(
    st.just(Losses()),
    st.builds(Losses, **dict.fromkeys(Losses.__dataclass_fields__, st.sampled_from((0, 0, 0, 1, 2)))),
)
_HEALTHS = st.builds(
    lambda passed, blind, late, step, slept, unseen: (
        CaptureHealth(
            self_test_passed=passed,
            late_seconds=late,
            clock_step_seconds=step,
            suspended_seconds=slept,
            unseen=unseen,
        ),
        blind,
    ),
    passed=st.sampled_from((None, True, False)),
    blind=st.sampled_from((None, -5, 0, 10, 15)),
    late=st.sampled_from(_FEW_SECONDS),
    step=st.sampled_from((*_FEW_SECONDS, -0.5, -10)),
    slept=st.sampled_from(_FEW_SECONDS),
    unseen=st.sampled_from(((), ("a",), ("a", "b"))),
)
SNAPSHOTS = st.lists(st.tuples(st.sampled_from((0, 0.5, 1, 1.5, 20, -10)), _LOSSES, _HEALTHS), min_size=1, max_size=6)
_CAPTURE_GROUPS = st.sampled_from((["Host"], ["SelfTest"], ["Host", "Unseen"]))
CAPTURE_COUNTINGS = st.one_of(
    st.builds(
        naive.Counting,
        kind=st.just("event_count"),
        group_by=_CAPTURE_GROUPS,
        timespan=_TIMESPANS,
        condition=_conditions(2, 3),
    ),
    st.builds(
        naive.Counting,
        kind=st.just("value_count"),
        group_by=_CAPTURE_GROUPS,
        timespan=_TIMESPANS,
        condition=_conditions(2, 3),
        field=st.sampled_from(("SelfTest", "Unseen")),
    ),
    st.builds(
        naive.Counting,
        kind=st.just("value_sum"),
        group_by=_CAPTURE_GROUPS,
        timespan=_TIMESPANS,
        condition=_conditions(1, 4),
        field=st.sampled_from(("Lost", "LostSnapshots", "Folded")),
    ),
)

OF_CAPTURE = detections(CAPTURE_ITEMS, CAPTURE_ITEMS)
