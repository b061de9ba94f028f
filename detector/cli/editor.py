"""The user's editor, on a file."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

from detector.errors import DetectorError

if TYPE_CHECKING:
    from pathlib import Path

# Debian's choice of the user or the system, then what every system has.
_USUAL = ("sensible-editor", "editor", "vi")
# Which take the line to begin at as +LINE.
_TAKE_LINE = frozenset(
    {"vi", "vim", "nvim", "vim.basic", "vim.tiny", "nano", "pico", "emacs", "emacsclient", "joe", "jed", "mg", "ne"}
    | {"micro", "kak", "mcedit", "gedit", "kate", *_USUAL}
)


def edit(path: Path, line: int | None = None) -> None:
    """Lets the user edit a file, from a line on if the editor can be told to.

    Raises:
        DetectorError: there is no editor, or it failed.
    """
    command = _editor()
    place = [f"+{line}"] if line and os.path.basename(command[0]) in _TAKE_LINE else []  # noqa: PTH119  a name
    try:
        done = subprocess.run([*command, *place, str(path)], check=False)  # noqa: S603  the user's own choice
    except OSError as fault:
        raise DetectorError(
            f"the editor {command[0]} cannot be started: {fault.strerror}", hint="name another one: EDITOR=nano"
        ) from None
    if done.returncode:
        how = f"was ended by signal {-done.returncode}" if done.returncode < 0 else f"failed (exit {done.returncode})"
        raise DetectorError(f"the editor {command[0]} {how}")


def _editor() -> list[str]:
    for name in ("VISUAL", "EDITOR"):
        if written := os.environ.get(name, "").strip():
            try:
                return shlex.split(written)
            except ValueError:
                raise DetectorError(f"${name} is not a command: {written!r}", hint="mend its quotes") from None
    known = next((path for name in _USUAL if (path := shutil.which(name))), None)
    if known is None:
        raise DetectorError("there is no editor", hint="name one: EDITOR=nano")
    return [known]
