"""Has a damaged database replaced, in a process of its own: what that takes, a role need not hold for ever."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from detector.supervisor import PYTHON

if TYPE_CHECKING:
    from detector.errors import StoreDamagedError

# Making a database takes a second or two.
_LONGEST_SECONDS = 60.0


def renew(url: str, fault: StoreDamagedError) -> str:
    """Has the SQLite database at `url` set aside, and a new one put in its place, unless another role did so just now.

    Returns:
        What came of it, in a sentence.
    """
    wanted = json.dumps({"url": url, "inode": fault.inode, "reason": fault.message})
    try:
        done = subprocess.run(  # noqa: S603  ourselves
            [*PYTHON, "-m", "detector.store.replacement"],
            input=wanted,
            capture_output=True,
            text=True,
            timeout=_LONGEST_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        return f"{fault.message}; it could not be replaced: {failure}"
    # Of a fault that is not ours the last line says what it is.
    said = (done.stdout or done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
    return f"{fault.message}; {said[-1]}"
