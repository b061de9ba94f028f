"""`detector import`: stores what logs tell, as snapshots of a host."""

from __future__ import annotations

import os
from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from detector.cli.import_summary import Report, listed
from detector.cli.parameters import HostName, Network, Span
from detector.cli.terminal import note
from detector.cli.verbs import Verbs
from detector.errors import DetectorError, LogError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta
    from ipaddress import IPv4Network, IPv6Network

    from detector.collector.jsonl import RowLog
    from detector.collector.log_files import LogFile
    from detector.collector.log_lines import Tally
    from detector.collector.zeek_host import HostLog
    from detector.config import Settings
    from detector.service.importing import LogImport

_CANDIDATES_SHOWN = 8

_files = click.argument("names", metavar="FILE...", nargs=-1, required=True)


def _how(command: Callable[..., None]) -> Callable[..., None]:
    """The options that all formats have."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="The summary as a JSON object, times in UTC."),
        click.option("--quiet", is_flag=True, help="No progress bar, which there is on a terminal alone."),
        click.option("--dry-run", is_flag=True, help="Read all of it, say what would be stored, and store nothing."),
        click.option("--strict", is_flag=True, help="End at the first line that is not understood."),
    ):
        command = option(command)
    return command


@click.group("import", cls=Verbs)
def import_() -> None:
    """Store what logs tell, as snapshots of a host, in place of live capture.

    What is imported is scored by `detector detect` and found by `detector query` like what was captured. An import that
    was interrupted goes on where it stopped when it is started again; one that is through does nothing then.

    \b
    Examples:
      detector import zeek conn.log --host web-1 --address 10.0.4.12
      detector import jsonl rows.jsonl
    """


@import_.command()
@_files
@click.option("--host", required=True, type=HostName(), help="Store under this name; not that of a captured host.")
@click.option(
    "--interval", type=Span(), default="60s", show_default=True, help="What each snapshot covers: 60s, 5m, 1h."
)
@click.option(
    "--address",
    "networks",
    type=Network(),
    multiple=True,
    help="An address of the host, or a network of them; can be given more than once.",
)
@_how
@click.pass_context
def zeek(
    ctx: click.Context,
    /,
    names: tuple[str, ...],
    host: str,
    interval: timedelta,
    networks: tuple[IPv4Network | IPv6Network, ...],
    **how: Any,
) -> None:
    """Import a host's connections from Zeek's conn.log: tab-separated or JSON lines, plain or gzip.

    Several files are read as one log, in the order in which they are named; - is standard input. Of a log of more than
    one host, --address says which addresses are this one's.

    \b
    Examples:
      detector import zeek conn.log --host web-1
      detector import zeek conn.*.log.gz --host web-1 --address 10.0.4.12 --address fd00::12
      detector import zeek conn.log.gz --host web-1 --interval 5m --dry-run
      zcat conn.log.gz | detector import zeek - --host web-1
    """
    from detector.collector.zeek import read_connections
    from detector.collector.zeek_host import HostLog, of_networks

    seconds = int(interval.total_seconds())
    options = " ".join([f"--interval {seconds}s", *(f"--address {network}" for network in networks)])

    def read(files: Sequence[LogFile], tally: Tally) -> HostLog:
        own = of_networks(networks or _only_host(files, host))
        return HostLog(read_connections(files, tally), tally, host=host, own=own, interval_seconds=seconds)

    _import(ctx, "zeek", names, read, host=host, options=options, **how)


@import_.command()
@_files
@click.option("--host", type=HostName(), help="Store under this name, in place of the one name that the lines have.")
@_how
@click.pass_context
def jsonl(ctx: click.Context, /, names: tuple[str, ...], host: str | None, **how: Any) -> None:
    """Import rows as `detector query --json` prints them, one object a line.

    Several files are read as one, in the order in which they are named; - is standard input. Names are those of the
    rows; what is left out is unknown, or 0.

    \b
    Examples:
      detector import jsonl rows.jsonl
      detector query --since 7d --limit 1000000 --json | jq -c '.[]' > rows.jsonl
      zcat rows.jsonl.gz | detector import jsonl - --host bastion-1-copy
    """
    from detector.collector.jsonl import RowLog

    def read(files: Sequence[LogFile], tally: Tally) -> RowLog:
        return RowLog(files, tally, host=host)

    _import(ctx, "jsonl", names, read, host=host, options=f"--host {host}" if host else "", **how)


def _import(
    ctx: click.Context,
    kind: str,
    names: Sequence[str],
    read: Callable[[Sequence[LogFile], Tally], HostLog | RowLog],
    *,
    host: str | None,
    options: str,
    strict: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    from detector.cli.import_progress import looking
    from detector.collector.log_files import LogFile, source_digest
    from detector.collector.log_lines import Tally
    from detector.service.importing import LogImport
    from detector.store.engine import open_store
    from detector.store.imports import Source
    from detector.store.migrating import check_current

    settings: Settings = ctx.obj
    began = monotonic()
    engine = open_store(settings.database_url)
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        check_current(engine)
        files = [stack.enter_context(LogFile(name)) for name in names]
        with looking(quiet=quiet):
            digest = source_digest(files)
        tally = Tally(strict=strict)
        source = Source(digest=digest, format=kind, name=listed([file.name for file in files]), options=options)
        work = LogImport(engine, source, live_host=settings.host_name, dry_run=dry_run)
        report = Report(names=[file.name for file in files], tally=tally, result=work.result, dry_run=dry_run)
        if before := work.done_before(host):
            report.nothing_to_do(before, as_json=as_json)
            return
        if host is not None:
            work.check(host)
        with looking(quiet=quiet):
            log = read(files, tally)
        _run(work, log, report, quiet=quiet, total=sum(file.length for file in files))
        report.print(seconds=monotonic() - began, as_json=as_json)
    if tally.refused:
        ctx.exit(os.EX_DATAERR)


def _run(work: LogImport, log: HostLog | RowLog, report: Report, *, quiet: bool, total: int) -> None:
    from detector.cli.import_progress import bar

    tally = report.tally
    try:
        with bar(tally, work.result, lambda: log.waiting, total=total, quiet=quiet):
            work.run(log.snapshots())
        work.finish(refused=tally.refused, left_out=tally.left_out.total() + work.result.too_old)
    except (KeyboardInterrupt, DetectorError):
        report.interrupted()
        raise


def _only_host(files: Sequence[LogFile], host: str) -> list[IPv4Network | IPv6Network]:
    """The address that is an end of every connection, if there is just one: nothing is guessed.

    Raises:
        LogError: there is none, or more than one.
    """
    from ipaddress import ip_network

    from detector.collector.log_lines import Tally
    from detector.collector.zeek import common_ends, read_connections

    common, rows = common_ends(read_connections(files, Tally()))
    if len(common) == 1:
        (address,) = common
        note(f"{address} is an end of every connection, and taken for {host}'s address")
        return [ip_network(address)]
    if not rows:
        return []
    busiest = [f"  {address}  in {times:,} rows" for address, times in list(rows.items())[:_CANDIDATES_SHOWN]]
    more = [f"  and {len(rows) - _CANDIDATES_SHOWN:,} more"] if len(rows) > _CANDIDATES_SHOWN else []
    raise LogError(
        f"the log is of more than one host, and does not say which addresses are {host}'s",
        hint="\n".join([f"name each: --address {next(iter(rows))}; the busiest are:", *busiest, *more]),
    )
