"""`detector doctor`: what this machine and configuration lack, each with its remedy."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

import click

from detector.cli import doctor_endings, terminal
from detector.cli.lines import numbered
from detector.cli.terminal import local
from detector.config import default_file
from detector.errors import DetectorError, SpoolError
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from detector.config import Settings
    from detector.domain import Notification

# Entries of the maps of programs that are loaded to see whether they can be.
_FEW = 64
_BEING_STORED = timedelta(minutes=1)
_TYPES_REMEDY = "needs a kernel that describes its structures (CONFIG_DEBUG_INFO_BTF=y)"


class Verdict(StrEnum):
    """Bad keeps something from working; doubtful may be meant."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the examination."""

    subject: str
    verdict: Verdict
    finding: str
    remedy: str = ""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON: subject, verdict, finding, remedy of each.")
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> None:
    """Say what this machine lacks, each with its remedy.

    Looks at the kernel, the database, the rules and the channels, and changes nothing that stays: with the privileges
    of `detector collect` it attaches the kernel programs for a moment, beside those of a collector that runs. The exit
    status is 1 when anything is bad, so that a script can ask.

    \b
    Examples:
      detector doctor
      detector doctor --json | jq '.[] | select(.verdict == "bad")'
    """
    path = ctx.find_root().params["config_file"] or default_file(os.environ)
    checks = list(examine(ctx.obj, path))
    if as_json:
        terminal.print_json([asdict(check) for check in checks])
    else:
        for check in checks:
            click.echo(visible(f"{check.verdict:<9} {check.subject}: {check.finding}"))
            if check.remedy:
                click.echo(visible(f"{'':<9} remedy: {check.remedy}"))
    if any(check.verdict is Verdict.BAD for check in checks):
        ctx.exit(1)


def examine(settings: Settings, path: Path | None) -> Iterator[Check]:
    """All checks, in the order of the data's way; `path` is the configuration file, if there is one."""
    yield from _capture(settings)
    yield from _database(settings)
    yield from _spool(settings)
    yield from _rules(settings)
    yield from _channels(settings, path)


def _capture(settings: Settings) -> Iterator[Check]:
    from detector.bpf import preflight

    faults = preflight.faults()
    for fault, remedy in faults:
        yield Check("capture", Verdict.BAD, fault, remedy)
    if faults:
        yield Check(
            "hooks",
            Verdict.DOUBTFUL,
            "could not be tried, so what cannot be seen is not known",
            "mend what is wrong with capture, or run doctor with the privileges of detector collect",
        )
    else:
        yield from _hooks(settings)
    for doubt, remedy in preflight.doubts():
        yield Check("capture", Verdict.DOUBTFUL, doubt, remedy)


def _hooks(settings: Settings) -> Iterator[Check]:
    from detector.bpf.capture import Capture
    from detector.bpf.hooks import HOOKS

    cache = settings.collector.cache_folder
    try:
        with Capture(map_entries=_FEW, folded_entries=_FEW, cache=cache) as capture:
            states, untyped, uncached = capture.hooks, capture.untyped, capture.uncached
    except DetectorError as fault:
        remedy = "what the compiler and the kernel say of it is shown by: detector collect"
        yield Check("capture", Verdict.BAD, fault.message, remedy)
        return
    yield Check("capture", Verdict.GOOD, "can be started here")
    if cache and uncached:
        finding = f"each start takes the compiler, since what it makes cannot be kept: {uncached}"
        yield Check("capture", Verdict.DOUBTFUL, finding, "mend that, or set collector.cache_folder")
    if untyped:
        finding = f"not known: executables, logins, and why connects fail ({untyped})"
        yield Check("hooks", Verdict.DOUBTFUL, finding, _TYPES_REMEDY)
    ways = {hook.name: hook.ways for hook in HOOKS}
    for state in states:
        if state.in_use:
            # Some attachments hold more than one program.
            used = ", ".join(dict.fromkeys(state.in_use))
            yield Check("hooks", Verdict.GOOD, f"{state.name}: seen through {used}")
            continue
        needed = " or ".join(", ".join(dict.fromkeys(map(str, way))) for way in ways[state.name])
        remedy = _TYPES_REMEDY if untyped else f"needs a kernel that has: {needed}"
        yield Check("hooks", Verdict.DOUBTFUL, f"{state.name}: not in use; not seen: {state.unseen}", remedy)


