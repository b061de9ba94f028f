"""The SQL that a rule became, for people to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from detector import shipped
from detector.ruleset.convert import converted
from detector.ruleset.load import load_rules
from tests.ruleset.writing import event, loaded, write_list

if TYPE_CHECKING:
    from pathlib import Path

_DATABASES = ("sqlite", "postgresql")


@pytest.mark.parametrize("database", _DATABASES)
def test_every_shipped_rule_has_its_sql(database: str) -> None:
    """For both databases, without a value left out."""
    for rule in load_rules([shipped.folder("rules")]).ruleset.rules:
        said = converted(rule, database)
        assert "SELECT" in said
        assert "POSTCOMPILE" not in said


@pytest.mark.parametrize("database", _DATABASES)
@pytest.mark.parametrize(
    "selection",
    [
        {"Image|re": "/n(c|cat)$"},
        {"Image|re|i": "/nc"},
        {"Image|cased": "/usr/bin/NC"},
        {"Image|cased|contains": "'nc"},
        {"User|fieldref": "LoginUser"},
        {"DestinationIp|expand": "%feed%"},
        {"Command|startswith|expand": "%tools%"},
        {"DestinationIp|cidr": "10.0.0.0/8"},
    ],
    ids=str,
)
def test_every_modifier_has_its_sql(tmp_path: Path, selection: dict[str, Any], database: str) -> None:
    """So do regular expressions, lists, and what else is no plain comparison."""
    write_list(tmp_path, "feed", "10.0.0.0/8", "192.0.2.7")
    write_list(tmp_path, "tools", "nc", "socat")
    (rule,) = loaded(tmp_path, event(selection)).rules
    said = converted(rule, database)
    assert "SELECT" in said
    assert "POSTCOMPILE" not in said
