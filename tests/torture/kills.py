"""Faults of processes: ended, stopped, or without what they need."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.torture.fault import Fault
from tests.torture.world import ROLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from random import Random

    from tests.torture.world import World

_DESCRIPTORS = 1024
_LITTLE_BYTES = 8_000_000
_STARTED_AGAIN = r"(collect|detect) .*starting it again in"


def _killed(role: str) -> Callable[[World, Random], AbstractContextManager[None]]:
    @contextmanager
    def inflict(world: World, _: Random) -> Iterator[None]:
        world.kill(role)
        yield

    return inflict


@contextmanager
def _all_killed(world: World, _: Random) -> Iterator[None]:
    """As when the power goes, but for the disk. Whoever manages services starts it again."""
    for pid in world.group.processes():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert world.service
    world.service.wait()
    yield
    world.revive()


@contextmanager
def _watcher_killed(world: World, _: Random) -> Iterator[None]:
    """The process that watches both: they end with it, in order."""
    assert world.service
    world.service.kill()
    world.service.wait()
    yield
    world.revive()


@contextmanager
def _stopped(world: World, random: Random) -> Iterator[None]:
    pid = world.role(random.choice(ROLES))
    if pid is None:
        yield
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    yield
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


@contextmanager
def _no_descriptors(world: World, random: Random) -> Iterator[None]:
    """A role can open nothing more than it has open."""
    pid = world.role(random.choice(ROLES))
    with suppress(FileNotFoundError, ProcessLookupError):
        if pid is not None:
            _allow_descriptors(world, pid, 1 + max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()))
    yield
    if pid is not None:
        _allow_descriptors(world, pid, _DESCRIPTORS)


def _allow_descriptors(world: World, pid: int, number: int) -> None:
    # As its account: root need not have the right to do so to others.
    become = ["setpriv", "--reuid", world.account, "--regid", world.account, "--clear-groups"]
    # It may have ended.
    subprocess.run([*become, "prlimit", f"--nofile={number}:", f"--pid={pid}"], check=False, stderr=subprocess.DEVNULL)


@contextmanager
def _no_memory(world: World, _: Random) -> Iterator[None]:
    """The group has a little more than it takes just now, and a role is started, which takes more."""
    world.group.limit(_LITTLE_BYTES)
    world.kill("detect")
    yield
    world.group.release()
    world.revive()


KILLS = (
    Fault("kill -9 of collect", _killed("collect"), said=r"collect was ended by signal 9"),
    Fault("kill -9 of detect", _killed("detect"), said=r"detect was ended by signal 9"),
    Fault("kill -9 of the process that watches both", _watcher_killed, said=r"watching the connects"),
    Fault("kill -9 of all processes at once", _all_killed, said=r"watching the connects"),
    Fault("SIGSTOP of a role", _stopped, said=r"", seconds=(2.0, 8.0)),
    Fault("no file descriptors left", _no_descriptors, said=r"", seconds=(3.0, 8.0)),
    Fault("no memory left", _no_memory, said=_STARTED_AGAIN, seconds=(5.0, 9.0)),
)
"""Of processes."""
