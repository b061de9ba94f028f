"""Faults of what is around the service: the clock, the kernel, the network, and what people write."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tests.torture.fault import Fault
from tests.torture.mailbox import CLOSES, HANGS, LATER, NEVER, TAKES
from tests.torture.world import MAP_ENTRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from random import Random

    from tests.torture.world import World

_MINUTE, _DAY = 60, 86_400


@contextmanager
def _flood(world: World, _: Random) -> Iterator[None]:
    """Four times as many destinations as there is room for."""
    world.flood(4, MAP_ENTRIES)
    yield


def _clock(*seconds: int) -> Callable[[World, Random], AbstractContextManager[None]]:
    @contextmanager
    def inflict(world: World, random: Random) -> Iterator[None]:
        world.within.set_clock(random.choice(seconds))
        yield
        world.within.set_clock(0)

    return inflict


@contextmanager
def _detached(world: World, _: Random) -> Iterator[None]:
    """Until the collector is started again."""
    collector = world.role("collect")
    with suppress(FileNotFoundError, ProcessLookupError):
        if collector is not None:
            world.within.detach(collector)
    yield
    world.kill("collect")


def _mail(mood: str) -> Callable[[World, Random], AbstractContextManager[None]]:
    @contextmanager
    def inflict(world: World, _: Random) -> Iterator[None]:
        world.mailbox.mood = mood
        yield
        world.mailbox.mood = TAKES

    return inflict


@contextmanager
def _mail_server_gone(world: World, _: Random) -> Iterator[None]:
    world.mailbox.close()
    yield
    world.mailbox.start()


@contextmanager
def _written_wrongly(path: Path, wrong: bytes) -> Iterator[None]:
    right = path.read_bytes()
    path.write_bytes(wrong)
    try:
        yield
    finally:
        path.write_bytes(right)


@contextmanager
def _rule_broken(world: World, random: Random) -> Iterator[None]:
    path = world.rules / "mark.yml"
    right = path.read_bytes()
    with _written_wrongly(path, random.choice((right[: len(right) // 2], random.randbytes(500), b"title: [\n"))):
        yield


@contextmanager
def _configuration_broken(world: World, random: Random) -> Iterator[None]:
    """Nobody reads it again before a role is started, which it is."""
    right = world.config.read_bytes()
    with _written_wrongly(world.config, random.choice((b"[collector\n", right + b"\n[alerts]\ncooldown = 1\n"))):
        world.kill(random.choice(("collect", "detect")))
        yield


_SET = "Clock was set"
_UNSENT = r"could not be sent to mail"
SURROUNDINGS = (
    Fault("a flood of keys", _flood, said=r"FOLDED", alert="Connects counted without their destinations"),
    Fault("the clock set by minutes", _clock(-10 * _MINUTE, 10 * _MINUTE), said=r"CLOCK SET by", alert=_SET,
          seconds=(2.0, 6.0)),
    Fault("the clock set by days", _clock(-2 * _DAY, 2 * _DAY), said=r"CLOCK SET by", alert=_SET, seconds=(2.0, 6.0)),
    Fault("the clock set a year ahead", _clock(365 * _DAY), said=r"CLOCK SET by", alert=_SET, seconds=(6.0, 12.0)),
    Fault("the kernel programs detached", _detached, said=r"BLIND since", alert="Capture is blind", seconds=(2.5, 5.0)),
    Fault("the mail server hangs", _mail(HANGS), said=_UNSENT, seconds=(4.0, 9.0)),
    Fault("the mail server answers 4xx", _mail(LATER), said=_UNSENT, seconds=(4.0, 9.0)),
    Fault("the mail server answers 5xx", _mail(NEVER), said=_UNSENT, seconds=(4.0, 9.0)),
    Fault("the mail server closes connections", _mail(CLOSES), said=_UNSENT, seconds=(4.0, 9.0)),
    Fault("the mail server gone", _mail_server_gone, said=_UNSENT, seconds=(4.0, 9.0)),
    Fault("a rule file broken", _rule_broken, said=r"mark\.yml", alert="Rule files are refused", seconds=(18.0, 22.0)),
    Fault("the configuration broken, and a role started", _configuration_broken, said=r"starting it again in",
          seconds=(3.0, 5.0)),
)  # fmt: skip
"""Of what is around it."""
