"""Writes docs/shipped-rules.md: `python -m detector.ruleset.rules_page > docs/shipped-rules.md`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from detector import shipped
from detector.ruleset.load import load_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.ruleset.evaluate import Rule

_HEAD = """\
# Rules that ship

What [rules](rules.md) come with detector, from the most severe to the least, and how often each is expected to alert
without cause, on one host. What to do about an alert stands in it, and in the file of its rule (`detector rules list`
names it). This page is made from these files (`python -m detector.ruleset.rules_page`).

Real traffic is that of three hosts of which logs were recorded, 3.7 days together, of which 2.8 follow a burn-in
(`python -m benchmarks.rule_rates`). These logs know no programs and users: where a rule asks for those, what stands
here is judgement.

"""
_EXPECTED = re.compile(
    r"(Silent until the host has been learnt\. )?Expected false alarms,? ?(.*?)(?:\n\n|\Z)", re.DOTALL
)


def page() -> str:
    """The page."""
    return _HEAD + "\n".join(_rows()) + "\n"


def _rows() -> Iterator[str]:
    yield "| rule | level | tells of | without cause |"
    yield "| --- | --- | --- | --- |"
    rules = [rule for rule in load_rules([shipped.folder("rules")]).ruleset.rules if rule.produces_findings]
    for rule in sorted(rules, key=lambda rule: (-rule.severity.rank, _name(rule))):
        yield f"| `{_name(rule)}` | {rule.severity} | {rule.title} | {_expected(rule)} |"


def _name(rule: Rule) -> str:
    return Path(rule.path).stem


def _expected(rule: Rule) -> str:
    """What the description says of false alarms, on one line."""
    found = _EXPECTED.search(rule.description)
    return "" if found is None else " ".join(found.group(2).lstrip(": ").split()).rstrip(".").replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
