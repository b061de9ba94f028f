"""Keeps a process that runs for months small."""

from __future__ import annotations

import ctypes
import gc

# glibc's; other C libraries have none.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def settle() -> None:
    """To be called when everything is imported: what is there now stays, and need never be looked through again."""
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Returns to the kernel what is free. After a snapshot of 10,000s of keys that is most of what the process has."""
    # Empties the interpreter's lists of spare objects as well, each of which may keep a megabyte from being returned.
    gc.collect()
    if _trim is not None:
        _trim(0)
