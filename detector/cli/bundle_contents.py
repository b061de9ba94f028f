"""What a support bundle holds: each part by its file name, gathered by a function of its own."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from detector.cli.checks import running
from detector.cli.db_status import described
from detector.cli.doctor import examine
from detector.cli.store import stored
from detector.errors import ConfigError
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from detector.config import Settings

_LOG_LINES = 2000
_LOG_BYTES = 1_000_000
_TIMEOUT_SECONDS = 30.0
# Of a requirement: alembic>=1.16, psycopg[binary]<4.
_PACKAGE = re.compile(r"[\w.-]+")
_INCOMPLETE = 50
_SOURCES = ("url", "url_file", "url_env", "url_credential")


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the bundle."""

    name: str
    about: str
    gather: Callable[[], Any]
    """Text, or what JSON can be made of; nothing of it is masked yet."""


def parts(settings: Settings | ConfigError, path: Path | None, logs: Sequence[Path]) -> list[Part]:
    """All of it. What takes settings is missing if they cannot be understood."""
    found = [
        Part("doctor.json", "what detector doctor says", lambda: [asdict(each) for each in examine(settings, path)]),
        Part("versions.json", "versions of detector, of what it uses, and of the system", _versions),
        Part("processes.json", "the roles that run here, and what they hold", _processes),
        Part(
            "log.txt", f"the last {_LOG_LINES:,} lines of the journal, and the ends of --log files", lambda: _log(logs)
        ),
    ]
    if isinstance(settings, ConfigError):
        return found
    return [
        *found,
        Part("configuration.json", "the settings in force, without secrets", lambda: _configuration(settings)),
        Part(
            "rules.json",
            "rules and filters by title, and what is wrong with their files",
            lambda: _rules(settings),
        ),
        Part(
            "database.json", "schema, sizes, tables, and how each host's snapshots stand", lambda: described(settings)
        ),
        Part("losses.json", "what each host has lost, and its last incomplete snapshots", lambda: _losses(settings)),
        Part("channels.json", "what waits for each channel, and its last failure", lambda: _channels(settings)),
    ]


def _versions() -> dict[str, Any]:
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    needed = sorted(found.group() for each in metadata.requires("detector") or () if (found := _PACKAGE.match(each)))
    return {
        "detector": metadata.version("detector"),
        "python": sys.version,
        "kernel": platform.release(),
        "machine": platform.machine(),
        "system": release.get("PRETTY_NAME", ""),
        "packages": {name: metadata.version(name) for name in needed},
    }


def _processes() -> list[dict[str, Any]]:
    return [
        {**asdict(each), "memory": _status(each.process), "descriptors": _descriptors(each.process)}
        for each in running.running()
    ]


def _status(process: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as fault:
        return {"fault": str(fault.strerror)}
    wanted = ("VmRSS", "VmHWM", "Threads", "CapEff", "Seccomp")
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines) if name in wanted}


def _descriptors(process: int) -> int | None:
    try:
        return len(list(Path(f"/proc/{process}/fd").iterdir()))
    except OSError:
        # Another user's.
        return None


def _configuration(settings: Settings) -> dict[str, Any]:
    """All settings with their values; where an address comes from is told, and none of them."""
    found = msgspec.to_builtins(settings)
    for section in (found["database"], found["heartbeat"], *found["channels"]):
        for key in _SOURCES:
            if section.get(key):
                section[key] = "(set)"
    found["environment"] = sorted(name for name in os.environ if name.startswith("DETECTOR_"))
    return dict(found)


def _rules(settings: Settings) -> dict[str, Any]:
    from detector.ruleset.load import load_rules

    loaded = load_rules(settings.rule_folders, channels=settings.channel_names)
    return {
        "folders": [str(folder) for folder in settings.rule_folders],
        "in_force": len(loaded.ruleset.rules),
        "faults": [str(fault) for fault in loaded.faults],
        "rules": [{"title": each.title, "kind": each.kind, "state": each.state} for each in loaded.entries],
    }


def _losses(settings: Settings) -> dict[str, Any]:
    from detector.store import totals
    from detector.store.health import find_incomplete

    with stored(settings) as connection:
        found, page = totals.read(connection), find_incomplete(connection, limit=_INCOMPLETE)
    return {
        "totals": [
            {"host": host, **{name: number for name, number in of_host.items() if number}}
            for host, of_host in found.items()
        ],
        "incomplete": [asdict(each) for each in page.found],
    }


def _channels(settings: Settings) -> list[dict[str, Any]]:
    from detector.store.deliveries import channel_standings

    with stored(settings) as connection:
        return [asdict(each) for each in channel_standings(connection, datetime.now(UTC)).values()]


def _log(files: Sequence[Path]) -> str:
    texts = [_journal(), *(f"--- {file}\n{_tail(file)}" for file in files)]
    # Whoever looks into it does so at a terminal.
    return "".join(f"{visible(line)}\n" for text in texts for line in text.splitlines())


def _journal() -> str:
    program = shutil.which("journalctl")
    if program is None:
        return "--- there is no journal here\n"
    names = [f"--unit={unit}" for unit in running.UNITS]
    command = [program, "--no-pager", "--quiet", f"--lines={_LOG_LINES}", "--output=short-iso", "--no-hostname", *names]
    done = subprocess.run(  # noqa: S603  the system's own program
        command, capture_output=True, check=False, timeout=_TIMEOUT_SECONDS
    )
    return f"--- {' '.join(command[1:])}\n{(done.stdout + done.stderr).decode(errors='replace')}"


def _tail(file: Path) -> str:
    with file.open("rb") as opened:
        opened.seek(max(0, opened.seek(0, os.SEEK_END) - _LOG_BYTES))
        return opened.read(_LOG_BYTES).decode(errors="replace")
