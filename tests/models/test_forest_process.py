"""Forests are grown and read in a process of their own."""

from __future__ import annotations

import functools
import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import wait
from threading import Thread, Timer
from typing import TYPE_CHECKING

import numpy as np
import pytest
from skops import io
from sqlalchemy import select

from detector.errors import EstimatorsError
from detector.models import isolation_forest, registry
from detector.models.estimators import HERE
from detector.models.features import FEATURES
from detector.models.forest_process import ForestProcess
from detector.models.scorer import HostScorer
from detector.store.engine import reading
from detector.store.tables import models
from tests.models.conftest import Watched, usual

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from detector.models.trees import Trees


@pytest.fixture(scope="module")
def forests() -> Iterator[ForestProcess]:
    process = ForestProcess()
    yield process
    process.close()


def _rows(seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(400, len(FEATURES))).astype(np.float32)


def _process(forests: ForestProcess) -> subprocess.Popen[bytes]:
    process = forests._process
    assert process is not None
    return process


def _same(one: Trees, other: Trees) -> bool:
    rows = _rows(9)
    return one.paths(rows).tolist() == other.paths(rows).tolist() and one.usual == other.usual


def test_a_forest_is_the_same_wherever_it_was_grown_and_read(forests: ForestProcess) -> None:
    """So that a replay in one process says what detection said in two."""
    here, there = isolation_forest.train(_rows()), isolation_forest.train(_rows(), forests)
    assert there.level == here.level
    assert _same(there.trees, here.trees)
    assert there.content is not None
    assert _same(HERE.read(there.content), here.trees)
    assert _same(forests.read(there.content), here.trees)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04 no more", "zip"),
        (io.dumps(functools.partial(print, "made")), "Untrusted types"),
        (io.dumps({"a": 1}), "not an isolation forest"),
    ],
)
def test_what_is_no_forest_is_refused_with_its_reason(forests: ForestProcess, content: bytes, reason: str) -> None:
    """The same as where it is read here; and the process goes on."""
    with pytest.raises(ValueError, match=reason):
        forests.read(content)
    assert _process(forests).poll() is None


def test_rows_of_which_no_forest_can_be_grown_are_a_fault(forests: ForestProcess) -> None:
    """It says why."""
    with pytest.raises(EstimatorsError, match=r"no forest was grown: .*0 sample"):
        forests.grow(np.zeros((0, len(FEATURES)), dtype=np.float32))


def test_a_process_that_was_killed_is_a_fault_and_is_started_anew(forests: ForestProcess) -> None:
    """Nothing is wrong with the forest; the next question is answered."""
    grown = forests.grow(_rows())
    process = _process(forests)
    process.kill()
    process.wait()
    assert _same(forests.read(grown.content), grown.trees)
    # And in the middle of a question: it hangs, and then is no more.
    process = _process(forests)
    process.send_signal(signal.SIGSTOP)
    Timer(0.1, process.kill).start()
    with pytest.raises(EstimatorsError, match="has ended by itself, with -9"):
        forests.read(grown.content)
    assert _same(forests.read(grown.content), grown.trees)


def test_it_ends_when_nothing_more_is_asked() -> None:
    """A process that detects holds no scikit-learn, and no process that does, for the hours between two trainings."""
    forests = ForestProcess(idle_seconds=0.5)
    forests.begin()
    process = _process(forests)
    process.wait(20)


def test_it_ends_with_the_process_that_asks() -> None:
    """Also if that is killed."""
    script = (
        "import os, signal\n"
        "from detector.models.forest_process import ForestProcess\n"
        "forests = ForestProcess()\n"
        "forests.begin()\n"
        "print(forests._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False).stdout
    with suppress(ProcessLookupError):  # it has ended already
        handle = os.pidfd_open(int(said))
        try:
            assert wait([handle], 20)
        finally:
            os.close(handle)


def test_one_that_hangs_is_killed() -> None:
    """However much it is asked: what finds no room on the way would be waited with for ever."""
    forests = ForestProcess(patience_seconds=0.3)
    forests.begin()
    _process(forests).send_signal(signal.SIGSTOP)
    with pytest.raises(EstimatorsError, match=r"did not answer in 0\.3 s"):
        forests.read(bytes(10_000_000))


def test_closing_waits_for_nobody() -> None:
    """A detector that is told to end does so within seconds."""
    forests = ForestProcess()
    forests.begin()
    _process(forests).send_signal(signal.SIGSTOP)

    def ask() -> None:
        with suppress(EstimatorsError, ValueError):
            forests.read(bytes(10_000_000))

    asking = Thread(target=ask)
    asking.start()
    forests.close()
    asking.join(20)
    forests.close()
    assert not asking.is_alive()


def test_who_asks_loads_no_scikit_learn() -> None:
    """It would keep 80 MB of it."""
    script = (
        "import sys\n"
        "import numpy as np\n"
        "from detector.models import isolation_forest, registry, scorer, training\n"
        "from detector.models.forest_process import ForestProcess\n"
        "from detector.models.features import FEATURES\n"
        "forests = ForestProcess()\n"
        "rows = np.random.default_rng(1).normal(size=(400, len(FEATURES))).astype(np.float32)\n"
        "forest = isolation_forest.train(rows, forests)\n"
        "forests.read(forest.content)\n"
        "forests.close()\n"
        "assert not {'sklearn', 'scipy', 'skops'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_process_that_cannot_be_started_takes_no_forest_out_of_force(
    quiet: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Scores are given without it, the log says why, and it is read when it can be."""
    monkeypatch.setattr("detector.apart.PYTHON", (str(tmp_path / "none"),))
    forests = ForestProcess()
    now = 0.0
    quiet.scorer = HostScorer(quiet.settings, trains=False, estimators=forests, clock=lambda: now)
    with caplog.at_level(logging.ERROR):
        observed = quiet.snapshot(*usual())
        quiet.snapshot(*usual())
    assert [each.p_forest for each in observed] == [None] * len(observed)
    assert [line.partition(":")[0] for line in caplog.messages] == ["no process to grow and read forests"]
    with reading(quiet.engine) as connection:
        assert connection.scalars(select(models.c.state)).all() == [registry.State.IN_FORCE]
    monkeypatch.undo()
    now += 61
    assert all(each.p_forest is not None for each in quiet.snapshot(*usual()))
    forests.close()
