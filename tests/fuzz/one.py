"""`python -m tests.fuzz.one SURFACE FILE …`: feeds these files to a surface again, and says what comes of each.

With --seconds it looks for others itself: atheris changes what reached new code.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fuzz.harness import Surface

# Instrumented code takes so much longer, and a machine that fuzzes is not idle.
_SCALE = 5.0
_COUNTED_EACH = 20
_LONGEST = 20_000
_HANGS_SECONDS = 30


def main() -> int:
    """1 if any of the files is a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("surface")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--folder", type=Path)
    wanted = parser.parse_args()
    if wanted.seconds is not None:
        _look(wanted.surface, wanted.seconds, wanted.folder)
    with tempfile.TemporaryDirectory(prefix="detector-fuzz-") as folder:
        surface = _surface(wanted.surface)
        target = surface.open(Path(folder))
        target(surface.seeds()[0])
        failed = [path for path in wanted.files if not _taken(path, target)]
    return int(bool(failed))


def _surface(name: str) -> Surface:
    surface: Surface = import_module("tests.fuzz.surfaces").SURFACES[name]
    return surface


def _taken(path: Path, target: Callable[[bytes], None]) -> bool:
    from tests.fuzz.harness import bounded

    try:
        with bounded():
            target(path.read_bytes())
    except BaseException:  # noqa: BLE001 - whatever it is, it is what was asked for
        traceback.print_exc()
        return False
    print(f"{path}: taken, or refused with a message")
    return True


def _look(name: str, seconds: int, folder: Path) -> None:
    """Does not return: the fuzzer ends the process."""
    import atheris

    # What is imported from here on counts where it comes to.
    with atheris.instrument_imports(include=["detector"]):
        import_module("tests.fuzz.surfaces")
    surface = _surface(name)
    corpus, words = folder / "corpus", folder / "words"
    for seed in surface.seeds():
        (corpus / hashlib.blake2b(seed, digest_size=10).hexdigest()).write_bytes(seed)
    words.write_text("".join(f'"{_quoted(token)}"\n' for token in surface.tokens), encoding="ascii")
    # Whoever started this takes it away: it ends without a word.
    scratch = folder / "scratch"
    scratch.mkdir()
    target = surface.open(scratch)
    target(surface.seeds()[0])
    options = {
        "timeout": _HANGS_SECONDS, "max_len": _LONGEST, "rss_limit_mb": 4096,
        "artifact_prefix": f"{folder / 'findings'}/", "dict": words, "print_final_stats": 1,
    }  # fmt: skip
    written = [f"-{key}={value}" for key, value in options.items()]
    atheris.Setup([sys.argv[0], str(corpus), *written], _Feed(target, folder, time.monotonic() + seconds))
    atheris.Fuzz()


def _quoted(token: bytes) -> str:
    """As libFuzzer has it in its dictionaries."""
    return "".join(f"\\x{byte:02x}" for byte in token[:64])


class _Feed:
    """Goes on after a finding: each is kept once for the place that it comes from."""

    def __init__(self, target: Callable[[bytes], None], folder: Path, until: float) -> None:
        self._target, self._folder, self._until, self._inputs = target, folder, until, 0

    def __call__(self, data: bytes) -> None:
        """Takes an input."""
        from tests.fuzz.harness import bounded

        self._inputs += 1
        over = time.monotonic() > self._until
        if over or self._inputs % _COUNTED_EACH == 1:
            (self._folder / "inputs").write_text(str(self._inputs), encoding="ascii")
        if over:
            # The fuzzer itself looks at the time only once it has been through all examples.
            os._exit(0)
        try:
            with bounded(scale=_SCALE):
                self._target(data)
        except KeyboardInterrupt:
            raise
        except BaseException as fault:  # noqa: BLE001 - each is a finding
            self._keep(data, fault)

    def _keep(self, data: bytes, fault: BaseException) -> None:
        path = self._folder / "findings" / _place(fault)
        if not path.exists():
            path.write_bytes(data)
            path.with_suffix(".txt").write_text("".join(traceback.format_exception(fault)), "utf-8", "backslashreplace")


def _place(fault: Any) -> str:
    """What went wrong, and where in the product."""
    frames = traceback.extract_tb(fault.__traceback__)
    ours = [each for each in frames if "/detector/" in each.filename] or frames
    return f"{type(fault).__name__}-{Path(ours[-1].filename).stem}-{ours[-1].lineno}"


if __name__ == "__main__":
    sys.exit(main())
