"""Writes docs/metrics.md from the metrics: `python -m detector.service.metrics.page > docs/metrics.md`."""

from __future__ import annotations

import sys

from detector.service.metrics.catalogue import METRICS

_HEAD = """\
# Metrics

Made from the code by `python -m detector.service.metrics.page`. `detector detect` serves figures for Prometheus at
`/metrics`, and at `/healthz` whether all is well, once `[metrics] listen` says where:

    [metrics]
    listen = "127.0.0.1:9469"                       # or "[::1]:9469", or "unix:/run/detector/metrics.sock"

Nothing is served unless it is set, and to programs of this machine alone: a port of a loopback address, or a socket
of mode 0660. The figures name hosts and channels; every user of the machine can reach a port, and only the socket's
owner and group can reach a socket. Any user can take a port, too: `detect` then says so, goes on without figures, and
serves them as soon as it is free. `detector collect` serves nothing and stays small: what it has seen and lost is in
the store, which detection reads.

    curl -s http://127.0.0.1:9469/metrics
    curl -s --unix-socket /run/detector/metrics.sock http://localhost/healthz

`/healthz` answers 200 and `{"healthy": true, "reasons": []}`, or 503 with the reasons: the database cannot be read,
no snapshot comes of any host, or detection is minutes behind. A single host of several that falls silent is a matter
of the rule `host_silent` and of `detector_captured_timestamp_seconds`.

What is said of hosts, channels, alerts and sizes is read from the store: workers that share one database serve the
same figures, so take `max by (host)` of them, not the sum. Totals of hosts are kept in the store and never become
less, whatever is deleted and however often a process is started again. What is said to be "in this process" begins at
0 with each start.

`packaging/prometheus/detector.rules.yml` has alert rules, `packaging/grafana/detector.json` a dashboard; a scrape
configuration:

    scrape_configs:
      - job_name: detector
        static_configs:
          - targets: ["127.0.0.1:9469"]

| metric | kind | labels | meaning |
| --- | --- | --- | --- |
"""
_FOOT = """
Beside these, the client library's own: `process_…` (memory, processor time, descriptors of `detect`) and `python_…`.
"""


def page() -> str:
    """The whole page."""
    rows = [
        f"| `{each.shown}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels)} | {each.meaning} |\n"
        for each in METRICS
    ]
    return _HEAD + "".join(rows) + _FOOT


if __name__ == "__main__":
    sys.stdout.write(page())
