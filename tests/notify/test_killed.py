"""Delivery loses nothing and doubles nothing, whatever becomes of it and of the mail server."""

from __future__ import annotations

from itertools import chain, cycle
from typing import TYPE_CHECKING

from detector.domain import NotificationState
from tests.notify.samples import enqueue, entries
from tests.notify.unruly import ANSWERS, HANGS, UnrulyServer, check, kill

if TYPE_CHECKING:
    from sqlalchemy import Engine


def test_twenty_kills_and_an_unruly_server_lose_and_double_nothing(sqlite_engine: Engine) -> None:
    """kill -9 twenty times while the server refuses, hangs, closes, answers 4xx and 5xx: all mails arrive, in order.

    At least once: the one mail that is under way at a kill may come twice, since nobody knows whether it arrived.
    """
    titles = [f"n{number:04}" for number in range(60)]
    enqueue(sqlite_engine, titles=titles)
    database = sqlite_engine.url.render_as_string(hide_password=False)
    server = UnrulyServer(turns=chain([*ANSWERS, HANGS], cycle(ANSWERS)))
    with server.running():
        said = kill(database, server, 8)
    said += kill(database, server, 2)
    with server.running():
        said += kill(database, server, 10)
        said += kill(database, server, 0)
    assert sum("killed" in each for each in said) == 20
    assert set(server.answered) == {*ANSWERS, HANGS}
    check(titles, server, said)
    stored = entries(sqlite_engine)
    assert len(stored) == len(titles)
    assert {each.state for each in stored} == {NotificationState.DELIVERED}
