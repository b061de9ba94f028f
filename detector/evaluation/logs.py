"""Reads a folder of logs into hosts and attacks, by the product's own readers."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from detector.collector.jsonl import RowLog
from detector.collector.log_files import LogFile, source_digest
from detector.collector.log_lines import Tally, parsed_address
from detector.collector.zeek import Connection, common_ends, read_connections
from detector.collector.zeek_host import HostLog, of_networks
from detector.domain import ConnectionKey, Direction, Outcome, Protocol
from detector.evaluation.cases import Cases, Host, RecordedAttack, recorded
from detector.evaluation.connects import Connect
from detector.evaluation.manifest import AttackEntry, HostEntry, ManifestError, files_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from detector.domain import ConnectionCount, Snapshot
    from detector.evaluation.manifest import Manifest

TURNED_TO = ip_address("203.0.113.10")
"""Whom a host attacks where an attack on it is turned round."""

_BEGIN_OF_ROWS = b'"direction"'
_Entry = HostEntry | AttackEntry


@dataclass(slots=True)
class _Kept:
    """What is kept of the files for one entry."""

    connections: list[Connection] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)


class Folder:
    """Labelled logs. Each file is read once, whatever number of hosts and attacks it holds."""

    def __init__(self, folder: Path, manifest: Manifest, *, everything: bool, strict: bool = False) -> None:
        """`everything`: also what the protocol leaves out of hosts: flows of UDP and ICMP, and inbound connections."""
        self._folder, self._manifest, self._everything = folder, manifest, everything
        self.tally = Tally(strict=strict)

    def read(self, wanted: Callable[[str], bool] = lambda _: True) -> Cases:
        """The hosts whose names are wanted, and all attacks.

        Raises:
            LogError: a file cannot be read to its end.
            ManifestError: files are missing, or of a host it is not known which address is its own.
        """
        entries: dict[tuple[str, str], _Entry] = {
            **{("host", name): each for name, each in self._manifest.hosts.items() if wanted(name)},
            **{("attack", name): each for name, each in self._manifest.attacks.items()},
        }
        kept = self._kept(entries)
        hosts, attacks, left_out = [], [], {}
        for (kind, name), entry in entries.items():
            found = kept[kind, name]
            if isinstance(entry, HostEntry):
                if (host := self._host(name, entry, found)) is None:
                    left_out[name] = "no connects of this host in its files"
                else:
                    hosts.append(host)
            elif connects := _attack(entry, found):
                attacks.append(RecordedAttack(name=name, recorded=connects, on_known=entry.known_dst))
            else:
                left_out[name] = "no connects of this attack in its files"
        return Cases(hosts=hosts, attacks=attacks, left_out=left_out)

    def _kept(self, entries: Mapping[tuple[str, str], _Entry]) -> dict[tuple[str, str], _Kept]:
        by_files: dict[tuple[str, ...], list[tuple[str, str]]] = defaultdict(list)
        for name, entry in entries.items():
            by_files[tuple(entry.files)].append(name)
        kept: dict[tuple[str, str], _Kept] = defaultdict(_Kept)
        for patterns, names in by_files.items():
            paths = files_of(self._folder, list(patterns))
            with ExitStack() as stack:
                files = [stack.enter_context(LogFile(str(path))) for path in paths]
                source_digest(files)
                rows = [file for file in files if _is_of_rows(file)]
                logs = [file for file in files if file not in rows]
                for each in RowLog(rows, self.tally).snapshots():
                    for name in names:
                        if entries[name].src in (None, each.snapshot.host):
                            kept[name].snapshots.append(each.snapshot)
                sources = {name: self._source(name[1], entries[name], logs) for name in names} if logs else {}
                for connection in read_connections(logs, self.tally):
                    for name, source in sources.items():
                        if self._belongs(connection, entries[name], source):
                            kept[name].connections.append(connection)
        return kept

    def _source(self, name: str, entry: _Entry, logs: Sequence[LogFile]) -> str | None:
        """The address of a host; that of an attack may be any."""
        if entry.src is not None:
            return _address(name, entry.src)
        if not isinstance(entry, HostEntry):
            return None
        common, rows = common_ends(read_connections(logs, Tally()))
        if len(common) != 1 and rows:
            raise ManifestError(
                f"the logs of {name} are of more than one host, and nothing says which address is its own",
                hint=f'write it into a manifest: "{name}": {{"files": […], "src": "{next(iter(rows))}"}}',
            )
        return next(iter(common), None)

    def _belongs(self, each: Connection, entry: _Entry, source: str | None) -> bool:
        if isinstance(entry, AttackEntry):
            return (
                source in (None, each.orig)
                and entry.dst in (None, each.resp)
                and entry.label in (None, each.label)
                and entry.detailed_label in (None, each.detailed_label)
                and _is_connect(each)
            )
        if entry.drop_label is not None and each.label == entry.drop_label:
            return False
        if self._everything:
            return source in (each.orig, each.resp)
        return each.orig == source and _is_connect(each)

    def _host(self, name: str, entry: HostEntry, kept: _Kept) -> Host | None:
        connections = sorted(kept.connections, key=lambda each: each.at)
        if not connections:
            snapshots = kept.snapshots
            return recorded(snapshots, name, split=None) if any(each.counts for each in snapshots) else None
        address = entry.src or _common_source(connections)
        opens = [each.at for each in connections if each.orig == address and _is_connect(each)]
        if not opens:
            return None
        own = of_networks([ip_network(address)])
        by_seconds: dict[int, list[Snapshot]] = {}

        def snapshots_of(seconds: int) -> Sequence[Snapshot]:
            if seconds not in by_seconds:
                log = HostLog(connections, Tally(), host=name, own=own, interval_seconds=seconds)
                by_seconds[seconds] = [each.snapshot for each in log.snapshots()]
            return by_seconds[seconds]

        return Host(name=name, snapshots=snapshots_of, middle=opens[len(opens) // 2], last=opens[-1])


def _is_of_rows(file: LogFile) -> bool:
    """Whether a file is of rows as `detector query --json` prints them, and no log of Zeek."""
    for _, line in file.lines(Tally()):
        return line.startswith(b"{") and _BEGIN_OF_ROWS in line
    return False


def _address(name: str, text: str) -> str:
    try:
        return str(parsed_address(text))
    except ValueError:
        raise ManifestError(f"{name}: {text!r} is not an address", hint="write the address of its rows") from None


def _common_source(connections: Sequence[Connection]) -> str:
    common, _ = common_ends(connections)
    return next(iter(common))


def _is_connect(each: Connection) -> bool:
    return each.protocol == "tcp" and each.outcome is not None


def _attack(entry: AttackEntry, kept: _Kept) -> tuple[Connect, ...]:
    """The connects of an attack, `at` from its first on."""
    connects = [
        *(_connect(each) for each in kept.connections),
        *_connects_of(each for each in kept.snapshots),
    ]
    if entry.dst is not None and kept.snapshots:
        aimed = ip_address(entry.dst)
        connects = [each for each in connects if each.key.remote_address == aimed]
    connects.sort(key=lambda each: each.at)
    turned = [_turned(each) if entry.flip else each for each in connects]
    return tuple(replace(each, at=each.at - connects[0].at) for each in turned)


def _connect(each: Connection) -> Connect:
    key = ConnectionKey(
        direction=Direction.OUTBOUND,
        protocol=Protocol.TCP,
        remote_address=parsed_address(each.resp),
        remote_port=each.port,
    )
    return Connect(at=each.at, key=key, outcome=each.outcome)


def _turned(each: Connect) -> Connect:
    return replace(each, key=replace(each.key, remote_address=TURNED_TO))


def _connects_of(snapshots: Iterable[Snapshot]) -> Iterator[Connect]:
    """Rows as single connects, spread evenly over their snapshot."""
    for snapshot in snapshots:
        start, length = snapshot.start.timestamp(), (snapshot.end - snapshot.start).total_seconds()
        for row in snapshot.counts:
            outcomes = list(_outcomes(row))
            for number, outcome in enumerate(outcomes):
                yield Connect(
                    at=start + length * number / len(outcomes),
                    key=row.key,
                    outcome=outcome,
                    session=row.session,
                    login_address=row.login_address,
                )


def _outcomes(row: ConnectionCount) -> Iterator[Outcome | None]:
    """One for each attempt: those that are told first."""
    told = [outcome for outcome in Outcome for _ in range(getattr(row, outcome.value))][: row.attempted]
    yield from told
    missing = None if row.key.protocol not in (Protocol.TCP, Protocol.SCTP) else Outcome.FAILED
    yield from [missing] * (row.attempted - len(told))
