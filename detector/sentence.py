"""The sentence that a rule has for its alerts: a Jinja template, of which only what cannot do harm is allowed.

Rules name what the sentence may hold, and alerts give the values: what both agree on stands here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Template

LONGEST = 1000
"""Characters of a template."""
_LONGEST_SENTENCE = 500

NUMBERS = ("attempted", "established", "refused", "timed_out", "failed", "events", "addresses", "ports")
"""What an alert about connections counts: outcomes, the larger of attempts and outcomes, and distinct values."""
THINGS = (
    "direction",
    "protocol",
    "user",
    "login_user",
    "login_address",
    "executable",
    "script",
    "remote_address",
    "remote_name",
    "port",
    "remote_port",
    "local_port",
)
"""What the rows of an alert about connections have in common: the value, or how many there are."""
ALWAYS = ("host", "duration", "score")
"""Of an alert about connections as well."""
OF_CAPTURE = ("host", "duration", "lost")
"""Of an alert about capture."""

# Neither loops nor calls, neither attributes nor arithmetic: what is written can be no longer than what is filled in.
_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.If,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
)
_HOW = "use {{ name }} and {% if name > 1 %}…{% endif %} alone"
_WORDS: dict[type[nodes.Node], str] = {
    nodes.For: "a loop",
    nodes.Call: "a call",
    nodes.Getattr: "an attribute",
    nodes.Getitem: "an index",
    nodes.Filter: "a filter",
    nodes.Test: "a test",
}


class SentenceError(Exception):
    """What is wrong with a template, and what to write instead."""


# What is filled in is made printable and bounded, and each channel escapes its own markup.
_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)


def names_in(text: str) -> frozenset[str]:
    """The names that a template fills in.

    Raises:
        SentenceError: it is not one, or holds more than is allowed.
    """
    if len(text) > LONGEST:
        raise SentenceError(f"is longer than {LONGEST} characters; shorten it")
    try:
        tree = _ENVIRONMENT.parse(text)
        found = list(tree.find_all(nodes.Node))
    except TemplateError as fault:
        raise SentenceError(f"is not understood: {str(fault.message).rstrip('.')}; {_HOW}") from None
    except RecursionError:
        raise SentenceError(f"is nested too deep; {_HOW}") from None
    for node in found:
        if not isinstance(node, _ALLOWED):
            what = _WORDS.get(type(node), "more than names and conditions")
            raise SentenceError(f"holds {what}; {_HOW}")
    return frozenset(node.name for node in found if isinstance(node, nodes.Name))


def fill_in(text: str, values: Mapping[str, Any]) -> str:
    """The sentence, on one line of printable text, cut where it is too long.

    Args:
        text: a template that `names_in` accepts.
        values: of all its names; texts from outside are quoted already.

    Raises:
        SentenceError: a name has no value.
    """
    try:
        return visible(" ".join(_template(text).render(values).split()), _LONGEST_SENTENCE)
    except TemplateError as fault:
        raise SentenceError(f"is not understood: {str(fault.message).rstrip('.')}; {_HOW}") from None
    except (TypeError, RecursionError):
        raise SentenceError(f"compares text with a number; numbers are {', '.join(NUMBERS)}") from None


@lru_cache(maxsize=1000)
def _template(text: str) -> Template:
    return _ENVIRONMENT.from_string(text)
