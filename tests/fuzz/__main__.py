"""`python -m tests.fuzz`: feeds each surface for its share of the time, with what reaches new code (atheris).

    make fuzz MINUTES=20
    make fuzz SURFACES='stored-rows arguments'
    build/fuzz-env/bin/python -m tests.fuzz.one stored-rows build/fuzz/stored-rows/findings/TypeError-…

The second of these takes what is kept of earlier runs further: build/fuzz has what reached something new.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.fuzz.surfaces import SURFACES

_FOLDER = Path("build/fuzz")
# What preparing and ending may take, and what a stuck one is ended after.
_GRACE_SECONDS = 120


def main() -> int:
    """Runs them one after another, and prints a table; 1 if anything was found."""
    parser = argparse.ArgumentParser(
        prog="make fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("surfaces", nargs="*", metavar="SURFACE", help=f"of {', '.join(SURFACES)}; else all of them")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all together (default: 10)")
    wanted = parser.parse_args()
    names = wanted.surfaces or list(SURFACES)
    if unknown := set(names) - SURFACES.keys():
        parser.error(f"there is no surface {', '.join(sorted(unknown))}; there is {', '.join(SURFACES)}")
    seconds = max(1, round(wanted.minutes * 60 / len(names)))
    rows = [_fed(name, seconds) for name in names]
    print(f"\n{'surface':<16}{'inputs':>10}{'kept':>8}{'found':>8}")
    for name, inputs, kept, found in rows:
        print(f"{name:<16}{inputs:>10,}{kept:>8,}{len(found):>8,}")
        for each in found:
            print(f"  {each}\n    again: {sys.executable} -m tests.fuzz.one {name} {each}")
    return int(any(found for *_, found in rows))


def _fed(name: str, seconds: int) -> tuple[str, int, int, list[Path]]:
    """How many inputs a surface took, how many are kept since they reached something new, and what was found."""
    folder = _FOLDER / name
    corpus, findings = folder / "corpus", folder / "findings"
    for each in (corpus, findings):
        each.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    shutil.rmtree(folder / "scratch", ignore_errors=True)
    print(f"{name}: {seconds} s", flush=True)
    with (folder / "log").open("wb") as log:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "tests.fuzz.one", name, "--seconds", str(seconds), "--folder", str(folder)],
            stdout=log, stderr=log, timeout=seconds + _GRACE_SECONDS, check=False,
        )  # fmt: skip
    shutil.rmtree(folder / "scratch", ignore_errors=True)
    counted = folder / "inputs"
    inputs = json.loads(counted.read_text(encoding="ascii")) if counted.exists() else 0
    found = sorted(each for each in set(findings.iterdir()) - before if each.suffix != ".txt")
    if ended.returncode and not found:
        # It was ended in the middle of an input, by a signal or by the fuzzer.
        found = [folder / "log"]
    return name, inputs, len(list(corpus.iterdir())), found


if __name__ == "__main__":
    sys.exit(main())
