"""Real accounts of this machine, for as long as a test."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Place:
    """Where accounts other than root find the program, and what is stored."""

    folder: Path
    environment: Mapping[str, str]

    def command(self, *arguments: str, user: str | None = None) -> list[str]:
        """The command that runs `detector` as `user`, or as root."""
        return self._python("-P", "-m", "detector", *arguments, user=user)

    def _python(self, *arguments: str, user: str | None) -> list[str]:
        # The checkout and its environment may be where only root may look: they are seen in a place that all can reach.
        mounted = [f"mount --bind '{real}' {self.folder / name}" for name, real in _real().items()]
        inside = ["unshare", "--mount", "sh", "-c", f'{" && ".join(mounted)} && exec "$@"', "sh"]
        become = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"] if user else []
        return [*inside, *become, str(self.folder / "venv" / "bin" / "python"), *arguments]

    def run(self, *arguments: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs it to its end."""
        return subprocess.run(
            self.command(*arguments, user=user),
            env=self.environment, cwd="/", capture_output=True, text=True, check=False,
        )  # fmt: skip

    def python(self, program: str, *, user: str, given: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Runs a program of Python's as `user`, in a folder, with this standard input, to its end."""
        return subprocess.run(
            self._python("-P", "-c", program, user=user),
            env=self.environment, cwd=folder, input=given, capture_output=True, text=True, check=False,
        )  # fmt: skip


def _real() -> dict[str, Path]:
    return {"checkout": _ROOT, "venv": Path(sys.prefix)}


@contextmanager
def place() -> Iterator[Place]:
    """A folder that everybody can reach, and the program in it."""
    folder = Path(tempfile.mkdtemp(prefix="detector-accounts-"))
    folder.chmod(0o755)
    for name in _real():
        (folder / name).mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "DETECTOR_"))}
    environment = {
        **inherited,
        "PYTHONPATH": str(folder / "checkout"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DETECTOR_STATE_FOLDER": str(folder / "state"),
        "DETECTOR_COLLECTOR_INTERVAL_SECONDS": "1",
        "DETECTOR_COLLECTOR_CACHE_FOLDER": str(folder / "cache"),
    }
    try:
        yield Place(folder, environment)
    finally:
        shutil.rmtree(folder)


@contextmanager
def accounts(*names: str, member_of: Mapping[str, str] | None = None) -> Iterator[list[str]]:
    """Accounts with groups of their own; those of `member_of` are in another one's too. Gives their full names."""
    full = {name: f"dt-{name}-{os.getpid()}" for name in names}
    made = []
    try:
        for name, real in full.items():
            more = ["--groups", full[member_of[name]]] if member_of and name in member_of else []
            subprocess.run(["useradd", "--system", "--user-group", *more, real], check=True, capture_output=True)
            made.append(real)
        yield [pwd.getpwnam(real).pw_name for real in full.values()]
    finally:
        for real in reversed(made):
            subprocess.run(["userdel", real], check=True, capture_output=True)
