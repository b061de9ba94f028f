"""What operators call a rule on the command line: its id or the beginning of it, its name, title or file."""

from __future__ import annotations

import difflib
from contextlib import suppress
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from detector.errors import DetectorError
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from detector.config import Settings
    from detector.ruleset.catalogue import Entry
    from detector.ruleset.load import LoadedRules

_SHORTEST_PREFIX = 4


class RuleName(click.ParamType[str]):
    """The name of a rule, which the shell completes."""

    name = "rule"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Names and files of rules, and ids when one is begun."""
        # A fault is told when the command is called, not in the middle of its writing.
        with suppress(DetectorError, OSError):
            return [
                CompletionItem(value, help=title)
                for value, title in sorted(_completions(ctx, incomplete).items())
                if value.startswith(incomplete)
            ]
        return []


def rule_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command its RULE."""
    return click.argument("named", type=RuleName(), metavar="RULE")(command)


def load(settings: Settings) -> LoadedRules:
    """The rules as the service would load them now."""
    from detector.ruleset.load import load_rules

    return load_rules(settings.rule_folders, channels=settings.channel_names)


def find(loaded: LoadedRules, named: str) -> Entry:
    """The rule or filter that `named` is the id, a part of the id, the name, the title or the file of.

    Raises:
        DetectorError: none is, or several are.
    """
    from detector.ruleset.catalogue import State

    entries = [entry for entry in loaded.entries if entry.state is not State.REPLACED]
    wanted = named.lower()
    ways: tuple[Callable[[Entry], bool], ...] = (
        lambda entry: entry.rule_id == wanted,
        lambda entry: entry.name == named,
        lambda entry: named in (entry.path, PurePath(entry.path).name, PurePath(entry.path).stem),
        lambda entry: entry.title.lower() == wanted,
        lambda entry: len(wanted) >= _SHORTEST_PREFIX and entry.rule_id.startswith(wanted),
    )
    for way in ways:
        if found := [entry for entry in entries if way(entry)]:
            # Of a correlation with its base rules in one file, the correlation is meant.
            reporting = [entry for entry in found if entry.state is not State.FEEDING] or found
            if len(reporting) > 1:
                raise DetectorError(f"{named!r} is {len(reporting)} rules", hint=_several(reporting))
            return reporting[0]
    known = {name for entry in entries for name in _names(entry)}
    near = difflib.get_close_matches(named, known, n=1)
    hint = f"did you mean {visible(near[0])}?" if near else "see: detector rules list"
    raise DetectorError(f"there is no rule {named!r}", hint=hint)


def short(entry: Entry) -> str:
    """How messages call a rule."""
    return f"{entry.title} ({entry.rule_id[:8]})"


def _several(entries: Iterable[Entry]) -> str:
    return "\n".join(f"{entry.rule_id}  {visible(entry.title)}" for entry in entries)


def _names(entry: Entry) -> Iterable[str]:
    return (*([entry.name] if entry.name else []), PurePath(entry.path).stem)


def _completions(ctx: click.Context, incomplete: str) -> dict[str, str]:
    # Without pySigma, which takes longer to import than a person waits.
    from detector import config
    from detector.ruleset.sources import read_files

    settings = config.load(ctx.find_root().params.get("config_file"))
    found: dict[str, str] = {}
    for file in read_files(settings.rule_folders, (), {})[0]:
        for document in file.documents:
            content = document.content
            title = visible(str(content.get("title", "")))
            if isinstance(content.get("id"), str):
                found[PurePath(file.path).stem] = title
                if isinstance(name := content.get("name"), str):
                    found[name] = title
                if incomplete:
                    found[content["id"]] = title
    return found


def bases_of(entry: Entry, entries: Sequence[Entry]) -> list[Entry]:
    """The rules that a correlation counts; of another rule itself."""
    if entry.kind != "correlation":
        return [entry]
    written = entry.content["correlation"]["rules"]
    names = [written] if isinstance(written, str) else written
    sound = [each for each in entries if each.rule is not None]
    return [each for name in names for each in sound if name == each.name or str(name).lower() == each.rule_id]
