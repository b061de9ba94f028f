"""What a fault is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from random import Random

    from tests.torture.world import World


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong with a world for a while, and is right again afterwards."""

    name: str
    inflict: Callable[[World, Random], AbstractContextManager[None]]
    """For as long as the context lasts."""
    said: str
    """A regular expression: the service says so, if not at once, then when it is over."""
    alert: str = ""
    """The title of the rule that tells people, besides."""
    seconds: tuple[float, float] = (0.5, 4.0)
    """How long it lasts."""
    forgets: bool = False
    """The store begins anew."""
    on_sqlite: bool = True
    on_postgres: bool = True
