"""`detector rules diff` and `rollback`: a rule of the user's beside what ships, and beside what it was."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detector.cli.rule_files import edited_alone, place_of, put
from detector.cli.rule_names import find, load, rule_argument, short
from detector.cli.terminal import note, say
from detector.errors import DetectorError, RuleError
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detector.config import Settings
    from detector.ruleset.versions import Version


@click.command()
@rule_argument
@click.option("--version", "name", metavar="VERSION", help="Beside this earlier version, and not what ships.")
@click.pass_obj
def diff(settings: Settings, /, named: str, name: str | None) -> None:
    """Show in what a rule of yours differs from the one that ships, or from what it was.

    Without --version it is compared with the rule that it takes the place of; if there is none, with its last version.
    Lines begin with - for what is compared with, and + for what is in force. `rules rollback RULE --list` names the
    versions.

    \b
    Examples:
      detector rules diff horizontal_scan
      detector rules diff my_rule --version 20261128T101500Z
    """
    from detector.ruleset.catalogue import State
    from detector.ruleset.versions import read

    loaded = load(settings)
    entry = find(loaded, named)
    path = Path(entry.path)
    replaced = [each for each in loaded.entries if each.state is State.REPLACED and each.rule_id == entry.rule_id]
    if name is None and replaced:
        other, text = replaced[-1].path, read(Path(replaced[-1].path))
    else:
        version = _version(_versions(settings, path), name, short(entry))
        other, text = str(version.path), version.text()
    lines = list(_difference(text, read(path), other, str(path)))
    for line in lines:
        say(line)
    if not lines:
        note(f"{path} is the same as {other}")


@click.command()
@rule_argument
@click.option("--to", "name", metavar="VERSION", help="To this version. Default: the last one.")
@click.option("--list", "listed", is_flag=True, help="Only name the versions, the newest first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def rollback(settings: Settings, /, named: str, name: str | None, listed: bool, yes: bool) -> None:
    """Take a rule of yours back to what it was before it was changed.

    What it is now is kept as a version, too, so that this can be taken back in the same way. The last 20 are kept.

    \b
    Examples:
      detector rules rollback my_rule --list
      detector rules rollback my_rule
      detector rules rollback my_rule --to 20261128T101500Z --yes
    """
    from detector.ruleset.trial import trial

    entry = find(load(settings), named)
    path = Path(entry.path)
    versions = _versions(settings, path)
    if listed:
        for each in versions:
            say(each.name)
        if not versions:
            note(f"there are no earlier versions of {path}")
        return
    version = _version(versions, name, short(entry))
    text, place = version.text(), place_of(settings, path)
    with edited_alone(place):
        for line in _difference(place.was or "", text, str(path), str(version.path)):
            say(line)
        tried = trial(settings.rule_folders, place.folder, path, text, settings.channel_names)
        if tried.faults:
            raise RuleError(tried.faults)
        if not yes:
            if not os.isatty(0):
                raise click.UsageError("nobody is there to be asked: add --yes")
            click.confirm(f"put this in force as {visible(str(path))}?", abort=True)
        put(settings, place, text)


def _versions(settings: Settings, path: Path) -> Sequence[Version]:
    from detector.ruleset.versions import versions

    folder = next((each for each in settings.rule_folders if path.is_relative_to(each)), None)
    return versions(folder, path) if folder is not None else ()


def _version(versions: Sequence[Version], name: str | None, rule: str) -> Version:
    if not versions:
        raise DetectorError(f"of {rule} there is nothing earlier, and it takes no other rule's place")
    if name is None:
        return versions[0]
    known = {each.name: each for each in versions}
    if name not in known:
        raise DetectorError(f"{rule} has no version {name!r}", hint=f"there are: {', '.join(known)}")
    return known[name]


def _difference(before: str, after: str, old: str, new: str) -> Iterator[str]:
    return difflib.unified_diff(before.splitlines(), after.splitlines(), old, new, lineterm="")
