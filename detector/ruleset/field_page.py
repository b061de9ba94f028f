"""Writes docs/rule-fields.md: `python -m detector.ruleset.field_page > docs/rule-fields.md` (`make docs`)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from detector.ruleset.categories import CATEGORIES
from detector.ruleset.fields import Field, Kind
from detector.ruleset.modifiers import MODIFIERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.ruleset.events import Category

_HEAD = """\
# Fields of rules

What [rules](rules.md) can look at. This page is made from the code that defines the fields (`make docs`).

- **in output** is the name of the same thing in `detector query --json` and in alerts.
- Fields that **group** say who or what: they can stand in a group-by and in a `value_count`. The others are measures.
- The **type** decides which modifiers a field takes:

"""

_NOTES = {
    "network_connection": """\
`Novelty` is

- `destination`: a new address, `destination_in_known_network`: a new one in a /24 that was seen before,
- `address_class`: the first public or the first private address,
- `pair`: a known address on another port,
- `port`, `common_port`: a port that this host has never connected to, wherever that leads; `common_port` for 80, 443
  and their like.

`Outcome` cannot stand under a `not`; `failed` is any end but the others, `attempted` any connect at all. `LoginIp`,
names, countries and networks are what was known when the snapshot was taken. Address and port are missing where a
program was counted without them (see `Folded`). What is of the destination is missing for inbound connections, and what
is of the source for outbound ones (`DestinationPort` apart): no rule can ask for both.
""",
    "capture": """\
What the kernel shows depends on what it has: `Unseen` is the same in every snapshot until the machine starts another
kernel.
""",
}


def page() -> str:
    """All of docs/rule-fields.md."""
    return _HEAD + "\n".join(_modifiers()) + "\n" + "".join(_section(each) for each in CATEGORIES.values())


def _modifiers() -> Iterator[str]:
    yield from ("| type | modifiers |", "| --- | --- |")
    for kind, modifiers in MODIFIERS.items():
        yield f"| {kind.value} | {', '.join(f'`{each}`' for each in modifiers) or 'none'} |"


def _section(category: Category) -> str:
    return (
        "\n".join(
            (
                f"\n## {category.name}\n",
                "| field | in output | type | groups | meaning | example |",
                "| --- | --- | --- | --- | --- | --- |",
                *map(_row, category.fields.values()),
                "",
                *_choices(category),
                "",
                _NOTES[category.name],
            )
        ).rstrip()
        + "\n"
    )


def _row(field: Field) -> str:
    groups = "yes" if field.groups else "no"
    return f"| `{field.name}` | {_word(field)} | {field.kind} | {groups} | {field.meaning} | `{field.example}` |"


def _word(field: Field) -> str:
    if field.kind is Kind.OUTCOME:
        return "a column each"
    return "`remote_port`, `local_port`" if field.word == "remote_port" else f"`{field.word}`"


def _choices(category: Category) -> Iterator[str]:
    for field in category.fields.values():
        if field.choices:
            yield f"- `{field.name}` is one of {', '.join(f'`{each}`' for each in field.choices)}."


if __name__ == "__main__":
    sys.stdout.write(page())
