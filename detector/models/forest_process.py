"""Grows and reads forests in a process of its own, which ends when nothing more is asked of it.

scikit-learn and skops take 80 MB, of which a process that detects would hold on to all for a second's work in six
hours; growing does not slow down detection by the interpreter's lock; and what was read from the store is looked into
where it can do little harm.
"""

from __future__ import annotations

import io
import subprocess
import tempfile
import zlib
from contextlib import suppress
from dataclasses import fields
from multiprocessing.connection import Connection, Pipe
from threading import Event, Lock, Timer
from typing import IO, TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from detector.apart import command, surroundings
from detector.errors import EstimatorsError
from detector.models.estimators import Grown
from detector.models.trees import Trees
from detector.visible import visible

if TYPE_CHECKING:
    import numpy.typing as npt

GROW, READ = b"grow", b"read"
"""What is asked, before what it is asked about: an array of rows as numpy writes it, or what the store holds."""
DONE, REFUSED = b"done", b"no: "
"""How it is answered: with arrays as numpy writes them, or with a reason as UTF-8."""

_IDLE_SECONDS = 30.0
# Starting takes a second or two, growing a tenth of one; on a machine that is busy many times as much.
_PATIENCE_SECONDS = 60.0
_LAST_SECONDS = 2.0
_REASON_LIMIT = 300
_HINT = "nothing to do: it is tried again; if it lasts, look for what kills processes here, such as too little memory"
_CONTENT = "content"
_NO_TREES = "what came of it are no trees"
# A forest takes one or two megabytes.
_LONGEST_ANSWER = 100_000_000


class ForestProcess:
    """The process, started when it is needed.

    Args:
        idle_seconds: when it ends after the last that was asked of it.
        patience_seconds: when it is killed if it does not answer.
    """

    def __init__(self, idle_seconds: float = _IDLE_SECONDS, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self._idle_seconds, self._patience_seconds = idle_seconds, patience_seconds
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[bytes, bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._timer: Timer | None = None

    def begin(self) -> None:
        """Starts it without waiting for it, so that it is ready when it is asked.

        Raises:
            EstimatorsError: it cannot be started.
        """
        with self._lock:
            self._start()
            self._wait_idle()

    def grow(self, rows: npt.NDArray[np.float32]) -> Grown:
        """A forest fitted on rows (n, len(FEATURES)); the same for the same rows.

        Raises:
            EstimatorsError: the process did not do it.
        """
        asked = io.BytesIO()
        np.save(asked, rows, allow_pickle=False)
        try:
            arrays = self._ask(GROW + asked.getbuffer())
            return Grown(content=arrays[_CONTENT].tobytes(), trees=_trees(arrays))
        except (KeyError, ValueError) as fault:
            raise EstimatorsError(f"no forest was grown: {fault}", hint=_HINT) from fault

    def read(self, content: bytes) -> Trees:
        """The trees of what the store holds, which may be anything.

        Raises:
            EstimatorsError: the process did not do it.
            ValueError: it is no forest; with the reason, as printable text.
        """
        return _trees(self._ask(READ + content))

    def close(self) -> None:
        """Ends it at once: whoever is asking it is told that it did not answer."""
        if (process := self._process) is not None:
            process.kill()
        self._hang_up()

    def _hang_up(self) -> None:
        """It ends when it has nothing to do; nobody is asking it."""
        with self._lock:
            self._end()

    def _ask(self, question: bytes) -> dict[str, npt.NDArray[Any]]:
        with self._lock:
            answer = self._answer(question)
        kind, rest = answer[: len(DONE)], answer[len(DONE) :]
        if kind == REFUSED:
            raise ValueError(visible(rest.decode("utf-8", "backslashreplace"), _REASON_LIMIT))
        try:
            with np.load(io.BytesIO(rest), allow_pickle=False) as arrays:
                return dict(arrays)
        except (AttributeError, TypeError, OSError, EOFError, BadZipFile, zlib.error) as fault:
            raise ValueError(_NO_TREES) from fault

    def _answer(self, question: bytes) -> bytes:
        connection = self._start()
        process = self._process
        assert process is not None  # noqa: S101 - it was just started
        late = Event()

        def kill() -> None:
            late.set()
            process.kill()

        # Also while it is asked: a process that is stopped takes no more than finds room on the way.
        watch = Timer(self._patience_seconds, kill)
        watch.daemon = True
        watch.start()
        try:
            connection.send_bytes(question)
            answer = connection.recv_bytes(_LONGEST_ANSWER)
        except (OSError, EOFError) as fault:
            said, code = self._said(), self._end()
            ended = f"has ended by itself, with {code}{said}"
            reason = f"did not answer in {self._patience_seconds:g} s" if late.is_set() else ended
            raise EstimatorsError(f"the process that grows and reads forests {reason}", hint=_HINT) from fault
        finally:
            watch.cancel()
        self._wait_idle()
        return answer

    def _said(self) -> str:
        """The last line of what it said, with a colon before it; empty: nothing."""
        if self._errors is None:
            return ""
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "backslashreplace").strip().splitlines()
        return f": {visible(lines[-1], _REASON_LIMIT)}" if lines else ""

    def _start(self) -> Connection[bytes, bytes]:
        if self._connection is not None and self._process is not None and self._process.poll() is None:
            return self._connection
        self._end()
        ours, theirs = Pipe()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603  our own module
                    command("detector.models.forest_process_main", str(theirs.fileno())),
                    pass_fds=[theirs.fileno()],
                    env=surroundings(OPENBLAS_NUM_THREADS="1"),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._errors,
                    # Ctrl-C is for the process that asks it.
                    start_new_session=True,
                )
            except OSError as fault:
                ours.close()
                reason = f"no process to grow and read forests: {fault.strerror}"
                raise EstimatorsError(reason, hint=_HINT) from fault
        self._connection = ours
        return ours

    def _wait_idle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = Timer(self._idle_seconds, self._hang_up)
        self._timer.daemon = True
        self._timer.start()

    def _end(self) -> int | None:
        """Ends it, if it has not ended; its exit code."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connection is not None:
            # It reads no more, and ends.
            self._connection.close()
            self._connection = None
        if self._errors is not None:
            self._errors.close()
            self._errors = None
        if self._process is None:
            return None
        process, self._process = self._process, None
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_LAST_SECONDS)
        process.kill()
        return process.wait()


def arrays_of(trees: Trees, content: bytes = b"") -> dict[str, npt.NDArray[Any]]:
    """Trees, and what the store keeps of them, as arrays by name."""
    arrays = {field.name: np.asarray(getattr(trees, field.name)) for field in fields(Trees)}
    return arrays | {_CONTENT: np.frombuffer(content, dtype=np.uint8)}


def _trees(arrays: dict[str, npt.NDArray[Any]]) -> Trees:
    """Raises ValueError if they are none: who has read what anybody may have written is not believed."""
    try:
        trees = Trees(
            roots=arrays["roots"].astype(np.int32, casting="safe"),
            feature=arrays["feature"].astype(np.int32, casting="safe"),
            threshold=arrays["threshold"].astype(np.float64, casting="safe"),
            children=arrays["children"].astype(np.int32, casting="safe"),
            path=arrays["path"].astype(np.float64, casting="safe"),
            levels=int(arrays["levels"]),
            usual=float(arrays["usual"]),
        )
        sound = trees.are_sound()
    except (KeyError, TypeError, ValueError, IndexError) as fault:
        raise ValueError(_NO_TREES) from fault
    if not sound:
        raise ValueError(_NO_TREES)
    return trees
