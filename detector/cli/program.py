"""The program `detector` and its verbs, each by the place where its code is."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from detector.cli.interrupts import importing
from detector.errors import OF_VALUES, ConfigError, DetectorError

if TYPE_CHECKING:
    from detector.errors import StoreError


@dataclass(frozen=True, slots=True)
class Verb:
    """A command that is imported when it is called: `collect` must not pay for what `query` needs."""

    place: str
    """module:attribute of the click command."""
    summary: str
    """The line that `detector --help` shows, without importing the command."""
    takes_faults: bool = False
    """It is given what is wrong with the configuration in place of the settings: whoever calls it wants to know."""

    def load(self) -> click.Command:
        """The command itself."""
        module, _, attribute = self.place.partition(":")
        with importing():
            command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command), f"{self.place} is not a command"  # noqa: S101 - a fault of ours
        return command


class Program(click.Group):
    """The group of all verbs."""

    verbs: ClassVar[dict[str, Verb]] = {
        "run": Verb("detector.cli.run:run", "Capture and detect: both roles, in the foreground."),
        "collect": Verb("detector.cli.run:collect", "Count connects in the kernel and store snapshots of them."),
        "detect": Verb("detector.cli.run:detect", "Score stored snapshots, apply the rules, send the alerts."),
        "doctor": Verb(
            "detector.cli.doctor:doctor", "Say how this machine stands, each fault with its remedy.", takes_faults=True
        ),
        "support-bundle": Verb(
            "detector.cli.support_bundle:support_bundle",
            "Write what whoever is to help needs into one file.",
            takes_faults=True,
        ),
        "query": Verb("detector.cli.query:query", "Show who connected where, and when."),
        "who": Verb("detector.cli.who:who", "Show all that is known of an address, a user or a program."),
        "diff": Verb("detector.cli.diff:diff", "Show what is new, and what is gone, between two periods."),
        "top": Verb("detector.cli.top:top", "Watch who connects where, as snapshots come."),
        "alerts": Verb("detector.cli.alerts:alerts", "List alerts, show what is behind them, and answer them."),
        "silence": Verb("detector.cli.silence:silence", "Mute alerts for a while."),
        "import": Verb("detector.cli.importing:import_", "Store what logs tell, as snapshots of a host."),
        "export": Verb("detector.cli.export:export", "Write rows or alerts as OCSF events, one JSON object a line."),
        "rules": Verb("detector.cli.rules:rules", "List, check and tune the rules."),
        "model": Verb("detector.cli.model:model", "Look at what was learnt of each host, and at its forests."),
        "evaluate": Verb("detector.cli.evaluate:evaluate", "Say how well attacks are told from ordinary traffic here."),
        "notify": Verb("detector.cli.notify:notify", "Try the channels that alerts are sent to."),
        "verify": Verb("detector.cli.verify:verify", "Say whether what is stored is what was written."),
        "db": Verb("detector.cli.db:db", "Look after the database."),
    }

    def invoke(self, ctx: click.Context) -> Any:
        """Calls the verb.

        Raises:
            StoreError: nothing could be made of what it read, since that is not what detector writes.
        """
        try:
            return super().invoke(ctx)
        except OF_VALUES as fault:
            if (unsound := _unsound(ctx.obj)) is None:
                raise
            raise unsound from fault

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All verbs, in the order in which a person meets them."""
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The verb, imported now; None when there is none of that name."""
        verb = self.verbs.get(cmd_name)
        return verb.load() if verb else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The table of verbs, from the summaries alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.summary) for name, verb in self.verbs.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb; reads the configuration into `ctx.obj` before it is called.

        Raises:
            ConfigError: see `config.load`.
        """
        name, command, rest = super().resolve_command(ctx, args)
        # Whoever completes a word in a shell is not told of a broken configuration.
        if not ctx.resilient_parsing:
            # Here, since help needs none.
            with importing():
                from detector import config

            try:
                ctx.obj = config.load(ctx.params["config_file"])
            except ConfigError as fault:
                # A broken configuration must not stand between a person and the help.
                asked = set(rest) & set(ctx.help_option_names)
                if not asked and not (name in self.verbs and self.verbs[name].takes_faults):
                    raise
                ctx.obj = fault
        return name, command, rest


def _unsound(settings: object) -> StoreError | None:
    from detector.config import Settings

    if not isinstance(settings, Settings):
        return None
    from detector.store.engine import open_store, unsound_rows
    from detector.store.migrating import check_current

    try:
        engine = open_store(settings.database_url)
    except DetectorError:
        # There is none to be looked at.
        return None
    try:
        check_current(engine)
        return unsound_rows(engine)
    except DetectorError:
        return None
    finally:
        engine.dispose()


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""
\b
Completion of verbs and options in the shell:
  bash: eval "$(_DETECTOR_COMPLETE=bash_source detector)"   in ~/.bashrc
  zsh:  eval "$(_DETECTOR_COMPLETE=zsh_source detector)"    in ~/.zshrc
  fish: _DETECTOR_COMPLETE=fish_source detector | source    in ~/.config/fish/completions/detector.fish
""",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read this configuration file. Default: $DETECTOR_CONFIG, else /etc/detector/detector.toml if it exists.",
)
@click.version_option(package_name="detector", message="%(prog)s %(version)s")
def program(config_file: Path | None) -> None:
    """Watch who connects where from this host, and say so when it is unusual.

    `detector VERB --help` explains each verb, with examples.
    """
