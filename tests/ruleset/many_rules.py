"""Many distinct rules of the common kinds, for tests and benchmarks of evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from tests.ruleset.writing import event

if TYPE_CHECKING:
    from pathlib import Path

_PER_FILE = 250


def write_many(folder: Path, number: int) -> None:
    """Writes `number` rules below `folder`; of the rows of `tests.builders.count`, rule n matches port n alone."""
    for first in range(1, number + 1, _PER_FILE):
        rules = [event(_selection(each), number=each) for each in range(first, min(first + _PER_FILE, number + 1))]
        text = yaml.dump_all(rules, Dumper=_Dumper, sort_keys=False)
        (folder / f"many_{first}.yml").write_text(text, encoding="utf-8")


class _Dumper(yaml.SafeDumper):
    """Writes values out where YAML would put aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _selection(number: int) -> dict[str, Any]:
    kinds: tuple[dict[str, Any], ...] = (
        {"Initiated": True, "Image|endswith": [f"/tool{number}", "/ssh"]},
        {"DestinationIp|cidr": ["10.0.0.0/8", f"192.168.{number % 256}.0/24"]},
        {"Image|contains": ["ssh", f"x{number}y"], "LoginUser": ["alice", f"user{number}"]},
        {"Command|startswith": [f"s{number}", "ssh"], "Attempted|gte": 1},
        {"Outcome": ["established", "refused"], "User": "alice"},
    )
    return {**kinds[number % len(kinds)], "DestinationPort": number}
