"""What a process holds is free as soon as that process has ended, and no sooner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from detector.store.engine import open_store
from detector.store.holders import has_ended, this_process
from detector.store.outbox import StoredOutbox
from tests.notify.samples import enqueue, entries

if TYPE_CHECKING:
    from sqlalchemy import Engine

_NOW = datetime(2026, 3, 3, tzinfo=UTC)
_LEASE = timedelta(minutes=2)


def test_a_process_that_is_there_has_not_ended() -> None:
    """It names itself the same each time."""
    assert this_process() == this_process()
    assert not has_ended(this_process())


def test_a_number_that_another_process_has_by_now_is_not_the_same_process() -> None:
    """It has begun at another time."""
    assert has_ended(this_process() + "1")


def test_of_other_machines_and_containers_nobody_knows() -> None:
    """Their processes have the numbers of others here."""
    boot, host, namespace, user, process = this_process().split("/")
    assert not has_ended(f"another-boot/{host}/{namespace}/{user}/{process}1")
    assert not has_ended(f"{boot}/another/{namespace}/{user}/{process}1")
    assert not has_ended(f"{boot}/{host}/1/{user}/{process}1")
    assert not has_ended(f"{boot}/{host}/{namespace}/1{user}/{process}1")


def test_a_service_that_is_shown_nothing_but_processes_knows_all_the_same() -> None:
    """As `ProcSubset=pid` has it under systemd, where there is no /proc/sys."""
    asked = (
        "from detector.store.holders import has_ended, this_process; import os\n"
        "assert not os.path.exists('/proc/sys'), 'all of /proc is shown'\n"
        "print(has_ended(this_process()), has_ended(this_process() + '1'))"
    )
    alone = 'mount -t proc -o subset=pid proc /proc && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", alone, "sh", sys.executable, "-c", asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False True\n", "")


def test_what_was_under_way_at_a_kill_is_due_at_once(sqlite_engine: Engine) -> None:
    """Nobody waits for the end of its lease; what a process that is there has under way stays its own."""
    enqueue(sqlite_engine, channels=("mail", "slack"))
    url = sqlite_engine.url.render_as_string(hide_password=False)
    sqlite_engine.dispose()
    process = os.fork()
    if not process:
        taken = StoredOutbox(open_store(url)).claim("mail", now=_NOW, leased_until=_NOW + _LEASE, patience=3)
        os.kill(os.getpid(), signal.SIGKILL if taken else signal.SIGABRT)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    outbox = StoredOutbox(sqlite_engine)
    assert outbox.claim("slack", now=_NOW, leased_until=_NOW + _LEASE, patience=3)
    assert outbox.due_channels(_NOW) == []

    assert outbox.free_abandoned(_NOW) == 1

    assert outbox.due_channels(_NOW) == ["mail"]
    assert {each.channel: each.leased_until for each in entries(sqlite_engine)} == {
        "mail": None,
        "slack": _NOW + _LEASE,
    }
