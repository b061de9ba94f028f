"""Keeps a process that runs for months small."""

from __future__ import annotations

import ctypes
import gc
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

GIVEN_BACK_SECONDS = 600.0
"""How often a process that always has a little to do gives back what is free."""

# glibc's; other C libraries have none.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def settle() -> None:
    """To be called when everything is imported: what is there now stays, and need never be looked through again. Once
    more when much of it was replaced.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Returns to the kernel what is free. After a snapshot of 10,000s of keys that is most of what the process has."""
    # Empties the interpreter's lists of spare objects as well, each of which may keep a megabyte from being returned.
    gc.collect()
    if _trim is not None:
        _trim(0)


class Idle:
    """Gives back what is free now and then, when there is nothing else to do: it takes some 0.1 s."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, of any beginning."""
        self._clock = clock
        self._given_back = clock()

    def notice(self) -> None:
        """There is nothing to do at the moment."""
        now = self._clock()
        if now - self._given_back >= GIVEN_BACK_SECONDS:
            give_back()
            self._given_back = now
