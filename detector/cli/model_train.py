"""`detector model train`: trains forests now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from detector.cli.model_hosts import chosen_hosts
from detector.cli.parameters import HostName
from detector.cli.terminal import note, print_json, say
from detector.errors import ModelError

if TYPE_CHECKING:
    from detector.config import Settings
    from detector.models.training import Outcome


@click.command()
@click.option("--host", type=HostName(), help="Only of this host. Default: of all.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects, one for each host.")
@click.pass_obj
def train(settings: Settings, /, host: str | None, *, as_json: bool) -> None:
    """Train the isolation forest of each host now, and put it in force if it does no worse.

    `detector detect` does so by itself, every `models.train_every_hours`. It goes on beside this, and nothing waits.
    The exit code is 1 if no forest could be trained for any of the hosts.

    \b
    Examples:
      detector model train
      detector model train --host bastion-1
    """
    from detector.service.training import described, train_host
    from detector.store.engine import open_store, reading
    from detector.store.migrating import check_current

    engine = open_store(settings.database_url)
    objects, failed = [], []
    try:
        check_current(engine)
        with reading(engine) as connection:
            hosts = chosen_hosts(connection, host)
        for number, (host_id, name) in enumerate(hosts.items(), start=1):
            note(f"{name} ({number} of {len(hosts)}) …")
            outcome = train_host(engine, host_id, settings.models)
            if outcome is None or outcome.version is None:
                failed.append(name)
            objects.append(_as_object(name, outcome))
            if not as_json:
                say(described(name, outcome) if outcome else f"{name}: another worker is training it right now")
    finally:
        engine.dispose()
    if as_json:
        print_json(objects)
    elif not hosts:
        note("nothing is stored yet: there is no host to train for")
    if failed:
        raise ModelError(
            f"no forest was trained for {len(failed)} of {len(hosts)} hosts: {', '.join(failed)}",
            hint="why, is said above for each",
        )


def _as_object(host: str, outcome: Outcome | None) -> dict[str, Any]:
    return {
        "host": host,
        "version": outcome.version if outcome else None,
        "in_force": outcome.accepted if outcome else False,
        "reason": outcome.reason if outcome else "another worker is training it right now",
        "figures": outcome.figures if outcome else None,
    }
