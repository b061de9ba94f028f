"""Texts of a configuration that neither the system nor a database would take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def unfit(value: Any, key: str = "") -> Iterator[str]:
    """The keys at and below `key` whose texts hold a character with the number 0."""
    if isinstance(value, str) and "\0" in value:
        yield key
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from unfit(each, f"{key}.{name}".removeprefix("."))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from unfit(each, f"{key}[{number}]")


def is_text(text: str) -> bool:
    """Whether a variable was UTF-8 in the environment."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
