"""Writes rules for tests: short, with defaults everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import yaml

from detector.ruleset.load import load_rules
from detector.store.engine import reading

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from detector.domain import Finding, SnapshotRef
    from detector.ruleset.evaluate import RuleSet

SOURCE = {"category": "network_connection", "product": "linux"}
CAPTURE = {"category": "capture", "product": "linux"}


def rule_id(number: int) -> str:
    """The same UUID for the same number."""
    return str(UUID(int=(0x4 << 76) | (0x8 << 60) | number))


def event(selection: Any, *, number: int = 1, group_by: list[str] | None = None, **keys: Any) -> dict[str, Any]:
    """A single-event rule with one selection."""
    extension = {} if group_by is None else {"x-detector": {"group_by": group_by}}
    rule = {"title": f"rule {number}", "id": rule_id(number), "name": f"rule_{number}", "level": "low"}
    return {
        **rule,
        "logsource": SOURCE,
        "detection": {"selection": selection, "condition": "selection"},
        **extension,
        **keys,
    }


def correlation(group_by: list[str], condition: dict[str, Any], *, number: int = 2, **keys: Any) -> dict[str, Any]:
    """A correlation over `rule_1` (or `rules`) in 5 minutes (or `timespan`)."""
    section = {
        "type": "value_count" if "field" in condition else "event_count",
        "rules": ["rule_1"],
        "group-by": group_by,
        "timespan": "5m",
        "condition": condition,
        **keys,
    }
    return {"title": f"rule {number}", "id": rule_id(number), "level": "high", "correlation": section}


def loaded(folder: Path, *documents: dict[str, Any]) -> RuleSet:
    """The rules, which must be sound."""
    (folder / "rules.yml").write_text(yaml.safe_dump_all(documents, allow_unicode=True, sort_keys=False))
    rules = load_rules([folder])
    assert rules.faults == ()
    return rules.ruleset


def evaluated(engine: Engine, ruleset: RuleSet, ref: SnapshotRef) -> list[Finding]:
    """The findings of one stored snapshot."""
    with reading(engine) as connection:
        return ruleset.evaluate(connection, ref)


def write_list(folder: Path, name: str, *lines: str) -> None:
    """A list for the rules in `folder`."""
    (folder / "lists").mkdir(exist_ok=True)
    (folder / "lists" / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
