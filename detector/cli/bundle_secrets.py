"""The addresses with passwords that are written on this machine, found even where the configuration is refused."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from detector.config import PREFIX
from detector.config_secrets import SECRETS

if TYPE_CHECKING:
    from collections.abc import Iterator

_ADDRESS = re.compile(r"""["']([^"'\n]*://[^"'\n]*)["']""")
_FILE = re.compile(r"""url_file\s*=\s*["']([^"'\n]+)["']""")
_LONGEST = 65_536


def written_addresses(path: Path | None) -> Iterator[str]:
    """Each that this user can read: in the configuration file as it stands, in the files that it names, in the folder
    of secrets, and in the environment.

    Args:
        path: the configuration file; None: there is none.
    """
    text = "" if path is None else _text(path)
    yield from _ADDRESS.findall(text)
    files = [Path(name) for name in _FILE.findall(text)]
    with suppress(OSError):
        files += sorted(SECRETS.iterdir())
    yield from (found for file in files if (found := _text(file).strip()))
    yield from (value for name, value in os.environ.items() if name.startswith(PREFIX) and "://" in value)


def _text(path: Path) -> str:
    """Empty: it cannot be read, or is no file."""
    try:
        if not path.is_file():
            return ""
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_LONGEST)
    except (OSError, ValueError):
        return ""
