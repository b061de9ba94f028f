"""Groups of verbs whose help says what each does in a whole sentence."""

from __future__ import annotations

import click

_SENTENCE = 500


class Verbs(click.Group):
    """A group that cuts nothing off: click shortens the first sentence of a verb to what fits into one line."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of verbs, with the first sentence of each, over as many lines as it takes."""
        verbs = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.get_short_help_str(_SENTENCE)) for name, verb in verbs if verb is not None])
