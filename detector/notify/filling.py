"""Fills in a template: Jinja, in its sandbox.

Whatever a template fills in is made harmless for the form that it is of, without being asked to: printable, and
escaped. How long that takes and how much memory is not bounded here: see `bounded`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from detector.notify.markdown import escaped
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Template

SUBJECT, TEXT, MARKDOWN, HTML = "subject.txt", "message.txt", "message.md", "message.html"
NAMES = (SUBJECT, TEXT, MARKDOWN, HTML)
"""The forms, by the names of their files."""
LONGEST = 100_000
"""Characters of a template, and of what it may write."""
_VALUE_LIMIT = 1000
_REASON_LIMIT = 200
_LINES = re.compile(r"\n{3,}")


class UnfillableError(Exception):
    """A template cannot be filled in.

    Args:
        line: of the template, from 1.
        message: what is wrong there; what to do about it.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line, self.message = line, message


def fill(name: str, text: str, values: Mapping[str, Any]) -> str:
    """What a template makes of values: at most LONGEST characters, and of a subject one line.

    Args:
        name: the form, one of NAMES.
        text: the template.
        values: what it may name.

    Raises:
        UnfillableError: it cannot be filled in.
    """
    try:
        return _filled(name, text, values)
    except UnfillableError:
        raise
    except TemplateSyntaxError as fault:
        raise UnfillableError(fault.lineno, _sentence("is not understood", fault, "see docs/messages.md")) from None
    except UndefinedError as fault:
        # Else it is not a name that is unknown, but a row, say, that is not there.
        names = ", ".join(sorted(values)) if _reason(fault).endswith("is undefined") else ""
        advice = f"there is {names}" if names else "see docs/messages.md"
        raise UnfillableError(_line(fault), f"{_reason(fault)}; {advice}") from None
    except SecurityError as fault:
        advice = "use names, conditions and loops"
        raise UnfillableError(_line(fault), _sentence("is not allowed", fault, advice)) from None
    except (RecursionError, MemoryError, SyntaxError) as fault:
        # Of Python's own compiler, when it meets what was made of a template.
        raise UnfillableError(_line(fault), "is nested too deep, or takes too much memory; write it simpler") from None
    except Exception as fault:  # noqa: BLE001  filters and methods of values raise whatever Python raises
        raise UnfillableError(_line(fault), _sentence("cannot be filled in", fault, "see docs/messages.md")) from None


def _sentence(what: str, fault: Exception, advice: str) -> str:
    return f"{what}: {_reason(fault)}; {advice}"


def _reason(fault: Exception) -> str:
    said = fault.message if isinstance(fault, TemplateError) else str(fault)
    return visible(said or type(fault).__name__, _REASON_LIMIT).rstrip(".")


def _line(fault: BaseException) -> int:
    """Where in the template something went wrong, as Jinja says it in the trace."""
    line, trace = 1, fault.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _filled(name: str, text: str, values: Mapping[str, Any]) -> str:
    parts, room = [], LONGEST
    for part in _template(name, text).generate(values):
        parts.append(part[:room])
        room -= len(part)
        if room <= 0:
            break
    made = _LINES.sub("\n\n", "".join(parts)).strip()
    if name == SUBJECT:
        return visible(" ".join(made.split()))
    # What stands in a template itself is the operator's; what does not print is no text all the same.
    return "\n".join(visible(line.expandtabs(4)) for line in made.split("\n"))


class _Ready(str):
    """Markdown that is escaped already. What any filter makes of it is a plain text again."""

    __slots__ = ()


def _code(text: str) -> str:
    """Text as a line of a block of code, in which nothing is markup, and which it cannot end."""
    return _Ready(visible(str(text), _VALUE_LIMIT).replace("`", "'"))


def _plain(value: object) -> object:
    return visible(value, _VALUE_LIMIT) if isinstance(value, str) else value


def _in_markdown(value: object) -> object:
    # A list or a pair shows the texts that are in it.
    return value if isinstance(value, _Ready | int | float) else escaped(visible(str(value), _VALUE_LIMIT))


def _environment(name: str) -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=name == HTML,
        finalize=_in_markdown if name == MARKDOWN else _plain,
        keep_trailing_newline=False,
    )
    # What the form needs is done to every value; a filter that undoes it, or makes links, is not there.
    for unwanted in ("safe", "xmlattr", "urlize"):
        del made.filters[unwanted]
    if name == MARKDOWN:
        made.filters["code"] = _code
    return made


_ENVIRONMENTS = {name: _environment(name) for name in NAMES}


@lru_cache(maxsize=64)
def _template(name: str, text: str) -> Template:
    tree = _ENVIRONMENTS[name].parse(text)
    if (switch := tree.find(nodes.ScopedEvalContextModifier)) is not None:
        raise UnfillableError(switch.lineno, "switches escaping, which is not allowed; leave {% autoescape %} out")
    return _ENVIRONMENTS[name].from_string(tree)
