"""`detector evaluate`: how well attacks are told from ordinary traffic, on labelled logs or made-up weeks."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from detector.amounts import numbered
from detector.cli.evaluation_parameters import ALL, PICTURE, Kinds, Made, Numbers, check_report
from detector.cli.parameters import Moment, check_period
from detector.cli.terminal import note, print_json
from detector.domain import Severity
from detector.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from detector.config import Settings
    from detector.evaluation.cases import Cases, Host
    from detector.ruleset.evaluate import RuleSet

_ALL, _NONE = ALL, "none"
_SHOWN_REFUSALS = 3
_SHOWN_STEP = 0.002
_SECONDS = (60.0, 300.0)
_USUAL = timedelta(days=14)


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--manifest", type=click.Path(path_type=Path), help="What the folder holds. Default: its manifest.json.")
@click.option("--store", "of_store", is_flag=True, help="What is stored of hosts; so it is if no FOLDER is named.")
@click.option("--since", type=Moment(), help="Of what is stored, what ended after: 7d, 2026-11-20. Default: 14d.")
@click.option("--until", type=Moment(), help="Of what is stored, what ended by then.")
@click.option("--generate", "made", type=Made(), help="Made-up weeks of a bastion in place of a folder.")
@click.option(
    "--plant", "planted", type=Kinds(), help="Made-up attacks: scan,beacon, or all. Default: all, if no other is named."
)
@click.option("--stress", is_flag=True, help="Also harder attacks, and hosts whose history holds odd ports already.")
@click.option(
    "--seconds", type=Numbers(10, 3600, "60,300"), help="Lengths of a snapshot. Default: 60,300; of the store: 300."
)
@click.option("--budget", type=click.FloatRange(0.001, 24), help="False alerts a host and day. Default: as configured.")
@click.option(
    "--offsets",
    type=Numbers(0, 0.99, ".1,.35,.6"),
    default=".1,.35,.6",
    show_default=True,
    help="Where in the test each attack begins.",
)
@click.option(
    "--rules", "named", multiple=True, metavar="RULE", help="Only this rule; more than once; or none. Default: all."
)
@click.option(
    "--severity",
    "least",
    type=click.Choice([each.value for each in Severity]),
    default=Severity.LOW.value,
    show_default=True,
    help="What rules of less severity tell counts for nothing.",
)
@click.option("--hosts", "patterns", multiple=True, metavar="NAME", help="Only these hosts: 'web-*'. More than once.")
@click.option(
    "--all-traffic", is_flag=True, help="Also UDP, ICMP and inbound connections, which the protocol leaves out."
)
@click.option("--jobs", type=click.IntRange(1, 256), help="Processes at a time. Default: one a processor.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of what is planted.")
@click.option(
    "--report",
    "reports",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Also the curves: a page (FILE.html) or a picture (FILE.png). More than once.",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object of all figures, and nothing else.")
@click.option("--quiet", is_flag=True, help="No progress bar, which there is on a terminal alone.")
@click.pass_obj
def evaluate(
    settings: Settings,
    /,
    folder: Path | None,
    *,
    manifest: Path | None,
    of_store: bool,
    since: datetime | None,
    until: datetime | None,
    made: dict[str, float] | None,
    planted: tuple[str, ...] | None,
    stress: bool,
    seconds: tuple[float, ...] | None,
    budget: float | None,
    offsets: tuple[float, ...],
    named: tuple[str, ...],
    least: str,
    patterns: tuple[str, ...],
    all_traffic: bool,
    jobs: int | None,
    seed: int,
    reports: tuple[Path, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Say how well attacks are told from ordinary traffic: of the store, of a FOLDER of logs, or of made-up weeks.

    Each host's first half is history: the models learn from it, and nothing is fitted to what follows. Its second half
    is taken to be benign: whatever is told there is false. Then every attack is played into it, at several offsets.
    All of it goes through import, store, models, rules and alerts as they are, in memory: nothing is written.

    FOLDER holds Zeek's conn.log or rows of `query --json`, and a manifest.json that says which rows are a host's and
    which an attack; without one, each sub-folder is a host, and attacks are to be planted.

    Kinds of attacks for --plant, each described in docs/evaluate.md: beacon, brute-force, burst, exfiltration,
    fast-beacon, lateral, new-destination, reverse-shell, scan, slow-brute-force, slow-scan, sweep, web-sweep.

    \b
    Examples:
      detector evaluate
      detector evaluate --since 7d --hosts bastion-1 --plant scan,beacon --report judged.html
      detector evaluate captures
      detector evaluate captures --seconds 60 --budget 1 --rules anomaly_score
      detector evaluate logs --plant all
      detector evaluate --generate bastion,days=14 --plant scan,beacon,new-destination
      detector evaluate captures --json > figures.json
    """
    from detector.cli import evaluation_tables as tables
    from detector.evaluation.cases import Cases
    from detector.evaluation.harder import stressed
    from detector.evaluation.picture import picture
    from detector.evaluation.protocol import Setup, run
    from detector.evaluation.report import page

    budget = budget or settings.models.false_alerts_per_day
    if sum((folder is not None, made is not None, of_store)) > 1:
        raise click.UsageError("name a FOLDER, or --generate, or --store: one of them")
    check_period(since, until)
    for report in reports:
        check_report(report)
    if folder is not None:
        cases = _read(folder, manifest, patterns, everything=all_traffic)
    elif made is not None:
        cases = Cases(hosts=_made_up(made, patterns), attacks=(), left_out={})
    else:
        seconds = seconds or (300.0,)
        with _bar("what is stored", quiet=quiet) as told:
            cases = _stored(settings, since or datetime.now(UTC) - _USUAL, until, int(min(seconds)), patterns, told)
    cases = _with_attacks(cases, planted)
    setup = Setup(
        models=msgspec.structs.replace(settings.models, false_alerts_per_day=budget),
        ruleset=_ruleset(settings, named or (_ALL,)),
        cooldown=timedelta(seconds=settings.alerts.cooldown_seconds),
        budget=budget,
        offsets=offsets,
        jobs=jobs or len(os.sched_getaffinity(0)),
        seed=seed,
    )
    parts = [("", cases), *(stressed(cases) if stress else ())]
    results, judged = [], []
    for length in seconds or _SECONDS:
        for title, part in parts:
            with _bar(f"snapshots of {length:g} s", quiet=quiet) as told:
                result = run(part, int(length), setup, told)
            judged.append((title, result))
            results.append({"title": title, **tables.as_object(result, Severity(least))})
            if not as_json:
                tables.print_result(result, Severity(least), title)
    if as_json:
        print_json({"results": results})
    for report in reports:
        if report.suffix == PICTURE:
            report.write_bytes(picture(judged, Severity(least)))
        else:
            report.write_text(page(judged, Severity(least)), encoding="utf-8")


