"""Rows of a Zeek log imported per second, beside a bare parse of the same files in the same run."""

from __future__ import annotations

import gzip
import random
import tempfile
import time
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.detection import DATA
from benchmarks.figures import Figure
from detector.collector.log_files import LogFile, source_digest
from detector.collector.log_lines import Tally
from detector.collector.zeek import read_connections
from detector.collector.zeek_host import HostLog, of_networks
from detector.service.importing import LogImport
from detector.store.engine import open_store
from detector.store.imports import Source
from detector.store.migrating import upgrade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_ROUNDS = 5
_HOST = "64.225.56.201"
_GENERATED_ROWS = 70_000
_FIELDS = ("ts", "id.orig_h", "id.resp_h", "id.resp_p", "proto", "conn_state", "history", "duration", "orig_bytes")


def measure(data: Path = DATA) -> Iterator[Figure]:
    """A server's two days, from packed files into SQLite; where they are not at hand, a log that is made up."""
    with tempfile.TemporaryDirectory() as folder:
        paths = sorted(data.glob("rita_vps/*/conn.*.gz")) or [_generated(Path(folder))]
        label = "recorded log" if paths[0].is_relative_to(data) else "generated log"
        rates: dict[str, list[float]] = {"bare": [], "snapshots": [], "stored": []}
        for number in range(_ROUNDS):
            rates["bare"].append(_rate(lambda: _bare(paths)))
            rates["snapshots"].append(_rate(lambda: _imported(paths, None)))
            rates["stored"].append(_rate(lambda at=number: _imported(paths, Path(folder) / f"{at}.db")))  # type: ignore[misc]
    note = f"median of {_ROUNDS}, gzip"
    yield Figure(f"{label}: rows imported", median(rates["stored"]), "1/s", f"SQLite, snapshots of 60 s, {note}")
    yield Figure(f"{label}: rows made into snapshots", median(rates["snapshots"]), "1/s", f"not stored, {note}")
    yield Figure(f"{label}: rows split into columns", median(rates["bare"]), "1/s", f"nothing else, {note}")
    shares = [one / other for one, other in zip(rates["stored"], rates["bare"], strict=True)]
    yield Figure(f"{label}: imported, of bare", median(shares), "", "same run")


def _rate(work: Callable[[], int]) -> float:
    started = time.perf_counter()
    return work() / (time.perf_counter() - started)


def _bare(paths: Sequence[Path]) -> int:
    rows = 0
    for path in paths:
        with gzip.open(path, "rt") as lines:
            for line in lines:
                if not line.startswith("#"):
                    line.rstrip("\n").split("\t")
                    rows += 1
    return rows


def _imported(paths: Sequence[Path], database: Path | None) -> int:
    """As the command does it, from the digest to the last commit; without a database, nothing is stored."""
    tally = Tally()
    with ExitStack() as stack:
        files = [stack.enter_context(LogFile(str(path))) for path in paths]
        digest = source_digest(files)
        own = of_networks([ip_network(_HOST)])
        log = HostLog(read_connections(files, tally), tally, host="web-1", own=own, interval_seconds=60)
        if database is None:
            for _ in log.snapshots():
                pass
            return tally.rows
        engine = open_store(f"sqlite:///{database}")
        stack.callback(engine.dispose)
        upgrade(engine)
        work = LogImport(engine, Source(digest=digest, format="zeek", name="", options=""), live_host="bastion-1")
        work.run(log.snapshots())
        work.finish(refused=tally.refused, left_out=tally.left_out.total())
    return tally.rows


def _generated(folder: Path) -> Path:
    """Two days of a host, in some disorder."""
    random_ = random.Random(1)
    path = folder / "conn.log.gz"
    with gzip.open(path, "wt") as log:
        log.write("#separator \\x09\n#unset_field\t-\n#path\tconn\n" + "\t".join(["#fields", *_FIELDS]) + "\n")
        for number in range(_GENERATED_ROWS):
            other = f"198.51.{random_.randrange(100)}.{random_.randrange(256)}"
            at = 1_700_000_000 + number * 2.5 - random_.expovariate(0.1)
            ends = (_HOST, other) if number % 2 else (other, _HOST)
            port = random_.choice((22, 53, 80, 443, 8080))
            log.write("\t".join([f"{at:.6f}", *ends, str(port), "tcp", "SF", "ShADadFf", "0.5", "100"]) + "\n")
    return path
