"""The templates that messages are written with: those that ship, and the operator's own in their place.

They are Jinja, in its sandbox. Whatever a template fills in is made harmless for the form that it is of, without being
asked to: printable, and escaped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from detector.errors import TemplateFault
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Template

SUBJECT, TEXT, MARKDOWN, HTML = "subject.txt", "message.txt", "message.md", "message.html"
NAMES = (SUBJECT, TEXT, MARKDOWN, HTML)
"""The files of a folder of templates; what is missing there is as it ships."""
LONGEST = 100_000
"""Characters of a template, and of what it may write."""
_SHIPPED = Path(__file__).with_name("layouts")
_VALUE_LIMIT = 1000
_LINES = re.compile(r"\n{3,}")
# What begins or ends something in any dialect of Markdown; some does at the beginning alone, a colon before slashes,
# where it makes a link.
_MARKUP = re.compile(r"[\\`*_\[\]<>#~|&]|^[+=-]|(?:(?<=^\d)|(?<=^\d\d))[.)]|:(?=//)|(?<=www)\.", re.IGNORECASE)
_MENTION = re.compile(r"@(?=\w)")


@dataclass(frozen=True, slots=True)
class Templates:
    """What is in force, by the names of the files."""

    sources: Mapping[str, str]
    faults: tuple[TemplateFault, ...] = ()
    """Of files that are refused: in their place stands what ships."""
    own: tuple[str, ...] = field(default=())
    """The names of those that are the operator's."""

    def write(self, name: str, values: Mapping[str, Any]) -> str:
        """What a template makes of `values`.

        Raises:
            TemplateError: it cannot be filled in.
        """
        return _written(name, self.sources[name], values)


def shipped() -> Templates:
    """Those that ship."""
    return Templates(_sources())


def read(folder: Path, sample: Mapping[str, Any], *, missing_is_fault: bool = True) -> Templates:
    """Those of a folder, each tried with `sample`; the shipped ones in place of what is missing or refused."""
    sources, faults, own = dict(_sources()), [], []
    if not folder.is_dir():
        if missing_is_fault:
            faults.append(
                TemplateFault(str(folder), 1, "there is no such folder; make it, or correct notify.templates")
            )
        return Templates(sources, tuple(faults))
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.endswith("~"):
            continue
        if path.name not in NAMES:
            faults.append(TemplateFault(str(path), 1, f"is no template; templates are {', '.join(NAMES)}"))
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            reason = (fault.strerror or "cannot be read") if isinstance(fault, OSError) else "is not UTF-8 text"
            faults.append(TemplateFault(str(path), 1, f"{reason}; let the account that runs detect read it"))
            continue
        if found := _fault(path.name, text, sample):
            faults.append(TemplateFault(str(path), *found))
            continue
        sources[path.name] = text
        own.append(path.name)
    return Templates(sources, tuple(faults), tuple(own))


def _fault(name: str, text: str, sample: Mapping[str, Any]) -> tuple[int, str] | None:
    """The line and what is wrong there; None: nothing is."""
    if len(text) > LONGEST:
        return 1, f"is longer than {LONGEST:,} characters; shorten it"
    try:
        switch = _ENVIRONMENTS[name].parse(text).find(nodes.ScopedEvalContextModifier)
        if switch is not None:
            return switch.lineno, "switches escaping, which is not allowed; leave {% autoescape %} out"
        _written(name, text, sample)
    except TemplateSyntaxError as fault:
        return fault.lineno, f"is not understood: {str(fault.message).rstrip('.')}; see docs/messages.md"
    except UndefinedError as fault:
        known = ", ".join(sorted(sample))
        return _line(fault), f"{str(fault.message).rstrip('.')}; there is {known}"
    except SecurityError as fault:
        return _line(fault), f"is not allowed: {str(fault.message).rstrip('.')}; use names, conditions and loops"
    except (TemplateError, ArithmeticError, TypeError, ValueError, KeyError, IndexError, RecursionError) as fault:
        return _line(fault), f"cannot be filled in: {visible(str(fault), 200)}; see docs/messages.md"
    return None


def _line(fault: BaseException) -> int:
    """Where in the template something went wrong, as Jinja says it in the trace."""
    line, trace = 1, fault.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _written(name: str, text: str, values: Mapping[str, Any]) -> str:
    """At most LONGEST characters; of a subject, one line."""
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


def escaped(text: str) -> str:
    """Text as Markdown that shows just this, links nowhere and calls nobody.

    No dialect has an escape for "@" that all keep to, and so the wide form of it stands there.
    """
    return _MENTION.sub("\uff20", _MARKUP.sub(lambda found: f"\\{found[0]}", text))


def escaped_lines(text: str) -> str:
    """Lines as Markdown that shows just these."""
    return "  \n".join(escaped(line) for line in text.split("\n"))


class _Ready(str):
    """Markdown that is escaped already. What any filter makes of it is a plain text again."""

    __slots__ = ()


def _code(text: str) -> str:
    """Text as a line of a block of code, in which nothing is markup, and which it cannot end."""
    return _Ready(visible(str(text), _VALUE_LIMIT).replace("`", "'"))


def _plain(value: object) -> object:
    return visible(value, _VALUE_LIMIT) if isinstance(value, str) else value


def _in_markdown(value: object) -> object:
    if isinstance(value, _Ready) or not isinstance(value, str):
        return value
    return escaped(visible(value, _VALUE_LIMIT))


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
    return _ENVIRONMENTS[name].from_string(text)


@lru_cache(maxsize=1)
def _sources() -> Mapping[str, str]:
    return {name: (_SHIPPED / name).read_text(encoding="utf-8") for name in NAMES}
