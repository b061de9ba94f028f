"""`x-detector`: what it says comes with the findings."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import yaml

from detector.domain import Telling
from detector.ruleset.load import load_rules
from tests.builders import Recorder, count
from tests.ruleset.writing import correlation, evaluated, event, loaded

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

_SECTION = {
    "cooldown": "2h",
    "channels": ["mail", "console"],
    "burn_in": "1d",
    "explain": "{{ user }} {% if ports > 1 %}tries {{ ports }} ports{% else %}connects{% endif %}",
}
_TELLING = Telling(
    cooldown=timedelta(hours=2),
    channels=("mail", "console"),
    burn_in=timedelta(days=1),
    explain=_SECTION["explain"],  # type: ignore[arg-type]
)


def test_findings_say_how_they_are_told(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Of single events and of correlations; what a rule does not say, the configuration decides."""
    rules = loaded(
        tmp_path,
        event({"DestinationPort": 22}) | {"x-detector": _SECTION},
        event({"DestinationPort": 22}, number=3) | {"x-detector": {"burn_in": True}},
        {**correlation(["User"], {"gte": 1}, rules=["rule_3"], generate=True), "x-detector": _SECTION},
    )
    ref = Recorder(sqlite_engine).snapshot(count())
    told = {finding.rule_title: finding.telling for finding in evaluated(sqlite_engine, rules, ref)}
    assert told == {"rule 1": _TELLING, "rule 2": _TELLING, "rule 3": Telling(burn_in=True)}


def test_only_configured_channels_are_named(tmp_path: Path) -> None:
    """Where the channels are known, another name is refused with the nearest that there is."""
    (tmp_path / "rule.yml").write_text(yaml.safe_dump(event({"User": "root"}) | {"x-detector": _SECTION}))
    assert load_rules([tmp_path], channels={"mail", "console"}).faults == ()
    (fault,) = load_rules([tmp_path], channels={"mails", "console"}).faults
    assert fault.message == "no channel 'mail' is configured; did you mean mails?"


def test_a_sentence_may_name_what_matches_are_grouped_by(tmp_path: Path) -> None:
    """Beyond what every alert has."""
    said = {"explain": "{{ parent_executable }} {{ local_port }} {{ score }}", "group_by": ["ParentImage"]}
    loaded(tmp_path, event({"DestinationPort": 22}) | {"x-detector": said})
