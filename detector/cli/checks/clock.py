"""The clock: whether something keeps it right. Times of what was seen are worth no more than it is."""

from __future__ import annotations

import ctypes
from datetime import timedelta
from typing import TYPE_CHECKING

from detector.cli.checks.check import bad, doubtful, good
from detector.cli.terminal import local

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from detector.cli.checks.check import Check
    from detector.store.liveness import Liveness

# adjtimex(2): the state of a clock that nothing keeps right.
_TIME_ERROR = 5
# struct timex takes 208 bytes on 64-bit machines, and less on others; modes 0 changes nothing.
_TIMEX_BYTES = 512
_KEEP = "have it kept right: apt-get install chrony, or timedatectl set-ntp true"
# More is no matter of how long an answer takes.
_APART = timedelta(seconds=2)


def clock() -> Iterator[Check]:
    """What the kernel says of it."""
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    if state < 0:
        yield doubtful("clock", "the kernel does not say whether it is kept right")
    elif state == _TIME_ERROR:
        yield doubtful("clock", "nothing keeps it right, as far as the kernel knows", _KEEP)
    else:
        yield good("clock", "is kept right, as far as the kernel knows")


def against(database: datetime | None, hosts: Sequence[Liveness], now: datetime) -> Iterator[Check]:
    """What others' clocks say: that of a database server, and those of the hosts whose snapshots are stored."""
    if database is not None and abs(database - now) > _APART:
        apart = (database - now).total_seconds()
        yield bad("clock", f"the database's is {abs(apart):.0f} s {'ahead' if apart > 0 else 'behind'}", _KEEP)
    for host in hosts:
        if host.captured_until - now > _APART:
            until = local(host.captured_until)
            yield bad("clock", f"the last snapshot of {host.host} is of {until}, which is to come", _KEEP)