def _database(settings: Settings) -> Iterator[Check]:
    from detector.cli.store import stored
    from detector.domain import NotificationState
    from detector.models import registry, training
    from detector.models.scorer import learning
    from detector.store.alert_silences import list_silences
    from detector.store.engine import open_store, place
    from detector.store.filters import known_hosts
    from detector.store.outbox import list_notifications
    from detector.store.status import given_up

    try:
        with stored(settings) as connection:
            hosts = known_hosts(connection)
            states = {name: learning(connection, host_id, settings.models) for host_id, name in hosts.items()}
            forests = {name: registry.in_force(connection, host_id) for host_id, name in hosts.items()}
            obstacles = {name: training.obstacle(connection, host_id) for host_id, name in hosts.items()}
            dead = list_notifications(connection, state=NotificationState.DEAD)
            stored_hosts = given_up(connection)
            muting = list_silences(connection, ending_after=datetime.now(UTC))
        where = place(open_store(settings.database_url))
    except DetectorError as fault:
        yield Check("database", Verdict.BAD, fault.message, fault.hint)
        return
    yield Check("database", Verdict.GOOD, f"{where} answers and has the current schema")
    yield from _given_up(stored_hosts)
    for finding, remedy in doctor_endings.silences(muting, datetime.now(UTC)):
        yield Check("silences", Verdict.DOUBTFUL, finding, remedy)
    from detector.cli.run import learning_text

    for host, state in states.items():
        if not state.finished:
            yield Check("models", Verdict.DOUBTFUL, f"{host}: {learning_text(state)}")
        elif (forest := forests[host]) is None and obstacles[host]:
            yield Check(
                "models",
                Verdict.DOUBTFUL,
                f"{host} is scored without the isolation forest: {obstacles[host]}",
                "nothing to do: one is trained as soon as it can be; if this stays, see: detector model list",
            )
        else:
            with_it = f", with version {forest.version} of its isolation forest" if forest else ""
            yield Check("models", Verdict.GOOD, f"{host} is learnt and scored{with_it}")
    if dead:
        last = dead[0]
        yield Check(
            "outbox",
            Verdict.BAD,
            f"notifications were given up, the last one to {last.channel}: {last.last_error}",
            f"mend the channel, try it with `detector notify test`, and read: {_story(last)}",
        )


def _story(notification: Notification) -> str:
    """The command that tells what became of it."""
    return (
        "detector notify status" if notification.alert_id is None else f"detector alerts show {notification.alert_id}"
    )


def _given_up(hosts: Mapping[str, int]) -> Iterator[Check]:
    for host, number in hosts.items():
        finding = f"{numbered(number, 'snapshot')} of {host} had to go for the size of the database before detection"
        yield Check(
            "retention",
            Verdict.BAD,
            f"{finding} had seen them",
            "see that detector detect keeps up, and give the database more room: [retention] in the configuration",
        )


def _spool(settings: Settings) -> Iterator[Check]:
    from detector.cli.store import stored
    from detector.collector.spool import spool_state
    from detector.service.collecting import SPOOL

    try:
        state = spool_state(settings.state / SPOOL)
    except SpoolError as fault:
        yield Check("spool", Verdict.DOUBTFUL, fault.message, fault.hint)
        return
    if not state.waiting:
        if settings.collector.spool_megabytes:
            yield Check("spool", Verdict.GOOD, "no snapshot waits for the database")
        else:
            yield Check(
                "spool",
                Verdict.DOUBTFUL,
                "is turned off: when the database is away, what is counted is lost",
                "set collector.spool_megabytes",
            )
        return
    number = numbered(state.waiting, "snapshot")
    age = "" if state.oldest is None else f", the oldest of {local(state.oldest)}"
    finding = (
        f"{number} of {-(-state.bytes // 1000):,} kB wait{'s' if state.waiting == 1 else ''} for the database{age}"
    )
    try:
        with stored(settings):
            pass
    except DetectorError:
        yield Check("spool", Verdict.DOUBTFUL, finding, "nothing is lost yet: look after the database")
        return
    # A collector stores them one by one, and puts there what takes the database a second.
    if state.oldest is not None and datetime.now(UTC) - state.oldest < _BEING_STORED:
        yield Check("spool", Verdict.GOOD, finding)
    else:
        yield Check(
            "spool",
            Verdict.BAD,
            f"{finding}, although that answers",
            "start detector collect; if it runs, see what it says of the database",
        )


def _rules(settings: Settings) -> Iterator[Check]:
    from detector.ruleset.load import load_rules

    loaded = load_rules(settings.rule_folders, channels=settings.channel_names)
    for fault in loaded.faults:
        yield Check("rules", Verdict.BAD, str(fault), "detector rules check")
    if loaded.ruleset.rules:
        yield Check("rules", Verdict.GOOD, f"{len(loaded.ruleset.rules)} in force")
    elif not loaded.faults:
        yield Check("rules", Verdict.BAD, "there are none, so nothing can alert", "set [rules] folders")
    for finding, remedy in doctor_endings.rules(loaded):
        yield Check("rules", Verdict.DOUBTFUL, finding, remedy)


def _channels(settings: Settings, path: Path | None) -> Iterator[Check]:
    from detector.notify.channels import CONSOLE, open_channels

    try:
        names = [name for name in open_channels(settings, sys.stdout) if name != CONSOLE]
    except DetectorError as fault:
        yield Check("channels", Verdict.BAD, fault.message, fault.hint)
        return
    if path is not None and any(channel.url for channel in settings.channels) and path.stat().st_mode & 0o007:
        yield Check("channels", Verdict.DOUBTFUL, f"everyone can read the secrets in {path}", f"chmod 0640 {path}")
    if names:
        yield Check("channels", Verdict.GOOD, f"{', '.join(names)}: understood; try them with: detector notify test")
    else:
        yield Check(
            "channels",
            Verdict.DOUBTFUL,
            "none is configured: alerts reach nobody who is not at this terminal",
            "add [[channels]] to the configuration",
        )
