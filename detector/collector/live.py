"""Live collection: drains the kernel's counts and hands on one snapshot with names in it."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Self

from detector.bpf.processes import UNKNOWN_ID, KernelProcess
from detector.collector.attribution import Attribution
from detector.collector.clock import Clock
from detector.collector.self_test import SelfTest
from detector.domain import CaptureHealth, ConnectionCount, ConnectionKey, Direction, Losses, Protocol, Snapshot

if TYPE_CHECKING:
    from types import TracebackType

    from detector.bpf.capture import Capture, KernelCount
    from detector.collector.names import Names
    from detector.collector.networks import Networks
    from detector.domain import IPAddress

# Numbers of IP's, and of common.bpf.c for what has none.
_PROTOCOLS = {
    6: Protocol.TCP,
    132: Protocol.SCTP,
    17: Protocol.UDP,
    1: Protocol.ICMP,
    255: Protocol.RAW,
    254: Protocol.PACKET,
}
_WITH_PORTS = frozenset({Protocol.TCP, Protocol.SCTP, Protocol.UDP})
LOGIN_SOURCE = "connection of the session's first process"


class LiveCollector:
    """Takes snapshots of one host, each from where the last one ended. Use as a context manager, or call `close`.

    Args:
        capture: the attached kernel programs.
        host: name of this host in the store.
        exclude_loopback: leave out connections with 127.0.0.0/8 and ::1.
        names: remembers destinations' names; None: they are not wanted.
        networks: knows addresses' countries and networks; None: they are not wanted.
    """

    def __init__(
        self,
        capture: Capture,
        host: str,
        *,
        exclude_loopback: bool = False,
        names: Names | None = None,
        networks: Networks | None = None,
    ) -> None:
        self._capture = capture
        self._host = host
        self._exclude_loopback = exclude_loopback
        self._names = names
        self._networks = networks
        self._attribution = Attribution()
        self._clock = Clock()
        self._unseen = capture.unseen
        self._self_test = SelfTest(datagrams=capture.sees("sends"))
        self._last_proof = datetime.now(UTC)
        self._names_unread = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives back what it holds; the capture stays."""
        self._self_test.close()

    def take(self, *, late_seconds: float = 0.0, stopped: bool = False) -> Snapshot:
        """Everything since the last snapshot (or since capture began), which is `late_seconds` later than was due.

        Args:
            late_seconds: how much later.
            stopped: it is the last one, since the collector was told to end.

        Raises:
            CaptureError: the kernel's counts cannot be read.
        """
        self._self_test.begin()
        drained = self._capture.drain()
        span = self._clock.span()
        counts, proven = self._self_test.end(drained)
        if proven:
            self._last_proof = span.end
        if self._names is not None:
            for answer in drained.answers:
                self._names.learn(answer)
        named = (self._named(count) for count in counts)
        return Snapshot(
            host=self._host,
            start=span.start,
            end=span.end,
            counts=tuple(count for count in named if not (self._exclude_loopback and _is_loopback(count))),
            losses=drained.losses + Losses(names=self._newly_unread()),
            health=CaptureHealth(
                self_test_passed=proven,
                blind_since=self._last_proof if proven is False else None,
                late_seconds=late_seconds,
                clock_step_seconds=span.stepped_seconds,
                suspended_seconds=span.suspended_seconds,
                stopped=stopped,
                unseen=self._unseen,
            ),
        )

    def _newly_unread(self) -> int:
        unread = self._names.unread if self._names is not None else 0
        new, self._names_unread = unread - self._names_unread, unread
        return new

    def _named(self, count: KernelCount) -> ConnectionCount:
        process = count.process
        group = self._attribution.group(process.cgroup) if process else None
        address = _address(count.remote_address)
        protocol = _PROTOCOLS[count.protocol]
        has_port = protocol in _WITH_PORTS and address is not None
        key = ConnectionKey(
            direction=Direction.INBOUND if count.inbound else Direction.OUTBOUND,
            protocol=protocol,
            remote_address=address,
            remote_port=count.remote_port if has_port and not count.inbound else None,
            local_port=count.local_port if has_port and count.inbound else None,
            executable=process.executable if process else None,
            script=process.script if process else None,
            parent_executable=process.parent_executable if process else None,
            command=(process.command or None) if process else None,
            user=self._attribution.user(process.uid) if process else None,
            login_user=self._attribution.user(process.login_uid) if process else None,
            unit=group.unit if group else None,
            container=group.container if group else None,
        )
        session = group.session if process and group and process.session == UNKNOWN_ID else _session(process)
        login_address = self._login_address(process)
        name, name_source = self._name(address)
        return ConnectionCount(
            key=key,
            session=session or 0,
            login_address=login_address,
            login_source=LOGIN_SOURCE if login_address else None,
            remote_name=name,
            remote_name_source=name_source,
            remote_country=self._networks.country_of(address) if self._networks and address else None,
            remote_network=self._networks.network_of(address) if self._networks and address else None,
            attempted=count.attempted,
            established=count.established,
            refused=count.refused,
            timed_out=count.timed_out,
            failed=count.failed,
            handshake_us_total=count.handshake_ns_total // 1000,
            handshake_us_max=count.handshake_ns_max // 1000,
        )

    def _login_address(self, process: KernelProcess | None) -> IPAddress | None:
        return _address(self._capture.login_address(process.session)) if process else None

    def _name(self, address: IPAddress | None) -> tuple[str, str] | tuple[None, None]:
        found = self._names.name_of(address) if self._names is not None and address else None
        return found or (None, None)


def _session(process: KernelProcess | None) -> int:
    return process.session if process and process.session != UNKNOWN_ID else 0


def _address(packed: bytes | None) -> IPAddress | None:
    if packed is None:
        return None
    address = IPv6Address(packed)
    return address.ipv4_mapped or address


def _is_loopback(count: ConnectionCount) -> bool:
    address = count.key.remote_address
    return address is not None and address.is_loopback
