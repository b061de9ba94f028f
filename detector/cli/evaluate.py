"""`detector evaluate`: how well attacks are told from ordinary traffic, on labelled logs or made-up weeks."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from detector.cli.terminal import note, print_json
from detector.domain import Severity
from detector.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from detector.config import Settings
    from detector.evaluation.cases import Attack, Cases, Host
    from detector.ruleset.evaluate import RuleSet

_ALL, _NONE = "all", "none"
_GENERATED = ("days", "seed", "people", "hosts")
_SHOWN_REFUSALS = 3


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers with commas between, each within bounds."""

    name = "number[,number]"

    def __init__(self, least: float, most: float, example: str) -> None:
        self._least, self._most, self._example = least, most, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """`60,300`."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(dict.fromkeys(float(each) for each in str(value).split(",")))
        except ValueError:
            numbers = ()
        if not numbers or not all(self._least <= each <= self._most for each in numbers):
            limits = f"numbers from {self._least:g} to {self._most:g}"
            self.fail(f"{value!r} is not {limits} with commas between; write {self._example}", param, ctx)
        return numbers


class Kinds(click.ParamType[tuple[str, ...]]):
    """Kinds of attacks that can be planted."""

    name = "kind[,kind]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """`scan,beacon`, or all."""
        from detector.config_wording import nearest
        from detector.evaluation.planting import KINDS

        if value == _ALL:
            return tuple(KINDS)
        named = tuple(dict.fromkeys(each.strip() for each in value.split(",")))
        for each in named:
            if each not in KINDS:
                self.fail(f"{each!r} is no kind of attack; {nearest(each, KINDS)}", param, ctx)
        return named


class Made(click.ParamType[dict[str, float]]):
    """What is to be made up: `bastion`, with numbers."""

    name = "bastion[,days=n,…]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        """`bastion,days=14,seed=3`."""
        kind, *options = str(value).split(",")
        if kind != "bastion":
            self.fail(f"{kind!r} cannot be made up; write bastion or bastion,days=14", param, ctx)
        made = {"days": 14.0, "seed": 0.0, "people": 12.0, "hosts": 1.0}
        for option in options:
            name, _, number = option.partition("=")
            if name not in _GENERATED or not number.isascii() or not number.isdecimal() or len(number) > 6:  # noqa: PLR2004
                self.fail(f"{option!r} is not understood; write one of {', '.join(_GENERATED)} as days=14", param, ctx)
            made[name] = float(number)
        if not 1 <= made["days"] <= 366 or not 1 <= made["people"] <= 1000 or not 1 <= made["hosts"] <= 20:  # noqa: PLR2004
            self.fail("days are 1 to 366, people 1 to 1000, hosts 1 to 20", param, ctx)
        return made


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--manifest", type=click.Path(path_type=Path), help="What the folder holds. Default: its manifest.json.")
@click.option("--generate", "made", type=Made(), help="Made-up weeks of a bastion in place of a folder.")
@click.option("--plant", "planted", type=Kinds(), help="Made-up attacks: scan,beacon, or all.")
@click.option("--stress", is_flag=True, help="Also harder attacks, and hosts whose history holds odd ports already.")
@click.option(
    "--seconds", type=Numbers(10, 3600, "60,300"), default="60,300", show_default=True, help="Lengths of a snapshot."
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
@click.option("--json", "as_json", is_flag=True, help="A JSON object of all figures, and nothing else.")
@click.option("--quiet", is_flag=True, help="No progress bar, which there is on a terminal alone.")
@click.pass_obj
def evaluate(
    settings: Settings,
    /,
    folder: Path | None,
    *,
    manifest: Path | None,
    made: dict[str, float] | None,
    planted: tuple[str, ...] | None,
    stress: bool,
    seconds: tuple[float, ...],
    budget: float | None,
    offsets: tuple[float, ...],
    named: tuple[str, ...],
    least: str,
    patterns: tuple[str, ...],
    all_traffic: bool,
    jobs: int | None,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say how well attacks are told from ordinary traffic: in a FOLDER of logs, or in made-up weeks.

    Each host's first half is history: the models learn from it, and nothing is fitted to what follows. Its second half
    is taken to be benign: whatever is told there is false. Then every attack is played into it, at several offsets.
    All of it goes through import, store, models, rules and alerts as they are, in memory: nothing is written.

    FOLDER holds Zeek's conn.log or rows of `query --json`, and a manifest.json that says which rows are a host's and
    which an attack; without one, each sub-folder is a host, and attacks are to be planted.

    Kinds of attacks for --plant, each described in docs/evaluate.md: beacon, brute-force, burst, exfiltration,
    fast-beacon, lateral, new-destination, reverse-shell, scan, slow-brute-force, slow-scan, sweep, web-sweep.

    \b
    Examples:
      detector evaluate captures
      detector evaluate captures --seconds 60 --budget 1 --rules anomaly_score
      detector evaluate logs --plant all
      detector evaluate --generate bastion,days=14 --plant scan,beacon,new-destination
      detector evaluate captures --json > figures.json
    """
    from detector.cli import evaluation_tables as tables
    from detector.evaluation.harder import stressed
    from detector.evaluation.protocol import Setup, run

    budget = budget or settings.models.false_alerts_per_day
    cases = _cases(folder, manifest, made, planted or (), patterns, everything=all_traffic)
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
    results = []
    for length in seconds:
        for title, part in parts:
            with _bar(f"snapshots of {length:g} s", quiet=quiet) as told:
                result = run(part, int(length), setup, told)
            results.append({"title": title, **tables.as_object(result, Severity(least))})
            if not as_json:
                tables.print_result(result, Severity(least), title)
    if as_json:
        print_json({"results": results})


def _cases(
    folder: Path | None,
    manifest: Path | None,
    made: dict[str, float] | None,
    planted: Sequence[str],
    patterns: Sequence[str],
    *,
    everything: bool,
) -> Cases:
    """What is judged.

    Raises:
        DetectorError: there is nothing to judge, or nothing to judge it by.
    """
    from detector.evaluation.cases import Cases
    from detector.evaluation.planting import KINDS

    if (folder is None) == (made is None):
        raise click.UsageError("name a FOLDER of logs, or --generate bastion, and not both")
    attacks: list[Attack] = [KINDS[each] for each in planted]
    if folder is not None:
        cases = _read(folder, manifest, patterns, everything=everything)
    else:
        cases = Cases(hosts=_made_up(made or {}, patterns), attacks=(), left_out={})
    cases = Cases(hosts=cases.hosts, attacks=[*cases.attacks, *attacks], left_out=cases.left_out)
    if not cases.hosts:
        raise DetectorError("there is no host to judge", hint=_reasons(cases) or "see --hosts")
    if not cases.attacks:
        raise DetectorError("there is no attack to play", hint="plant some: --plant all; or name them in the manifest")
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

        def told(done: float) -> None:
            progress.update(bar, completed=done)
            progress.refresh()

        told(0.0)
        yield told
