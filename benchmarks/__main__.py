"""`python -m benchmarks [NAME…]`: runs the benchmarks (default: all) and prints one table."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

_NOT_BENCHMARKS = {
    "__main__",
    "figures",
    "stress",
    "traffic",
    "watchers",
    "nothing",
    "servers",
    "past",
    "__init__",
}


def main() -> int:
    """Runs them one after another: they measure the same two cores."""
    known = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in _NOT_BENCHMARKS)
    wanted = sys.argv[1:] or known
    if unknown := set(wanted) - set(known):
        print(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(known)}", file=sys.stderr)
        return 64
    table = Table(box=None, pad_edge=False)
    for title, justify in (("benchmark", "left"), ("figure", "left"), ("value", "right"), ("unit", "left")):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    table.add_column("note")
    for name in wanted:
        print(f"{name} …", file=sys.stderr, flush=True)
        for figure in import_module(f"benchmarks.{name}").measure():
            value = f"{figure.value:,.0f}" if abs(figure.value) >= 100 else f"{figure.value:.3g}"
            table.add_row(name, figure.name, value, figure.unit, figure.note)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
