"""`detector doctor`: how this machine, its configuration and the service stand, each fault with its remedy."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from detector.cli import terminal
from detector.cli.checks.check import Verdict, bad, doubtful, good
from detector.config import default_file
from detector.errors import ConfigError, DetectorError
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from detector.cli.checks.check import Check
    from detector.config import Settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON: subject, verdict, finding, remedy of each.")
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> None:
    """Say how this machine stands, and what it lacks, each with its remedy.

    Looks at the kernel, the clock, the configuration and the modes of files, the database, what comes of the hosts, the
    rules, the models, the channels, and what runs. A line is good, doubtful (it may be meant), or bad.

    With the privileges of `detector collect` it attaches the kernel programs for a moment, beside those of a collector
    that runs. Changes nothing, but that it keeps what it compiled for that, in collector.cache_folder. The exit status
    is 1 when anything is bad, else 0, so that a script can ask.

    \b
    Examples:
      detector doctor
      detector doctor --json | jq '.[] | select(.verdict == "bad")'
    """
    checks = []
    for check in examine(ctx.obj, configuration_file(ctx)):
        checks.append(check)
        if not as_json:
            # At once: to compile the kernel programs can take a while.
            click.echo(visible(f"{check.verdict:<9} {check.subject}: {check.finding}"))
            if check.remedy:
                click.echo(visible(f"{'':<9} remedy: {check.remedy}"))
    if as_json:
        terminal.print_json([asdict(check) for check in checks])
    if any(check.verdict is Verdict.BAD for check in checks):
        ctx.exit(1)


def configuration_file(ctx: click.Context) -> Path | None:
    """The file that the settings come from, or would if it could be read; None: there is none."""
    try:
        named: Path | None = ctx.find_root().params["config_file"] or default_file(os.environ)
    except ConfigError:
        # That this user may not look is the fault that is told of the configuration.
        return None
    return named


def examine(settings: Settings | ConfigError, path: Path | None) -> Iterator[Check]:
    """All checks, in the order of the data's way.

    A check that fails is a line itself: somebody asks this because something is wrong already.

    Args:
        settings: or what is wrong with the configuration; then what depends on it is not looked at.
        path: the configuration file, if there is one.
    """
    from detector.cli.checks import (
        capturing,
        channels,
        clock,
        database,
        figures,
        files,
        kernel,
        models,
        rules,
        running,
        spool,
    )

    yield from _guarded("kernel", kernel.kernel)
    yield from _guarded("clock", clock.clock)
    yield from _guarded("services", running.services)
    if isinstance(settings, ConfigError):
        # Where there is none the message says what is expected.
        remedy = settings.hint or "mend it there: docs/configuration.md says what each value may be"
        yield bad("configuration", settings.message, remedy)
        yield doubtful("configuration", "what depends on it was not looked at", "mend it first")
        return
    yield good("configuration", f"{path} is understood" if path else "there is no file: every setting has its default")
    yield from _guarded("files", files.files, settings, path)
    yield from _guarded("processes", running.copies, settings)
    yield from _guarded("hooks", kernel.hooks, settings)
    stored = list(_guarded("database", database.database, settings))
    yield from stored
    yield from _guarded("spool", spool.spool, settings)
    yield from _guarded("rules", rules.rules, settings)
    yield from _guarded("channels", channels.channels, settings)
    yield from _guarded("templates", channels.templates, settings)
    yield from _guarded("metrics", figures.figures, settings)
    if any(check.subject == "database" and check.verdict is Verdict.BAD for check in stored):
        return
    yield from _guarded("snapshots", capturing.capturing, settings)
    yield from _guarded("models", models.models, settings)
    yield from _guarded("alerts", models.held, settings)
    yield from _guarded("outbox", channels.outbox, settings)
    yield from _guarded("silences", channels.silences, settings)


def _guarded(subject: str, look: Callable[..., Iterator[Check]], *arguments: object) -> Iterator[Check]:
    try:
        yield from look(*arguments)
    except DetectorError as fault:
        yield bad(subject, fault.message, fault.hint)
    except OSError as fault:
        yield bad(subject, f"cannot be looked at: {fault}", "run this as root, or as the user of the service")
    except Exception as fault:  # noqa: BLE001  the rest is looked at all the same, and this is said
        yield bad(
            subject, f"could not be looked at: {type(fault).__name__}: {fault}", "report this as a fault of detector"
        )
