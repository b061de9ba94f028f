"""Runs `detect` on a database and kills it, again and again: for the test of crash safety.

    killed_detect.py CONFIG TIMES     starts and kills -9 it TIMES times, then lets it catch up
    killed_detect.py CONFIG 0         lets it catch up, undisturbed

Each `detect` is a process of its own, forked from one that has imported everything: what is killed is work, not its
start.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from detector import config
from detector.pipeline import hosts_behind
from detector.service import detecting
from detector.store.engine import open_store

if TYPE_CHECKING:
    from detector.pipeline import Detected


# What `detect` imports when it starts.
for module in ("models.scorer", "models.isolation_forest", "notify.apprise_notifier", "ruleset.load", "alerts.book"):
    import_module(f"detector.{module}")


class _Silent:
    def kept(self, message: str) -> None:
        """Nothing to say."""

    def trained(self, message: str) -> None:
        """Nothing to say."""

    def detected(self, detected: Detected) -> None:
        """Nothing to say."""

    def fault(self, message: str) -> None:
        """Faults are failures here, unless they tell of a lock."""
        print(message, file=sys.stderr, flush=True)


def _child(settings: config.Settings) -> int:
    process = os.fork()
    if process:
        return process
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    detecting.detect(settings, stop, _Silent())
    os._exit(0)


def main() -> None:
    """See above."""
    settings = config.load(Path(sys.argv[1]), {})
    chance = random.Random(7)
    for _ in range(int(sys.argv[2])):
        process = _child(settings)
        time.sleep(chance.uniform(0.02, 0.25))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    process = _child(settings)
    engine = open_store(settings.database_url)
    written = Path(settings.state) / "written"
    while not written.exists() or hosts_behind(engine):
        time.sleep(0.1)
        assert os.waitpid(process, os.WNOHANG) == (0, 0), "detect ended by itself"
    os.kill(process, signal.SIGTERM)
    assert os.waitpid(process, 0)[1] == 0


if __name__ == "__main__":
    main()
