"""What the process does that grows and reads forests (see `forest_process`): one after another, until nobody asks."""

from __future__ import annotations

import io
import resource
import sys
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from detector.models.estimators import HERE
from detector.models.forest_process import DONE, GROW, REFUSED, arrays_of

# Many times what 20,000 rows take; what is read may be made to take more.
_MEMORY_BYTES = 3 << 30


def main() -> None:
    """Answers on the file that the first argument numbers."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    # Now, so that the first answer need not wait for it.
    for module in ("sklearn.ensemble", "skops.io"):
        import_module(module)
    connection: Connection[bytes, bytes] = Connection(int(sys.argv[1]))
    while True:
        try:
            question = connection.recv_bytes()
        except (EOFError, OSError):
            return
        connection.send_bytes(_answer(question[: len(GROW)], question[len(GROW) :]))


def _answer(kind: bytes, about: bytes) -> bytes:
    try:
        if kind == GROW:
            grown = HERE.grow(np.load(io.BytesIO(about), allow_pickle=False))
            arrays = arrays_of(grown.trees, grown.content)
        else:
            arrays = arrays_of(HERE.read(about))
    except (ValueError, MemoryError) as fault:
        return REFUSED + (str(fault) or type(fault).__name__).encode("utf-8", "backslashreplace")
    return DONE + _written(arrays)


def _written(arrays: dict[str, Any]) -> bytes:
    written = io.BytesIO()
    np.savez(written, allow_pickle=False, **arrays)
    return written.getvalue()


if __name__ == "__main__":
    main()
