"""Forests are grown and read in a process of their own."""

from __future__ import annotations

import functools
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

import numpy as np
import pytest
from skops import io
from sqlalchemy import select

from detector.errors import EstimatorsError
from detector.models import isolation_forest, registry
from detector.models.apart import Apart
from detector.models.estimators import HERE
from detector.models.features import FEATURES
from detector.models.scorer import HostScorer
from detector.store.engine import reading
from detector.store.tables import models
from tests.models.conftest import Watched, usual

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from detector.models.trees import Trees


@pytest.fixture(scope="module")
def apart() -> Iterator[Apart]:
    process = Apart()
    yield process
    process.close()


def _rows(seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(400, len(FEATURES))).astype(np.float32)


def _process(apart: Apart) -> subprocess.Popen[bytes]:
    process = apart._process
    assert process is not None
    return process


def _same(one: Trees, other: Trees) -> bool:
    rows = _rows(9)
    return one.paths(rows).tolist() == other.paths(rows).tolist() and one.usual == other.usual


def test_a_forest_is_the_same_wherever_it_was_grown_and_read(apart: Apart) -> None:
    """So that a replay in one process says what detection said in two."""
    here, there = isolation_forest.train(_rows()), isolation_forest.train(_rows(), apart)
    assert there.level == here.level
    assert _same(there.trees, here.trees)
    assert there.content is not None
    assert _same(HERE.read(there.content), here.trees)
    assert _same(apart.read(there.content), here.trees)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04 no more", "zip"),
        (io.dumps(functools.partial(print, "made")), "Untrusted types"),
        (io.dumps({"a": 1}), "not an isolation forest"),
    ],
)
def test_what_is_no_forest_is_refused_with_its_reason(apart: Apart, content: bytes, reason: str) -> None:
    """The same as where it is read here; and the process goes on."""
    with pytest.raises(ValueError, match=reason):
        apart.read(content)
    assert _process(apart).poll() is None


def test_rows_of_which_no_forest_can_be_grown_are_a_fault(apart: Apart) -> None:
    """It says why."""
    with pytest.raises(EstimatorsError, match=r"no forest was grown: .*0 sample"):
        apart.grow(np.zeros((0, len(FEATURES)), dtype=np.float32))


def test_a_process_that_was_killed_is_a_fault_and_is_started_anew(apart: Apart) -> None:
    """Nothing is wrong with the forest; the next question is answered."""
    grown = apart.grow(_rows())
    process = _process(apart)
    process.kill()
    process.wait()
    assert _same(apart.read(grown.content), grown.trees)
    # And in the middle of a question: it hangs, and then is no more.
    process = _process(apart)
    process.send_signal(signal.SIGSTOP)
    Timer(0.1, process.kill).start()
    with pytest.raises(EstimatorsError, match="has ended by itself, with -9"):
        apart.read(grown.content)
    assert _same(apart.read(grown.content), grown.trees)


def test_it_ends_when_nothing_more_is_asked() -> None:
    """A process that detects holds no scikit-learn, and no process that does, for the hours between two trainings."""
    apart = Apart(idle_seconds=0.5)
    apart.begin()
    process = _process(apart)
    until = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    assert process.returncode is not None


def test_it_ends_with_the_process_that_asks() -> None:
    """Also if that is killed."""
    script = (
        "import os, signal\n"
        "from detector.models.apart import Apart\n"
        "apart = Apart()\n"
        "apart.begin()\n"
        "print(apart._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False).stdout
    until = time.monotonic() + 20
    while _runs(int(said)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _runs(int(said))


def _runs(pid: int) -> bool:
    try:
        return "apart_process" in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


def test_who_asks_loads_no_scikit_learn() -> None:
    """It would keep 80 MB of it."""
    script = (
        "import sys\n"
        "import numpy as np\n"
        "from detector.models import isolation_forest, registry, scorer, training\n"
        "from detector.models.apart import Apart\n"
        "from detector.models.features import FEATURES\n"
        "apart = Apart()\n"
        "rows = np.random.default_rng(1).normal(size=(400, len(FEATURES))).astype(np.float32)\n"
        "forest = isolation_forest.train(rows, apart)\n"
        "apart.read(forest.content)\n"
        "apart.close()\n"
        "assert not {'sklearn', 'scipy', 'skops'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_process_that_cannot_be_started_takes_no_forest_out_of_force(
    quiet: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Scores are given without it, the log says why, and it is read when it can be."""
    monkeypatch.setattr("detector.apart.PYTHON", (str(tmp_path / "none"),))
    apart = Apart()
    quiet.scorer = HostScorer(quiet.settings, trains=False, estimators=apart)
    with caplog.at_level(logging.ERROR):
        observed = quiet.snapshot(*usual())
        quiet.snapshot(*usual())
    assert [each.p_forest for each in observed] == [None] * len(observed)
    assert [line.partition(":")[0] for line in caplog.messages] == ["no process to grow and read forests"]
    with reading(quiet.engine) as connection:
        assert connection.scalars(select(models.c.state)).all() == [registry.State.IN_FORCE]
    monkeypatch.undo()
    monkeypatch.setattr("detector.models.scorer.time.monotonic", lambda: time.time() + 3600)
    assert all(each.p_forest is not None for each in quiet.snapshot(*usual()))
    apart.close()
