"""`detector model rollback`: puts an earlier forest in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from detector.cli.model_hosts import the_host
from detector.cli.parameters import HostName
from detector.cli.terminal import say
from detector.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.config import Settings
    from detector.models.registry import ModelVersion


@click.command()
@click.argument("version", type=click.IntRange(1, 2**63 - 1), required=False)
@click.option("--host", type=HostName(), help="Of this host. Needed if there are several.")
@click.pass_obj
def rollback(settings: Settings, /, version: int | None, host: str | None) -> None:
    """Put an earlier forest of a host in force; without VERSION the one that was before.

    It is loaded first, and refused if it cannot be. Running detectors use it from the next snapshot on. The next
    training compares with it: a new forest takes its place if it does no worse than this one.

    \b
    Examples:
      detector model rollback
      detector model rollback 3 --host bastion-1
    """
    from detector.models import registry
    from detector.store.engine import open_store, writing
    from detector.store.migrating import check_current

    engine = open_store(settings.database_url)
    try:
        check_current(engine)
        with writing(engine) as connection:
            host_id, name = the_host(connection, host)
            chosen = _chosen(registry.versions(connection, host_id), version, name)
            registry.load(connection, host_id, chosen)
            registry.put_in_force(connection, host_id, chosen.version, f"rolled back to version {chosen.version}")
    finally:
        engine.dispose()
    say(f"{name}: forest {chosen.version} is in force")


def _chosen(versions: Sequence[ModelVersion], version: int | None, host: str) -> ModelVersion:
    from detector.models.registry import State

    known = ", ".join(str(each.version) for each in versions) or "none"
    current = next((each for each in versions if each.state is State.IN_FORCE), None)
    if version is None:
        newest = current.version if current else 1 + max((each.version for each in versions), default=0)
        before = (each for each in versions if each.version < newest and each.state is State.REPLACED)
        chosen = next(before, None)
        if chosen is None:
            raise DetectorError(f"{host} has no forest that was in force before", hint=f"stored are: {known}")
        return chosen
    chosen = next((each for each in versions if each.version == version), None)
    if chosen is None:
        raise DetectorError(f"{host} has no forest {version}", hint=f"stored are: {known}")
    if chosen is current:
        raise DetectorError(f"forest {version} of {host} is in force already", hint=f"stored are: {known}")
    return chosen
