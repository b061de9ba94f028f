"""`detector run`, `collect` and `detect`: the long-running roles."""

from __future__ import annotations

from contextlib import nullcontext, redirect_stdout
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from detector import supervisor
from detector.cli import roles
from detector.cli.lines import LineReporter, ending_when_nobody_reads
from detector.errors import DetectorError
from detector.log import Format, Level, Log

if TYPE_CHECKING:
    from detector.account import Account
    from detector.config import Settings
    from detector.domain import Learning
    from detector.pipeline import Detected

# How often a host that is being learnt is mentioned.
_LEARNING_EVERY = timedelta(minutes=10)

_parent = click.option(
    "--parent", type=int, hidden=True, help="End when this process, which must be the parent, ends: for `run`."
)
_user = click.option(
    "--user",
    metavar="ACCOUNT",
    help="When root starts it, run as this account. Default: detector, if there is such an account.",
)


@click.command()
@_user
@click.pass_context
def run(ctx: click.Context, user: str | None) -> None:
    """Capture and detect: both roles, in the foreground.

    Starts `collect` and `detect` as processes of their own, restarts what dies, and ends both on Ctrl-C. Prints a
    line for each snapshot and a block for each alert. An SQLite database is made, or brought to the current schema,
    first; a Postgres database has to be prepared with `detector db upgrade`.

    Started by root on a machine that has the account `detector`, both roles run as that, and so does whatever reads
    rules, models or the network: root loads the kernel programs and restarts what dies. The state folder is made to
    belong to the account. From a source checkout this is so with --user alone.

    \b
    Examples:
      detector run
      detector run --user detector
      detector --config ./detector.toml run
    """
    # Before anything else: what interrupts an import may be passed over there.
    stop = supervisor.catch_signals()
    from detector.bpf import preflight

    settings: Settings = ctx.obj
    preflight.require()
    config_file = ctx.find_root().params["config_file"]
    arguments = ["--config", str(config_file)] if config_file else []
    account = _account(settings, user)
    # In a process of its own: this one lives as long as the service, and need not hold a database library.
    if code := supervisor.call(("db", "upgrade", "--for-service"), arguments, account):
        ctx.exit(code)
    log = Log("run", settings.log.format, settings.log.level)
    watching = f"watching the connects of {settings.host_name}"
    log.say(Level.INFO, "started", watching, f"{watching}; Ctrl-C ends")
    roles.hand_on(settings.log)
    options = [] if user is None else ["--user", user]
    roles.become("run", {"arguments": arguments, "options": options}, stop)


def _account(settings: Settings, user: str | None) -> Account | None:
    """The account to run as, which owns the state folder from now on; None: as this process runs."""
    from detector.account import of_service, own_state

    account = of_service(user)
    if account is not None:
        own_state(settings.state, account)
    return account


@click.command()
@_parent
@_user
@click.pass_context
def collect(ctx: click.Context, parent: int | None, user: str | None) -> None:
    """Count connects in the kernel and store snapshots of them.

    Needs root, or CAP_BPF, CAP_PERFMON, CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE, and gives up all but the third of them
    when capture has begun. By then root has become the account `detector`, if there is one. SIGTERM or Ctrl-C ends it
    with a last snapshot.

    \b
    Examples:
      detector collect
      DETECTOR_COLLECTOR_INTERVAL_SECONDS=1 detector collect
    """
    stop = supervisor.catch_signals()
    import msgspec

    from detector.bpf import preflight

    settings: Settings = ctx.obj
    preflight.require()
    account = _account(settings, user)
    wanted = {
        "host": settings.host_name,
        "state": str(settings.state),
        "database_url": settings.database_url,
        **msgspec.structs.asdict(settings.collector),
        "account": account.name if account else None,
        "parent": parent,
    }
    roles.hand_on(settings.log)
    roles.become("collect", {"wanted": wanted}, stop)


@click.command()
@_parent
@_user
@click.pass_context
def detect(ctx: click.Context, parent: int | None, user: str | None) -> None:
    """Score stored snapshots, apply the rules, send the alerts.

    Needs no privileges: it reads and writes the database and reads the rules. Root becomes the account `detector`
    before it does any of that, if there is one. After a stop it goes on with the first snapshot that it has not seen.
    Any number may work on one Postgres database.

    \b
    Examples:
      detector detect
      DETECTOR_NOTIFY_CONSOLE=false detector detect
    """
    stop = supervisor.catch_signals()
    from detector.account import become, close_to_others

    close_to_others()
    become(_account(ctx.obj, user))
    # Afterwards: the kernel forgets the wish when the account changes.
    if parent:
        supervisor.end_with_parent(parent)
    settings: Settings = ctx.obj
    log = Log("detect", settings.log.format, settings.log.level)
    # What the console is sent is an entry like others, where the log is not for a person.
    alerts = nullcontext() if log.format is Format.TEXT else redirect_stdout(log.stream("alert"))
    with ending_when_nobody_reads(), alerts:
        from detector.service.watched import detect_watched as work

        try:
            work(settings, stop, DetectionReporter(log))
        except DetectorError as fault:
            roles.complain(log, fault)
            ctx.exit(fault.exit_code)


class DetectionReporter(LineReporter):
    """A line for each host that is being learnt, now and then; one when it is learnt, or its threshold has moved."""

    def __init__(self, log: Log) -> None:
        super().__init__(log)
        self._mentioned: dict[int, datetime] = {}

    def kept(self, message: str) -> None:
        """What was deleted."""
        self.log.say(Level.INFO, "retention", message, self._timed(message))

    def trained(self, message: str) -> None:
        """What was trained."""
        self.log.say(Level.INFO, "training", message, self._timed(message))

    def detected(self, detected: Detected) -> None:
        """How far learning has come, and from which surprise on scores alert."""
        snapshot, learning = detected.snapshot, detected.learning
        host_id, end = snapshot.host_id, snapshot.end
        before = self._mentioned.get(host_id)
        if learning.finished:
            if before is not None:
                self.log.say(
                    Level.INFO,
                    "learnt",
                    f"{snapshot.host} is learnt: connects are scored from now on",
                    host=snapshot.host,
                )
                del self._mentioned[host_id]
        elif before is None or end - before >= _LEARNING_EVERY:
            self._mentioned[host_id] = end
            self.log.say(
                Level.DEBUG,
                "learning",
                f"{snapshot.host}: {learning_text(learning)}",
                host=snapshot.host,
                elapsed_seconds=learning.elapsed_seconds,
                required_seconds=learning.required_seconds,
            )
        if (move := detected.moved) is not None:
            levels = f"from a surprise of {move.after:.2f} on, {move.before:.2f} before"
            message = f"{snapshot.host}: connects are unusual {levels} ({move.why})"
            fields = {name: round(getattr(move, name), 4) for name in ("before", "after", "observed", "correction")}
            self.log.say(Level.INFO, "threshold", message, self._timed(message), host=snapshot.host, **fields)

    @staticmethod
    def _timed(message: str) -> str:
        return f"{datetime.now().astimezone():%H:%M:%S}  {message}"


def learning_text(learning: Learning) -> str:
    """`learning: 2 h 10 min of 24 h`: no scores are given before that."""
    elapsed = _hours(learning.elapsed_seconds)
    return f"learning: {elapsed} of {_hours(learning.required_seconds)}; until then connects are not scored"


def _hours(seconds: float) -> str:
    hours, minutes = divmod(int(seconds) // 60, 60)
    return " ".join(f"{number} {unit}" for number, unit in ((hours, "h"), (minutes, "min")) if number) or "0 min"
