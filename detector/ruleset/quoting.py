"""Writes any text as YAML."""

from __future__ import annotations

import json


def quoted(text: str) -> str:
    """`text` in double quotes, which YAML reads back as it is; all that does not print is written out."""
    return "".join(each if each.isprintable() else _escaped(each) for each in json.dumps(text, ensure_ascii=False))


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 1 << 16 else f"\\U{number:08x}"
