"""Random regular expressions, and what Python's own engine makes of them."""

from __future__ import annotations

import re

from hypothesis import strategies as st

FLAGS = st.frozensets(st.sampled_from("ims"))
TEXTS = st.text(st.sampled_from("abAB\n /._-é9\\"), max_size=8) | st.text(max_size=4).filter(
    lambda text: "\0" not in text
)
_CLASS = st.sampled_from(
    (
        *(
            "[ab]",
            "[^a]",
            "[a-b9]",
            "[^\\n]",
            "[\\w-]",
            "[^\\W]",
            "[]a]",
            "[^]]",
            "[A\\-]",
            "[é-ü]",
            "[^é]",
            "[.*]",
            "[a^]",
        ),
        *("[\\d_]", "[\\S]", "[^\\s/]", "[\\x2e-/]", "[!-~]"),
    )
)
_ATOM = (
    st.sampled_from(("a", "b", "A", "B", "/", "\\.", "_", "-", "é", "9", "\n", " ", "\\\\", "\\n", "\\x41"))
    | st.sampled_from((".", "\\w", "\\W", "\\d", "\\s", "\\S"))
    | _CLASS
)
_TIMES = st.sampled_from(("", "", "", "*", "+", "?", "{2}", "{1,2}", "{0,2}", "{1,}", "*?"))
_PLACE = st.sampled_from(("^", "$", "\\b"))


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    grouped = st.builds("({}{}){}".format, st.sampled_from(("", "?:")), inner, _TIMES)
    return (
        st.lists(inner | grouped | _PLACE, min_size=1, max_size=4).map("".join)
        | st.lists(inner, min_size=2, max_size=3).map("|".join)
        | grouped
    )


# Escapes, classes and ends of text: what stands in the first two is no end.
_PARTS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\$", re.DOTALL)

REGEXES = st.recursive(st.builds("{}{}".format, _ATOM, _TIMES), _larger, max_leaves=6)


def holds_match(regex: str, flags: frozenset[str], text: str) -> bool:
    """Whether `text` holds a match, by an engine that shares nothing with those of the databases.

    To it, `$` is also before a last line feed; everywhere else it is the very end.
    """
    if "m" not in flags:
        regex = _PARTS.sub(lambda part: {"$": r"\Z"}.get(part[0], part[0]), regex)
    used = re.ASCII
    for flag in flags:
        used |= {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}[flag]
    return re.search(regex, text, used) is not None
