"""The command line: `detector VERB`. One verb group a file, loaded when it is called."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `detector` with `arguments` (default: the process's own) and returns its exit code.

    The only place, with `roles.main`, where a fault becomes text. Verbs raise DetectorError for what an operator can
    mend, click's exceptions for what was mistyped, and call `ctx.exit(code)` for an exit code of their own.
    """
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run(arguments: Sequence[str] | None) -> int:
    # Here, since a long-running role is in this package as well, and holds none of it.
    from detector.cli.interrupts import importing

    with importing():
        import click

        from detector.cli import terminal
        from detector.cli.program import program
        from detector.errors import DetectorError

    terminal.prepare()
    try:
        # Ends the process by itself, quietly, when the reader of its output (head, less) has seen enough.
        code = program.main(arguments, prog_name="detector", standalone_mode=False)
    except DetectorError as fault:
        terminal.complain(fault)
        return fault.exit_code
    except click.ClickException as fault:
        # What it complains of may come from a script that was handed a name.
        fault.show(terminal.harmless(sys.stderr))
        return fault.exit_code
    except click.Abort:
        return _INTERRUPTED
    except OSError as fault:
        terminal.note(f"detector: {fault}")
        return os.EX_IOERR
    return code if isinstance(code, int) else 0
