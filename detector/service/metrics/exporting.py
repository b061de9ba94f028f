"""From figures to what Prometheus reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from detector import __version__
from detector.pipeline import STAGES
from detector.service.metrics import catalogue
from detector.service.metrics.catalogue import Kind
from detector.store.totals import LOSSES
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric as Family

    from detector.pipeline import Detected
    from detector.service.detecting import Reporter
    from detector.service.metrics.catalogue import Metric
    from detector.service.metrics.sampling import Sample, Sampler

# From a snapshot of a few rows to one of a port scan.
_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_Value = tuple[tuple[str, ...], float]


class Counted:
    """A reporter that counts what is said, and passes it on.

    Args:
        report: who is told.
        registry: where the counts are read.
    """

    def __init__(self, report: Reporter, registry: CollectorRegistry) -> None:
        self._report = report
        stage, faults, trainings = catalogue.STAGE, catalogue.FAULTS, catalogue.TRAININGS
        self._stages = Histogram(stage.name, stage.meaning, stage.labels, buckets=_BUCKETS, registry=registry)
        for name in STAGES:
            # There from the beginning, so that the first one counts.
            self._stages.labels(name)
        self._faults = Counter(faults.name, faults.meaning, registry=registry)
        self._trainings = Counter(trainings.name, trainings.meaning, registry=registry)

    def detected(self, detected: Detected) -> None:
        """Detection is through with a snapshot."""
        for name, seconds in detected.took.items():
            self._stages.labels(name).observe(seconds)
        self._report.detected(detected)

    def kept(self, message: str) -> None:
        """Something that is stored was deleted."""
        self._report.kept(message)

    def trained(self, message: str) -> None:
        """A forest was trained."""
        self._trainings.inc()
        self._report.trained(message)

    def fault(self, message: str) -> None:
        """Something is wrong, or right again."""
        self._faults.inc()
        self._report.fault(message)


class StoreFigures(Collector):
    """What the store says, read when it is asked for."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def collect(self) -> Iterator[Family]:
        """All of it; little more than that it is away, if it is."""
        answer = self._sampler.ask()
        found = answer.sample
        yield _family(catalogue.BUILD, [((__version__,), 1)])
        yield _family(catalogue.STORE_UP, [((), found is not None)])
        yield _family(catalogue.HEALTHY, [((), found is not None and found.complaint is None)])
        if found is not None:
            yield from _families(found)

    def describe(self) -> Iterable[Family]:
        """Nothing: no question is asked before there is one."""
        return ()


def new_registry() -> CollectorRegistry:
    """Where all is read, with what any Python program tells of itself."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """The text that Prometheus reads."""
    return generate_latest(registry)


def _families(found: Sample) -> Iterator[Family]:
    totals = found.totals.items()
    for name, metric in catalogue.TOTALS.items():
        yield _family(metric, [((host,), of_host[name]) for host, of_host in totals])
    lost = [((host, name.removeprefix("lost_")), of_host[name]) for host, of_host in totals for name in LOSSES]
    yield _family(catalogue.LOST, lost)
    yield _family(catalogue.GIVEN_UP, [((host,), found.given_up.get(host, 0)) for host, _ in totals])
    yield from _hosts(found)
    yield from _channels(found)
    yield from _store(found)


def _hosts(found: Sample) -> Iterator[Family]:
    hosts = found.hosts
    yield _family(catalogue.CAPTURED, [((each.host,), each.captured_until.timestamp()) for each in hosts])
    yield _family(
        catalogue.DETECTED, [((each.host,), each.detected_until.timestamp()) for each in hosts if each.detected_until]
    )
    yield _family(catalogue.LAG, [((each.host,), each.behind.total_seconds()) for each in hosts])
    yield _family(catalogue.INTERVAL, [((each.host,), each.usual_seconds) for each in hosts])
    yield _family(catalogue.STOPPED, [((each.host,), each.stopped) for each in hosts])
    for metric, by_host in (
        (catalogue.WAITING, found.waiting),
        (catalogue.LEARNT, found.learnt),
        (catalogue.HELD, found.held),
        (catalogue.CAPPED, found.capped),
    ):
        yield _family(metric, [((host,), number) for host, number in by_host.items()])


def _channels(found: Sample) -> Iterator[Family]:
    channels = found.channels.items()
    states = [((name, state), getattr(each, state)) for name, each in channels for state in ("pending", "dead")]
    yield _family(catalogue.NOTIFICATIONS, states)
    since = [((name,), each.waiting_since.timestamp()) for name, each in channels if each.waiting_since is not None]
    yield _family(catalogue.OLDEST, since)
    slowest = [((name,), each.slowest_seconds) for name, each in channels if each.slowest_seconds is not None]
    yield _family(catalogue.DELIVERY, slowest)
    yield _family(catalogue.MESSAGES, [((name,), each.messages_last_hour) for name, each in channels])
    yield _family(catalogue.ALERTS, [((severity.value,), number) for severity, number in found.alerts.open.items()])
    yield _family(catalogue.SILENCED, [((), found.alerts.silenced)])
    yield _family(catalogue.SILENCES, [((), found.alerts.silences)])


def _store(found: Sample) -> Iterator[Family]:
    # A host with none is told as well, so that a graph has no hole.
    yield _family(catalogue.REFUSED, [((host,), found.refused.get(host, 0)) for host in found.totals])
    if found.replaced_at is not None:
        yield _family(catalogue.REPLACED, [((), found.replaced_at.timestamp())])
    sizes = {"used": found.size.used, "on_disk": found.size.on_disk, "log": found.size.log}
    yield _family(catalogue.SIZE, [((part,), size) for part, size in sizes.items()])
    yield _family(catalogue.MOST, [((), found.most_bytes)])
    if found.free_bytes is not None:
        yield _family(catalogue.FREE, [((), found.free_bytes)])
    if found.spool is not None:
        yield _family(catalogue.SPOOLED, [((), found.spool.waiting)])
        yield _family(catalogue.SPOOL_BYTES, [((), found.spool.bytes)])
    yield _family(catalogue.READING, [((), found.took_seconds)])


def _family(metric: Metric, values: Iterable[_Value]) -> Family:
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in values:
        # Names of hosts are chosen by others; of what does not print nothing reaches a dashboard.
        family.add_metric([visible(label) for label in labels], float(value))
    return family
