"""`detector rules check`: what is wrong with rule files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detector.cli.terminal import print_json, say
from detector.errors import RuleError

if TYPE_CHECKING:
    from detector.config import Settings


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[PATH]...")
@click.option("--json", "as_json", is_flag=True, help="The faults as a JSON list of objects: path, line, message.")
@click.pass_obj
def check(settings: Settings, /, paths: tuple[Path, ...], as_json: bool) -> None:
    """Check rule files, and say all that is wrong with them.

    PATH is a rule file or a folder of them, looked at as if it stood beside the configured folders, and went before
    them; without any, those are checked. Each fault is a line, `path:line: what is wrong; what to write instead`, and
    makes the exit code 65.

    \b
    Examples:
      detector rules check
      detector rules check my-rules/ odd-port.yml
    """
    from detector.ruleset.load import load_rules

    loaded = load_rules(settings.rule_folders, checked=paths, channels=settings.channel_names)
    wanted = {os.path.realpath(path) for path in paths}
    faults = tuple(fault for fault in loaded.faults if not wanted or _is_below(fault.path, wanted))
    if as_json:
        print_json([{"path": each.path, "line": each.line, "message": each.message} for each in faults])
    if faults:
        raise RuleError(faults)
    if not as_json:
        said = [entry for entry in loaded.entries if not wanted or _is_below(entry.path, wanted)]
        number = sum(entry.kind != "filter" for entry in said)
        filters = len(said) - number
        more = f", {filters} {'filter' if filters == 1 else 'filters'}" if filters else ""
        say(f"{number} {'rule' if number == 1 else 'rules'}{more}, no faults")


def _is_below(path: str, folders: set[str]) -> bool:
    real = Path(os.path.realpath(path))
    return any(str(each) in folders for each in (real, *real.parents))
