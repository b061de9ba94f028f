"""Where the files that ship beside the code are: in the installed wheel, or in the checkout the code runs from."""

from __future__ import annotations

from pathlib import Path

ANOMALY_RULE = "c95595ee-32d8-4fea-a219-fc68ae874f65"
"""The id of the shipped rule that tells of what is unusual by its score, and of one's own rule in its place."""

HELD_BACK = "capped-"
"""How the fingerprint of an alert begins that holds what was beyond the most alerts of a day. No rule gives such a one:
they are hexadecimal."""

_PACKAGE = Path(__file__).resolve().parent


def checkout() -> Path | None:
    """The source checkout this code runs from, or None when it is installed."""
    return _CHECKOUT


def _find_checkout() -> Path | None:
    root = _PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "migrations").is_dir() else None


# Found while the code is being read: a process that gives up its privileges may not see its folder afterwards.
_CHECKOUT = _find_checkout()


def folder(name: str) -> Path:
    """The shipped folder `name` ("rules" or "migrations").

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    root = checkout()
    path = root / name if root else _PACKAGE / "shipped" / name
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is missing: the installation is incomplete")
    return path
