"""Delivers an outbox by mail and is killed, again and again: for the tests of delivery.

    killed_delivery.py DATABASE MAIL_ADDRESS KILLS     kill -9 so often
    killed_delivery.py DATABASE MAIL_ADDRESS 0         until nothing waits any more

Prints a line for each notification that was under way at a kill, and for each whose answer did not come in time.

Each delivery is a process of its own, forked from one that has imported everything: what is killed is work, not its
start. Each begins with what the one before it had under way: nobody waits for the end of a lease.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from detector.domain import NotificationState
from detector.notify.apprise_notifier import AppriseNotifier
from detector.notify.outbox import deliver_channel
from detector.notify.retry import RetryPolicy
from detector.store.engine import open_store, reading
from detector.store.outbox import StoredOutbox
from detector.store.tables import notifications

LEASE = timedelta(minutes=10)
# None overtakes another, however often it fails.
POLICY = RetryPolicy(
    first_wait=timedelta(seconds=0.02), give_up_after=timedelta(days=365), lease=LEASE, patience=100_000
)
TIMEOUT_SECONDS = 3


def _deliver(database: str, address: str) -> None:
    engine = open_store(database)
    outbox, notifier = StoredOutbox(engine), AppriseNotifier("mail", address, TIMEOUT_SECONDS)
    outbox.free_abandoned(_now())

    while True:
        failure = deliver_channel(outbox, "mail", notifier, clock=_now, policy=POLICY).failure
        if failure is not None and ("timed out" in failure.error or "no answer" in failure.error):
            _say(late=[each.notification_id for each in failure.notifications])
        with reading(engine) as connection:
            waiting = select(func.count()).where(notifications.c.state == NotificationState.PENDING.value)
            if not connection.scalar(waiting):
                break
        time.sleep(0.01)
    engine.dispose()


def _now() -> datetime:
    return datetime.now(UTC)


def _say(**what: list[int]) -> None:
    # Whole or not at all: whoever says it may be killed.
    os.write(sys.stdout.fileno(), json.dumps(what).encode() + b"\n")


def main() -> None:
    """See above."""
    database, address, kills = sys.argv[1], sys.argv[2], int(sys.argv[3])
    chance = random.Random(kills)
    if not kills:
        _deliver(database, address)
    for _ in range(kills):
        process = os.fork()
        if not process:
            _deliver(database, address)
            os._exit(0)
        time.sleep(chance.uniform(0.05, 0.25))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        engine = open_store(database)
        with reading(engine) as connection:
            under_way = select(notifications.c.notification_id).where(
                notifications.c.state == NotificationState.PENDING.value, notifications.c.leased_until.is_not(None)
            )
            _say(killed=list(connection.scalars(under_way)))
        engine.dispose()


if __name__ == "__main__":
    main()
