"""Arguments of the verbs that ask."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.full_store import SINCE, stored_file
from tests.fuzz.harness import Surface, call

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

# With what they know how to be asked, an argument a line. None of them writes, waits, or asks back.
_VERBS: tuple[tuple[str, ...], ...] = (
    ("query",),
    ("who",),
    ("diff",),
    ("alerts", "list"),
    ("alerts", "show"),
    ("silence", "list"),
    ("export",),
    ("verify",),
    ("model", "explain"),
    ("model", "status"),
    ("model", "review", "--list"),
    ("notify", "route"),
    ("notify", "digest"),
    ("notify", "preview"),
    ("rules", "list"),
    ("rules", "show"),
    ("rules", "explain"),
    ("rules", "test"),
    ("rules", "check"),
    ("rules", "convert"),
    ("silence", "add", "--dry-run"),
    ("alerts", "silence", "--dry-run"),
    ("db", "prune", "--dry-run"),
    ("db", "status"),
)
_ASKED = {
    "query": (
        f"--since\n{SINCE}\n--until\n2026-03-03\n--user\nmal*\n--port\n1-5,22\n--outcome\nrefused\n--limit\n3\n--json",
        f"--since\n{SINCE}\n--by\nuser,destination,day\n--sort\nattempted",
        f"--since\n{SINCE}\n--to\n203.0.113.0/24\n--new\n--min-score\n0.5\n--format\ncsv",
        "--since\nmonday 9:30\n--until\nnow\n--exe\n/usr/*\n--name\n*.example\n--direction\noutbound\n--protocol\ntcp",
        f"--since\n{SINCE}\n--incomplete\n--host\nbastion-*",
    ),
    "who": (f"203.0.113.66\n--since\n{SINCE}", "mallory\n--as\nuser\n--json", "/tmp/.x\n--as\nprogram\n--limit\n3"),
    "diff": ("--from\n2026-03-02..2026-03-03\n--to\n7d\n--by\nuser,executable", "--from\nyesterday\n--format\njsonl"),
    "alerts list": (f"--since\n{SINCE}\n--open\n--limit\n2", "--held\n--json"),
    "alerts show": ("1\n--limit\n3", "2\n--json"),
    "silence list": ("--all\n--json",),
    "export": (f"--what\nalerts\n--since\n{SINCE}", f"--what\nobservations\n--since\n{SINCE}\n--host\nbastion-1"),
    "verify": ("--host\nbastion-1\n--noted\nbastion-1:3:00ff\n--json",),
    "model explain": ("--alert\n1\n--limit\n2", f"--since\n{SINCE}\n--min-score\n0.9\n--json"),
    "model status": ("--host\nbastion-1\n--json",),
    "model review --list": ("--host\nbastion-1\n--limit\n2\n--all",),
    "notify route": ("1\n--at\n2026-03-02 22:00",),
    "notify digest": (f"--since\n{SINCE}\n--until\n2026-03-03\n--json",),
    "notify preview": ("--alert\n1\n--channel\nconsole\n--reason\nopened",),
    "rules show": ("vertical_scan\n--json",),
    "rules explain": ("vertical_scan\n1",),
    "rules test": (f"vertical_scan\n--since\n{SINCE}\n--limit\n2",),
    "rules check": ("rules\n--json",),
    "rules convert": ("vertical_scan\n--for\nsqlite",),
    "silence add --dry-run": ("user=mallory\nport=~2.\n--for\n2h\n--reason\nx", "host!=a\n--until\n2099-01-01"),
    "alerts silence --dry-run": ("1\n--for\n7d\n--reason\nx\n--days\n3",),
    "db prune --dry-run": ("--older-than\n30d",),
}  # fmt: skip
_TOKENS = (
    *(b"\n--since\n", b"\n--until\n", b"\n--by\n", b"\n--", b"..", b"2026-13-45", b"99999999d", b"-1d", b"0001-01-01"),
    *(b"9999-12-31T23:59:59+14:00", b"0", b"253402300800", b"*" * 200, b"::/0", b"0.0.0.0/33", b"1-65536", b"%", b"_"),
    *(b"--json\n", b"--help\n", b"yesterday", b"24:00", b"--limit\n99999999999999999999", b"=~(a+)+$", b"=~[", b"!="),
    *(b"()" * 500, b"nan", b"1e400"),
)


def _seeds() -> Sequence[bytes]:
    """The first byte says which verb."""
    seeds = []
    for number, verb in enumerate(_VERBS):
        seeds += [bytes([number]) + asked.encode() for asked in _ASKED.get(" ".join(verb), ("--json",))]
    return seeds


def _open(folder: Path) -> Callable[[bytes], None]:
    url = f"sqlite:///{folder / 'detector.db'}"
    (folder / "detector.db").write_bytes(stored_file())
    settings = folder / "detector.toml"
    settings.write_text(f'state_folder = "{folder}"\n[database]\nurl = "{url}"\n')

    def ask(data: bytes) -> None:
        verb = _VERBS[data[0] % len(_VERBS)] if data else ("query",)
        # As the system hands them over: no NUL, and what is no text as it is.
        lines = data[1:].replace(b"\0", b"").split(b"\n")
        given = [os.fsdecode(line) for line in lines if line]
        # What writes a file is not asked for.
        if not any(each.startswith(("-o", "--out")) for each in given):
            call("--config", settings, *verb, *given)

    return ask


SURFACE = Surface("arguments", _open, _seeds, _TOKENS)
