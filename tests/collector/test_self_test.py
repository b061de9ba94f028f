"""The connect by which each snapshot proves itself, where it cannot be made."""

from __future__ import annotations

import os
import resource

from detector.bpf.capture import Drained
from detector.collector.self_test import SelfTest
from detector.domain import Losses


def test_without_files_left_nothing_is_proven_and_counting_goes_on() -> None:
    """What the kernel counted is there all the same; the snapshot says that nobody knows whether it is all."""
    test = SelfTest(datagrams=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # As many as are open, whose numbers may have gaps.
    taken = [os.dup(0) for _ in range(8)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(taken), hard))
    try:
        test.begin()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in taken:
            os.close(each)
    assert test.end(Drained(counts=(), losses=Losses(), answers=())) == ((), None)
    test.close()
