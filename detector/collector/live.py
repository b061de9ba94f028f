"""Live collection: drains the kernel's counts and hands on one snapshot with names in it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from detector.bpf.capture import UNKNOWN_ID, KernelCount
from detector.collector.attribution import Attribution
from detector.domain import ConnectionCount, ConnectionKey, Direction, Protocol, Snapshot

if TYPE_CHECKING:
    from detector.bpf.capture import Capture

_PROTOCOLS = {6: Protocol.TCP, 132: Protocol.SCTP}
# More than this between two readings of the wall clock, beyond the time that really passed, is a clock that was set.
_CLOCK_STEP = timedelta(seconds=1)


class LiveCollector:
    """Takes snapshots of one host, each from where the last one ended.

    Args:
        capture: the attached kernel programs.
        host: name of this host in the store.
        exclude_loopback: leave out connections with 127.0.0.0/8 and ::1.
    """

    def __init__(self, capture: Capture, host: str, *, exclude_loopback: bool = False) -> None:
        self._capture = capture
        self._host = host
        self._exclude_loopback = exclude_loopback
        self._attribution = Attribution()
        self._clock = Clock()

    def take(self) -> Snapshot:
        """Everything since the last snapshot (or since capture began).

        Raises:
            CaptureError: the kernel's counts cannot be read.
        """
        drained = self._capture.drain()
        start, end = self._clock.span()
        counts = (self._named(count) for count in drained.counts)
        return Snapshot(
            host=self._host,
            start=start,
            end=end,
            counts=tuple(
                count for count in counts if not (self._exclude_loopback and count.key.remote_address.is_loopback)
            ),
            losses=drained.losses,
        )

    def _named(self, count: KernelCount) -> ConnectionCount:
        group = self._attribution.group(count.cgroup)
        address = IPv6Address(count.remote_address)
        key = ConnectionKey(
            direction=Direction.INBOUND if count.inbound else Direction.OUTBOUND,
            protocol=_PROTOCOLS[count.protocol],
            remote_address=address.ipv4_mapped or address,
            remote_port=None if count.inbound else count.remote_port,
            local_port=count.local_port if count.inbound else None,
            executable=count.executable,
            command=count.command or None,
            user=self._attribution.user(count.uid),
            login_user=self._attribution.user(count.login_uid),
            unit=None if count.inbound else group.unit,
            container=None if count.inbound else group.container,
        )
        session = group.session if count.session == UNKNOWN_ID else count.session
        return ConnectionCount(
            key=key,
            session=session or 0,
            attempted=count.attempted,
            established=count.established,
            refused=count.refused,
            timed_out=count.timed_out,
            failed=count.failed,
            handshake_us_total=count.handshake_ns_total // 1000,
            handshake_us_max=count.handshake_ns_max // 1000,
        )


class Clock:
    """Start and end of consecutive spans: they join without gap, unless somebody sets the wall clock."""

    def __init__(self) -> None:
        self._end = datetime.now(UTC)
        self._monotonic = time.monotonic()

    def span(self) -> tuple[datetime, datetime]:
        """From the last call to now; its length is the time that really passed, whatever the wall clock did."""
        now, monotonic = datetime.now(UTC), time.monotonic()
        passed = max(timedelta(seconds=monotonic - self._monotonic), timedelta(microseconds=1))
        start = self._end if abs(now - self._end - passed) <= _CLOCK_STEP and now > self._end else now - passed
        self._end, self._monotonic = now, monotonic
        return start, now
