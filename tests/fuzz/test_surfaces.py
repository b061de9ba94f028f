"""Whatever others have written, it is taken or refused: without a traceback, in a second, and in 200 MB.

`make fuzz` goes on where these stop; what it finds is a test of its own afterwards, in the folder of what was wrong.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.harness import FindingError, HangError, bounded, check_harmless
from tests.fuzz.mutations import mutated
from tests.fuzz.surfaces import SURFACES

if TYPE_CHECKING:
    from pathlib import Path

# What the whole gate has time for: seconds of one processor, all together.
_INPUTS = {"configuration": 200, "rule-files": 30, "logs": 25, "templates": 6, "arguments": 30, "stored-rows": 30}
# Coverage watches each line.
_SCALE = 4.0


@pytest.mark.parametrize("name", SURFACES)
def test_nothing_that_is_read_ends_in_a_traceback(name: str, tmp_path: Path) -> None:
    """Valid examples, and what becomes of them when pieces are replaced, doubled, moved and left out."""
    surface = SURFACES[name]
    target = surface.open(tmp_path)
    # What is imported, compiled and remembered at the first call is not the input's.
    target(surface.seeds()[0])

    @settings(
        max_examples=_INPUTS[name], derandomize=True, database=None, deadline=None,
        # To make a finding smaller would take minutes.
        phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(mutated(surface))
    def feed(data: bytes) -> None:
        with bounded(scale=_SCALE):
            target(data)

    feed()


def _loop() -> NoReturn:
    while True:
        pass


def test_what_takes_too_long_is_found() -> None:
    """A loop is ended after its second."""
    begun = time.thread_time()
    with pytest.raises(HangError), bounded(scale=0.1):
        _loop()
    assert time.thread_time() - begun < 1


def test_what_takes_too_much_memory_is_found() -> None:
    """Also if it was given back."""
    with pytest.raises(FindingError, match="MB more memory"), bounded():
        assert len(b"x" * 220_000_000)


@settings(derandomize=True)
@given(st.text(alphabet=st.characters(max_codepoint=0x9F)))
def test_what_does_not_print_is_found(text: str) -> None:
    """In any line of what is written."""
    if all(line.isprintable() for line in text.replace("\r\n", "\n").split("\n")):
        check_harmless(text)
    else:
        with pytest.raises(FindingError):
            check_harmless(f"one\n{text}")
