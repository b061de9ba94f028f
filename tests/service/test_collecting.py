"""The settings of capture on their way to the process that captures."""

from __future__ import annotations

from dataclasses import fields

from detector.config import Collector
from detector.service.collecting import Collecting


def test_every_setting_of_capture_is_handed_on() -> None:
    """The keys of [collector], where the host's snapshots go, who started it, and as whom it goes on."""
    handed_on = {field.name for field in fields(Collecting)}

    assert handed_on == {*Collector.__struct_fields__, "host", "state", "database_url", "account", "parent"}
