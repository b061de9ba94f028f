"""A while without Python's search for cycles of objects."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def uncollected() -> Iterator[None]:
    """Puts it off until it is over.

    With 10,000s of rows at hand each search looks through half a million objects, of which none can go yet. It took a
    sixth of the time of such a snapshot, and where models were at work as long as they did.
    """
    searches = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searches:
            gc.enable()
