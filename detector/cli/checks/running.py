"""What runs here: the roles as processes, twice or not at all, and as services of systemd."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from detector.amounts import numbered
from detector.cli.checks.check import bad, doubtful, good

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from detector.cli.checks.check import Check
    from detector.config import Settings

_PROC = Path("/proc")
_BOOTED_BY_SYSTEMD = Path("/run/systemd/system")
_ROLES = ("run", "collect", "detect")
UNITS = ("detector-collect.service", "detector-detect.service")
"""The services of systemd."""
_PROPERTIES = ("LoadState", "ActiveState", "SubState", "Result", "NRestarts")
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Running:
    """A process that is a role."""

    role: str
    process: int
    user: int


def running() -> list[Running]:
    """The roles that run on this machine, as far as this user is shown them."""
    found = []
    for folder in _PROC.iterdir():
        if not folder.name.isdecimal():
            continue
        # It may have ended since, or be another user's.
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if role := _role(words):
                found.append(Running(role, int(folder.name), folder.stat().st_uid))
    return sorted(found, key=lambda each: (_ROLES.index(each.role), each.process))


def _role(words: Sequence[str]) -> str | None:
    """What a process does, by its command line: it was started as the program, as the module, or became a role."""
    if "detector.cli.roles" in words:
        rest = words[words.index("detector.cli.roles") + 1 :]
    elif "detector" in words and "-m" in words:
        rest = words[words.index("detector") + 1 :]
    else:
        program = next((place for place, word in enumerate(words[:2]) if Path(word).name == "detector"), None)
        rest = [] if program is None else words[program + 1 :]
    options = iter(rest)
    for word in options:
        if word == "--config":
            next(options, None)
        elif not word.startswith("-"):
            return word if word in _ROLES else None
    return None


def copies(settings: Settings) -> Iterator[Check]:
    """Which roles run, and which of them more than once."""
    from detector.store.engine import parse_url

    found = running()
    for role in ("collect", "detect"):
        ours = [each for each in found if each.role == role]
        listed = ", ".join(str(each.process) for each in ours)
        if not ours:
            remedy = starting(role, _told(f"detector-{role}.service"))
            yield doubtful("processes", f"{role} does not run on this machine", remedy)
        elif len(ours) == 1:
            yield good("processes", f"{role} runs as process {listed} of user {ours[0].user}")
        elif role == "collect":
            finding = f"{numbered(len(ours), 'collector')} run on this machine: processes {listed}"
            yield doubtful(
                "processes", finding, "two count every connect twice, unless each has a host name of its own"
            )
        elif parse_url(settings.database_url).get_backend_name() == "sqlite":
            finding = f"detect runs {len(ours)} times on this machine: processes {listed}"
            yield doubtful("processes", finding, "with SQLite one is enough: end the others")
        else:
            yield good("processes", f"{role} runs as processes {listed}")


def services() -> Iterator[Check]:
    """What systemd says of the units, where it is in charge and has them."""
    if not _in_charge():
        yield good("services", "systemd is not in charge of this machine")
        return
    for unit in UNITS:
        yield service(unit, _told(unit))


def are_installed() -> bool:
    """Whether systemd has a unit of ours."""
    return any(_is_loaded(_told(unit)) for unit in UNITS)


def _in_charge() -> bool:
    return shutil.which("systemctl") is not None and _BOOTED_BY_SYSTEMD.is_dir()


def _told(unit: str) -> dict[str, str]:
    """What systemd says of a unit, by property; nothing where it is not in charge."""
    if not _in_charge():
        return {}
    asked = ["systemctl", "show", "--no-pager", f"--property={','.join(_PROPERTIES)}", unit]
    done = subprocess.run(  # noqa: S603  the system's own program
        asked,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_SECONDS,
        env=os.environ | {"LC_ALL": "C"},
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def _is_loaded(told: Mapping[str, str]) -> bool:
    return told.get("LoadState") == "loaded"


def starting(role: str, told: Mapping[str, str]) -> str:
    """The command that starts a role, by what systemd says of its unit: beside a unit a second one would not do."""
    return f"start it: {f'systemctl start detector-{role}' if _is_loaded(told) else 'detector run'}"


def service(unit: str, told: Mapping[str, str]) -> Check:
    """What the properties of a unit, by name, come to."""
    log = f"see: journalctl -u {unit}"
    if not _is_loaded(told):
        return doubtful("services", f"{unit} is not installed here", "fine if another way starts detector")
    state = f"{unit} is {told.get('ActiveState')} ({told.get('SubState')})"
    restarts = told.get("NRestarts", "0")
    if told.get("ActiveState") != "active":
        failed = told.get("ActiveState") == "failed" or told.get("Result") not in ("success", "", None)
        remedy = f"{log}; then: systemctl start {unit}"
        return (bad if failed else doubtful)("services", state, remedy)
    if restarts not in ("0", ""):
        return doubtful("services", f"{state}, and was restarted {restarts} times since it was started", log)
    return good("services", state)
