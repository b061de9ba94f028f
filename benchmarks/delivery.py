"""Notifications are delivered: 1,000 of them by mail, and 1,000 more while delivery is killed and the server unruly."""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from email import message_from_bytes, policy
from itertools import chain, cycle
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from benchmarks.servers import mailbox, postgres
from detector.notify.apprise_notifier import AppriseNotifier
from detector.notify.outbox import deliver_channel
from detector.store.engine import open_store
from detector.store.migrating import upgrade
from detector.store.outbox import StoredOutbox
from tests.notify.samples import POLICY, enqueue, entries
from tests.notify.unruly import ANSWERS, HANGS, UnrulyServer, check, kill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

_MAILS = 1000
_KILLS = 20
_TITLES = [f"n{number:04}" for number in range(_MAILS)]


def measure() -> Iterator[Figure]:
    """On SQLite and on Postgres, to a server in a process of its own; then with kills, on SQLite."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stores = {
            "SQLite": f"sqlite:///{folder}/outbox.db",
            "Postgres": stack.enter_context(postgres())[0],
        }
        for name, url in stores.items():
            yield _rate(url, name)
        yield from _killed(f"sqlite:///{folder}/killed.db")


def _rate(url: str, name: str) -> Figure:
    engine = open_store(url)
    upgrade(engine)
    enqueue(engine, titles=_TITLES)
    with _server() as (address, received):
        notifier = AppriseNotifier("mail", address, 15)
        began, worked = time.perf_counter(), time.process_time()
        done = deliver_channel(StoredOutbox(engine), "mail", notifier, clock=lambda: datetime.now(UTC), policy=POLICY)
        took, worked = time.perf_counter() - began, time.process_time() - worked
        arrived = received()
    engine.dispose()
    assert done.delivered == _MAILS, done
    assert arrived == _TITLES, "not all of them, or not in order"
    note = f"{1000 * worked / _MAILS:.1f} ms of processor time each"
    return Figure(f"1,000 notifications through a local SMTP server, {name}", _MAILS / took, "/s", note)


def _killed(url: str) -> Iterator[Figure]:
    engine = open_store(url)
    upgrade(engine)
    enqueue(engine, titles=_TITLES)
    server = UnrulyServer(turns=chain([*ANSWERS, HANGS], cycle(ANSWERS)))
    with server.running():
        said = kill(url, server, _KILLS // 2)
    said += kill(url, server, 2)
    with server.running():
        said += kill(url, server, _KILLS // 2 - 2)
        said += kill(url, server, 0)
    check(_TITLES, server, said)
    delivered = sum(each.state == "delivered" for each in entries(engine))
    engine.dispose()
    note = "the server: " + ", ".join(f"{number} times {turn or 'closes'}" for turn, number in server.answered.items())
    yield Figure("delivered of 1,000, while delivery is killed 20 times and the server is unruly", delivered, "", note)
    yield Figure("mails that came twice: each was under way at a kill", len(server.taken) - _MAILS, "")


@contextmanager
def _server() -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """The address of a mailbox, and what gives the titles of the mails in it."""
    ours, its = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_serve, args=(its,), daemon=True)
    process.start()
    address = ours.recv()

    def received() -> list[str]:
        ours.send(None)
        titles: list[str] = ours.recv()
        return titles

    try:
        yield address, received
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection) -> None:
    asyncio.run(_served(pipe))


async def _served(pipe: Connection) -> None:
    taken: list[bytes] = []
    server = await mailbox(taken)
    port = server.sockets[0].getsockname()[1]
    pipe.send(f"mailto://127.0.0.1:{port}/?from=detector@example.com&to=ops@example.com")
    await asyncio.to_thread(pipe.recv)
    mails = (message_from_bytes(each, policy=policy.default) for each in taken)
    pipe.send([str(mail["Subject"]).rpartition(" ")[2] for mail in mails])
