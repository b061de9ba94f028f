"""Breaks a running detector in every way at random, and shows whether its books balance:  python -m tests.torture

As root, on a machine on which nothing else loads kernel programs meanwhile. Half of the time on SQLite, the other half
on Postgres. The exit code says whether they balance. What the service said is kept below build/torture.

    python -m tests.torture --minutes 2 --seed 7 --on sqlite
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from pathlib import Path

from rich.console import Console

from tests.torture.report import show
from tests.torture.torture import at_random, keep, possible, torture

_KEPT = Path("build/torture")


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20, help="how long in all (20)")
    parser.add_argument("--seed", type=int, help="what chance does; another one each time if it is not given")
    parser.add_argument("--on", choices=("sqlite", "postgres", "both"), default="both", help="which database (both)")
    parser.add_argument("--only", default="", help="only faults with these words in their names")
    wanted = parser.parse_args()
    seed = secrets.randbelow(100_000) if wanted.seed is None else wanted.seed
    stores = ("sqlite", "postgres") if wanted.on == "both" else (wanted.on,)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(f"seed {seed}: to have the same again, make torture SEED={seed} MINUTES={wanted.minutes:g}")
    began, balanced = time.monotonic(), True
    for store in stores:
        on_postgres = store == "postgres"
        groups = [[each for each in group if wanted.only in each.name] for group in possible(on_postgres=on_postgres)]
        outcome = torture(
            at_random(groups), seed=seed, seconds=60 * wanted.minutes / len(stores), on_postgres=on_postgres,
            say=lambda what: console.print(f"{time.monotonic() - began:7.1f} s  {what}", highlight=False),
        )  # fmt: skip
        keep(outcome, _KEPT / store)
        show(outcome, console, f"the books, on {'Postgres' if on_postgres else 'SQLite'}")
        balanced &= outcome.balances
    return 0 if balanced else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; all that was made is gone again")
