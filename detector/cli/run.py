"""`detector run`, `collect` and `detect`: the long-running roles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from detector import supervisor
from detector.cli import roles
from detector.cli.lines import LineReporter, ending_when_nobody_reads
from detector.visible import visible

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
    click.echo(f"watching the connects of {visible(settings.host_name)}; Ctrl-C ends")
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
    from detector.account import become

    become(_account(ctx.obj, user))
    # Afterwards: the kernel forgets the wish when the account changes.
    if parent:
        supervisor.end_with_parent(parent)
    with ending_when_nobody_reads():
        from detector.service.watched import detect_watched as work

        work(ctx.obj, stop, DetectionReporter())


class DetectionReporter(LineReporter):
    """A line for each host that is being learnt, now and then, and one when it is learnt."""

    def __init__(self) -> None:
        super().__init__()
        self._mentioned: dict[int, datetime] = {}

    def kept(self, message: str) -> None:
        """What was deleted."""
        self.say(f"{datetime.now(UTC).astimezone():%H:%M:%S}  {visible(message)}")

    def trained(self, message: str) -> None:
        """What was trained."""
        self.kept(message)

    def detected(self, detected: Detected) -> None:
        """How far learning has come."""
        host_id, end = detected.snapshot.host_id, detected.snapshot.end
        before = self._mentioned.get(host_id)
        if detected.learning.finished:
            if before is not None:
                self.say(f"{visible(detected.snapshot.host)} is learnt: connects are scored from now on")
                del self._mentioned[host_id]
            return
        if before is None or end - before >= _LEARNING_EVERY:
            self._mentioned[host_id] = end
            self.say(f"{visible(detected.snapshot.host)}: {learning_text(detected.learning)}")


def learning_text(learning: Learning) -> str:
    """`learning: 2 h 10 min of 24 h`: no scores are given before that."""
    elapsed = _hours(learning.elapsed_seconds)
    return f"learning: {elapsed} of {_hours(learning.required_seconds)}; until then connects are not scored"


def _hours(seconds: float) -> str:
    hours, minutes = divmod(int(seconds) // 60, 60)
    return " ".join(f"{number} {unit}" for number, unit in ((hours, "h"), (minutes, "min")) if number) or "0 min"
