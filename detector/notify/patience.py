"""Calls that are waited for only so long."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Patience(Generic[T]):
    """Makes calls in a thread, since neither the look-up of a name nor an answer that trickles in is bounded by the
    timeout of a socket. One that never ends is left alone, and does not keep the process from ending.

    The thread is kept for the next call: most of them are short, and a thousand may follow.

    Args:
        name: of the thread.
        seconds: the longest to wait.
    """

    def __init__(self, name: str, seconds: float) -> None:
        self._name, self._seconds = name, seconds
        self._calls: SimpleQueue[Callable[[], None] | None] | None = None

    def call(self, function: Callable[[], T]) -> T:
        """What a function gives. One call at a time.

        Raises:
            TimeoutError: it has not ended in time.
            Exception: whatever it raises.
        """
        answers: SimpleQueue[tuple[T | None, Exception | None]] = SimpleQueue()

        def answer() -> None:
            try:
                answers.put((function(), None))
            except Exception as fault:  # noqa: BLE001  raised below
                answers.put((None, fault))

        if self._calls is None:
            self._calls = SimpleQueue()
            Thread(target=_work, args=(self._calls,), name=self._name, daemon=True).start()
        self._calls.put(answer)
        try:
            given, fault = answers.get(timeout=self._seconds)
        except Empty:
            # The thread ends when the call does.
            self._calls.put(None)
            self._calls = None
            raise TimeoutError from None
        if fault is not None:
            raise fault
        return given  # type: ignore[return-value]


def _work(calls: SimpleQueue[Callable[[], None] | None]) -> None:
    while (call := calls.get()) is not None:
        call()
