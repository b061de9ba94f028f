"""The process that fills in templates: takes an order as JSON, gives what came of each job, and ends."""

from __future__ import annotations

import resource
import signal
import sys
from typing import TYPE_CHECKING

import msgspec

from detector.notify.bounded import Done, Order
from detector.notify.filling import UnfillableError, fill

if TYPE_CHECKING:
    from detector.notify.bounded import Job


def main() -> None:
    """Reads an order from standard input, and writes a line for each job to standard output, until one has a fault."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    resource.setrlimit(resource.RLIMIT_AS, (order.memory_bytes, order.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Nothing handles the signal, so that it ends what Python would not come back from by itself.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, order.seconds)
    for job in order.jobs:
        done = _done(job)
        sys.stdout.buffer.write(msgspec.json.encode(done) + b"\n")
        sys.stdout.buffer.flush()
        if done.line:
            break


def _done(job: Job) -> Done:
    try:
        return Done(text=fill(job.name, job.text, job.values))
    except UnfillableError as fault:
        return Done(line=fault.line, fault=fault.message)


if __name__ == "__main__":
    main()
