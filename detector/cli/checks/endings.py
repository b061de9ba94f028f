"""What mutes, and ends within a day: then what it kept quiet is told again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from detector.cli.terminal import local
from detector.ruleset.endings import endings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.ruleset.load import LoadedRules
    from detector.store.alert_silences import Silence

SOON = timedelta(days=1)


def silences(listed: list[Silence], now: datetime) -> Iterator[tuple[str, str]]:
    """What is said of silences that end soon, each with the remedy."""
    for each in listed:
        if now < each.ends_at <= now + SOON:
            mutes = " ".join(map(str, each.matchers))
            yield (
                f"silence {each.silence_id} of {each.author} ends {local(each.ends_at)}: {each.reason}",
                f"if it is still wanted, make another one, of: {mutes}",
            )


def rules(loaded: LoadedRules) -> Iterator[tuple[str, str]]:
    """The same of filters, and of rules that are disabled until then."""
    now = datetime.now(UTC)
    for each in endings(loaded):
        if now < each.until <= now + SOON:
            yield f"{each.what} {each.title} ends {local(each.until)}", "if it is still wanted, set its end: until"
