"""A process that runs for months gives back what it does not use."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass

from detector.service.memory import GIVEN_BACK_SECONDS, Idle, settle


@dataclass
class _Clock:
    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


class _Ring:
    """Refers to itself, so that only a look through everything finds that nobody else does."""

    def __init__(self) -> None:
        self.me = self


def test_an_idle_process_gives_back_now_and_then() -> None:
    """What is free is given back when nothing is to be done, but not each time."""
    clock = _Clock()
    idle, ring = Idle(clock), _Ring()
    left = weakref.ref(ring)
    gc.disable()
    try:
        del ring
        clock.seconds = GIVEN_BACK_SECONDS - 1
        idle.notice()
        assert left() is not None
        clock.seconds = GIVEN_BACK_SECONDS
        idle.notice()
        assert left() is None
        ring = _Ring()
        left = weakref.ref(ring)
        del ring
        idle.notice()
        assert left() is not None
    finally:
        gc.enable()


def test_what_was_replaced_is_not_kept_for_good() -> None:
    """A second settling lets go of what the first one took for lasting."""
    ring = _Ring()
    left = weakref.ref(ring)
    try:
        settle()
        del ring
        gc.collect()
        assert left() is not None
        settle()
        assert left() is None
    finally:
        gc.unfreeze()
