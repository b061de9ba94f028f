"""Processes of our own for what the one that asks should not do: what they need of memory and time is theirs."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from detector.supervisor import PYTHON

if TYPE_CHECKING:
    from collections.abc import Mapping


def command(module: str, *arguments: str) -> list[str]:
    """How a module of ours, by its full name, is started as a process of its own."""
    return [*PYTHON, "-m", module, *arguments]


def surroundings(**others: str) -> dict[str, str]:
    """The environment of such a process: the ways to its modules, and `others`."""
    inherited = {name: value for name, value in os.environ.items() if name in ("PYTHONPATH", "LD_LIBRARY_PATH")}
    return {**inherited, "PATH": "", **others}


def run_apart(
    module: str, given: bytes, *, timeout_seconds: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Runs a module of ours as a process of its own, to its end.

    Args:
        module: by its full name.
        given: its standard input.
        timeout_seconds: it is killed after that.
        environment: what it finds there beside the ways to its modules.

    Returns:
        its standard output, error output and exit code.

    Raises:
        TimeoutExpired: it took longer; with what it had written.
        OSError: there is no process to be had.
    """
    return subprocess.run(  # noqa: S603  our own module
        command(module),
        input=given,
        capture_output=True,
        env=surroundings(**(environment or {})),
        timeout=timeout_seconds,
        check=False,
        # Ctrl-C is for the process that waits for it.
        start_new_session=True,
    )
