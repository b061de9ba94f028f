"""The operator's own templates of messages."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from detector.notify.example import example
from detector.notify.message import render, values_of
from detector.notify.templates import HTML, NAMES, read, shipped
from tests.fuzz.harness import FindingError, Surface, check_harmless
from tests.notify.test_message import Tags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_OWN = (
    "{% for row in rows if row.who != host %}{{ loop.index }} {{ row.connection | upper }}{% else %}none{% endfor %}",
    "{% macro line(a, b='x') %}{{ a }}: {{ b | default('-') }}{% endmacro %}{{ line(host, summary) }}",
    "{% set ns = namespace(x=1) %}{% for i in range(10) %}{% set ns.x = ns.x * 2 %}{% endfor %}{{ ns.x }}",
    "{{ facts | map('first') | join(', ') }} {{ '%05d' | format(number) }} {{ summary | truncate(10) | title }}",
    "{{ rows | groupby('who') | list | length }}{{ [1, 2] | batch(2, 0) | list }}{{ 'a' | center(20) }}",
)
_HOSTILE = "\x1b]0;x\x07<script>"
_TOKENS = (
    *(
        b"{{ ",
        b" }}",
        b"{% ",
        b" %}",
        b"{% endfor %}",
        b"{% for x in rows %}",
        b"{% if host %}",
        b"{% endif %}",
        b"{#",
        b"#}",
    ),
    *(b"range(10 ** 9)", b" ** 99 ** 9", b" * 10 ** 9", b"| center(10 ** 9)", b"| list", b"| map('x')", b"| tojson"),
    *(
        b"{% macro a() %}{{ a() }}{% endmacro %}",
        b"loop(",
        b"caller()",
        b"self",
        b"{% set x = x ~ x %}",
        b"{% block a %}",
    ),
    *(b"{% extends 'a' %}", b"{% include host %}", b"{% import 'a' as b %}", b"{% raw %}", b"| attr('__class__')"),
    *(
        b"host.__class__",
        b"lipsum(10 ** 6)",
        b"cycler(1)",
        b"'%9999999d' | format(1)",
        b"| code",
        b"| e",
        b"-%}",
        b"(" * 500,
    ),
)


def _seeds() -> Sequence[bytes]:
    """Whichever form it is of is said by the first byte."""
    own = [bytes([number % len(NAMES)]) + text.encode() for number, text in enumerate(_OWN)]
    return [*own, *(bytes([number]) + shipped().sources[name].encode() for number, name in enumerate(NAMES))]


def _open(folder: Path) -> Callable[[bytes], None]:
    sample = values_of(example(), "opened", chart=True)

    def fill(data: bytes) -> None:
        for name in NAMES:
            (folder / name).unlink(missing_ok=True)
        name = NAMES[data[0] % len(NAMES)] if data else HTML
        (folder / name).write_bytes(data[1:])
        found = read(folder, sample)
        for fault in found.faults:
            if fault.path != str(folder / name) or fault.line < 1:
                raise FindingError(f"names no place: {fault}")
            check_harmless(str(fault))
        if not found.own:
            return
        briefing = example()
        alert = replace(briefing.alert, summary=_HOSTILE, host=_HOSTILE, rule_title=_HOSTILE)
        message = render(replace(briefing, alert=alert, normal=(_HOSTILE,)), "opened", found)
        for text in (message.title, message.text, message.html, *(each.markdown for each in message.shorter)):
            check_harmless(text)
        if name == HTML and b"script" not in data and "script" in Tags(message.html).tags:
            raise FindingError("markup got through")

    return fill


SURFACE = Surface("templates", _open, _seeds, _TOKENS)
