"""A call that does not end is left alone, and the next one has its turn."""

from __future__ import annotations

import threading

import pytest

from detector.notify.patience import Patience


def test_calls_give_what_their_functions_give() -> None:
    """One after another, all in one thread, which is not the caller's."""
    patience: Patience[int] = Patience("test", 10)

    assert len({patience.call(threading.get_ident) for _ in range(3)} - {threading.get_ident()}) == 1


def test_what_a_function_raises_is_raised() -> None:
    """As if it had been called here; the next one is called all the same."""
    patience: Patience[float] = Patience("test", 10)

    with pytest.raises(ZeroDivisionError):
        patience.call(lambda: 1 / 0)
    assert patience.call(lambda: 2.0) == 2.0


def test_a_call_that_does_not_end_holds_up_none_after_it() -> None:
    """It is waited for as long as was said; its thread ends when it does."""
    patience: Patience[bool] = Patience("test of one that hangs", 0.05)
    end = threading.Event()

    with pytest.raises(TimeoutError):
        patience.call(end.wait)
    assert patience.call(lambda: True)

    (hung, _) = (each for each in threading.enumerate() if each.name == "test of one that hangs")
    end.set()
    hung.join(10)
    assert not hung.is_alive()
