"""What was learnt of each host, and what its scores found that nobody was told of by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from detector.amounts import numbered
from detector.cli.checks.check import doubtful, good

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.cli.checks.check import Check
    from detector.config import Settings

_LATELY = timedelta(days=7)


def models(settings: Settings) -> Iterator[Check]:
    """A line for each host: how far it is learnt, and by which forest it is scored."""
    from detector.cli.run import learning_text
    from detector.cli.store import stored
    from detector.models import registry, training
    from detector.models.scorer import learning
    from detector.store.filters import known_hosts

    with stored(settings) as connection:
        for host_id, host in known_hosts(connection).items():
            state, forest = learning(connection, host_id, settings.models), registry.in_force(connection, host_id)
            if not state.finished:
                yield doubtful("models", f"{host}: {learning_text(state)}")
            elif forest is None and (obstacle := training.obstacle(connection, host_id)):
                yield doubtful(
                    "models",
                    f"{host} is scored without the isolation forest: {obstacle}",
                    "nothing to do: one is trained as soon as it can be; if this stays, see: detector model list",
                )
            else:
                with_it = f", with version {forest.version} of its isolation forest" if forest else ""
                yield good("models", f"{host} is learnt and scored{with_it}")


def held(settings: Settings) -> Iterator[Check]:
    """A line for each day of the last week on which more was found than may be told."""
    from detector.cli.store import stored
    from detector.store.held_back import held_alerts

    with stored(settings) as connection:
        found = held_alerts(connection, since=datetime.now(UTC) - _LATELY)
    for each in found:
        yield doubtful(
            "alerts",
            f"{each.host}: {each.rule_title}: {numbered(each.finding_count, 'finding')}",
            "look at them: detector alerts list --held; if they are worth telling, raise models.most_alerts_per_day",
        )
