"""Writes what a verb changes in the user's folder: looked at by the loader first, and whole or not at all."""

from __future__ import annotations

import getpass
import os
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detector.cli.terminal import note, say
from detector.errors import RuleError, RuleFault
from detector.ruleset.folders import check_is_read, own_folder, remove_file, replace_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from detector.config import Settings
    from detector.ruleset.load import LoadedRules


def change_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command `--reason`, `--until` and `--author`."""
    for option in (
        click.option("--author", metavar="NAME", help="Who says so. Default: whoever is logged in."),
        click.option("--until", metavar="DAY|TIME", default="", help="When it ends by itself: 2026-12-31, in UTC."),
        click.option("--reason", metavar="TEXT", help="Why; asked for when it is not given."),
    ):
        command = option(command)
    return command


def said_reason(reason: str | None) -> str:
    """Why, from the command line or the terminal.

    Raises:
        UsageError: nobody is there to be asked.
    """
    if reason is None and os.isatty(0):
        reason = str(click.prompt("why"))
    if not reason or not reason.strip():
        raise click.UsageError("say why: --reason 'the backup is meant to'")
    return reason.strip()


def said_until(until: str) -> str:
    """When it ends; that it is no time, the loader says with its place.

    Raises:
        BadParameter: it is over already.
    """
    from detector.ruleset.times import end_of

    with suppress(ValueError, OverflowError):
        if until and end_of(until) <= datetime.now(UTC):
            raise click.BadParameter(f"{until} is over; write a day to come", param_hint="'--until'")
    return until


def said_author(author: str | None) -> str:
    """Who, as the command line says; else who has logged in, whatever sudo made of them since."""
    if named := author or os.environ.get("SUDO_USER"):
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def own_path(settings: Settings, name: str) -> Path:
    """Where a file of this name is in the user's folder.

    Raises:
        RuleWriteError: what is written there would not be read.
    """
    folder = own_folder(settings.rule_folders)
    check_is_read(folder, settings)
    return folder / name


def write(settings: Settings, path: Path, text: str) -> None:
    """Writes a file of the user's folder, if the loader takes it.

    Raises:
        RuleError: it does not; nothing is written.
        RuleWriteError: it cannot be written.
    """
    check(settings, path, text)
    replace_file(path, text)
    _say_when(settings)


def remove(settings: Settings, path: Path) -> None:
    """Removes a file of the user's folder.

    Raises:
        RuleWriteError: it cannot be removed.
    """
    remove_file(path)
    _say_when(settings)


def check(settings: Settings, path: Path, text: str) -> LoadedRules:
    """Has the loader look at a text as if it stood at `path`; gives the rules as they would be.

    Raises:
        RuleError: with its faults.
    """
    from detector.ruleset.load import load_rules

    with tempfile.TemporaryDirectory() as folder:
        tried = Path(folder, path.name)
        tried.write_text(text, encoding="utf-8")
        loaded = load_rules(settings.rule_folders, checked=[tried], channels=settings.channel_names)
    faults = [fault for fault in loaded.faults if fault.path == str(tried)]
    if faults:
        raise RuleError(tuple(RuleFault(str(path), fault.line, fault.message) for fault in faults))
    return loaded


def _say_when(settings: Settings) -> None:
    say("a running detect takes it up within two seconds")
    if settings.database_url.startswith("postgresql"):
        note("other machines that detect have rule files of their own: change them there too")