def _with_attacks(cases: Cases, planted: Sequence[str] | None) -> Cases:
    """The cases with what is planted: what was asked for, or all kinds where there is no other attack.

    Raises:
        DetectorError: there is no host.
    """
    from detector.evaluation.planting import KINDS

    if not cases.hosts:
        raise DetectorError("there is no host to judge", hint=_reasons(cases) or "see --hosts")
    if planted is None and not cases.attacks:
        planted = tuple(KINDS)
        note(f"no attacks are named: all {len(planted)} kinds are planted")
    return replace(cases, attacks=[*cases.attacks, *(KINDS[each] for each in planted or ())])


def _stored(
    settings: Settings,
    since: datetime,
    until: datetime | None,
    seconds: int,
    patterns: Sequence[str],
    told: Callable[[float], None],
) -> Cases:
    from detector.evaluation.past import Past
    from detector.store.engine import open_store
    from detector.store.migrating import check_current

    engine = open_store(settings.database_url)
    try:
        check_current(engine)
        past = Past(engine, since, until, seconds)
        cases = past.cases(lambda name: _wanted(name, patterns), told)
    finally:
        # No connection is open any more when processes are forked.
        engine.dispose()
    if past.damaged:
        note(f"damaged, and left out: {numbered(past.damaged, 'snapshot')}")
    return cases


def _reasons(cases: Cases) -> str:
    return "\n".join(f"{name}: {reason}" for name, reason in cases.left_out.items())


def _wanted(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(name, each) for each in patterns)


def _read(folder: Path, manifest: Path | None, patterns: Sequence[str], *, everything: bool) -> Cases:
    from detector.evaluation import manifest as manifests
    from detector.evaluation.logs import Folder

    logs = Folder(folder, manifests.read(folder, manifest), everything=everything)
    cases = logs.read(lambda name: _wanted(name, patterns))
    if logs.tally.refused:
        for each in logs.tally.refusals[:_SHOWN_REFUSALS]:
            note(str(each))
        note(f"{logs.tally.refused:,} of {logs.tally.rows:,} lines are not understood, and left out")
    return cases


def _made_up(made: dict[str, float], patterns: Sequence[str]) -> list[Host]:
    from detector.evaluation.cases import generated

    names = {f"bastion-{number + 1}": int(made["seed"]) + number for number in range(int(made["hosts"]))}
    return [
        generated(name, seed=seed, days=made["days"], people=int(made["people"]))
        for name, seed in names.items()
        if _wanted(name, patterns)
    ]


def _ruleset(settings: Settings, named: Sequence[str]) -> RuleSet:
    from detector.cli.rule_names import find, load
    from detector.ruleset.evaluate import RuleSet

    if _NONE in named:
        return RuleSet()
    loaded = load(settings)
    for fault in loaded.faults:
        note(str(fault))
    if _ALL in named:
        return loaded.ruleset
    wanted = [find(loaded, each) for each in named]
    for entry in wanted:
        if entry.rule is None or not entry.rule.produces_findings:
            raise DetectorError(f"{entry.title} reports nothing", hint="name a rule that does: detector rules list")
    return RuleSet(entry.rule for entry in wanted if entry.rule is not None)


@contextmanager
def _bar(what: str, *, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Progress on standard error, if that is a terminal. It is drawn in this thread: processes are forked meanwhile."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as progress:
        bar = progress.add_task(what, total=1.0)

        drawn = -1.0

        def told(done: float) -> None:
            nonlocal drawn
            # Of a long past there are many snapshots.
            if done - drawn >= _SHOWN_STEP:
                drawn = done
                progress.update(bar, completed=done)
                progress.refresh()

        told(0.0)
        yield told
