"""`[log]`: how the long-running roles say what they do, and how much of it."""

from __future__ import annotations

from detector.config_section import Section
from detector.log import Format, Level


class Log(Section, frozen=True):
    """What `run`, `collect` and `detect` say."""

    format: Format = Format.AUTO
    """`text`, `json` (an object a line), `journal` (systemd's, with fields); `auto`: that under systemd, else text."""
    level: Level = Level.AUTO
    """The least that is said: `debug` (each snapshot), `info`, `warning`, `error`; `auto`: debug in text, else info."""
