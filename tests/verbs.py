"""The verbs of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


def verbs(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[str]:
    """Each verb at and below a command, as it is written: `alerts list`."""
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                assert below is not None
                yield from verbs(below, (*words, name))
    else:
        yield " ".join(words)
