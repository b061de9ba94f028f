"""The database: whether it answers, how large it is, what room it has, and what had to go."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from detector.amounts import megabytes, numbered
from detector.cli.checks import clock
from detector.cli.checks.check import bad, doubtful, good
from detector.cli.terminal import local
from detector.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from detector.cli.checks.check import Check
    from detector.config import Settings
    from detector.store.retention import Kept
    from detector.store.sizes import Size
    from detector.store.status import HostStatus

_MAKE_ROOM = "make room there, or lower retention.sqlite_megabytes"
# What a busy host writes in an hour or two, its log included.
_SCARCE_BYTES = 200_000_000
_SOON_DAYS = 14


def database(settings: Settings) -> Iterator[Check]:
    """All of it; a single bad line if it cannot be used."""
    from detector.service.keeping import kept_from
    from detector.store import engine as stores
    from detector.store import sizes
    from detector.store.liveness import liveness
    from detector.store.migrating import check_current, revisions
    from detector.store.status import given_up, host_status, set_aside

    try:
        engine = stores.open_store(settings.database_url)
        try:
            check_current(engine)
            kept, size = kept_from(settings, engine), sizes.measure(engine)
            with stores.reading(engine) as connection:
                version, time = stores.version(connection), stores.clock(connection)
                now = datetime.now(UTC)
                hosts, alive = host_status(connection), liveness(connection)
                lost, replaced = given_up(connection), set_aside(connection)
        finally:
            engine.dispose()
    except DetectorError as fault:
        yield bad("database", fault.message, fault.hint)
        yield from _full(stores.database_file(engine))
        return
    where, schema = stores.place(engine), revisions()[-1]
    yield good("database", f"{where} ({version}) answers and has the current schema, {schema}")
    yield _size(hosts, size, kept)
    yield from _free(engine, hosts, size, kept)
    yield from _given_up(lost)
    for at, aside in replaced:
        yield doubtful(
            "database",
            f"it took the place of a damaged one on {local(at)}",
            f"look after the disk; what was stored before is in {aside}, which may be deleted",
        )
    yield from clock.against(time, alive, now)


def _size(hosts: Sequence[HostStatus], size: Size, kept: Kept) -> Check:
    growth = sum(host.bytes_per_day for host in hosts)
    most = f" of at most {megabytes(kept.most_bytes)}" if kept.most_bytes else ""
    finding = f"{megabytes(size.on_disk)}{most}, growing by about {megabytes(growth)} a day"
    if kept.most_bytes and size.used >= kept.enough:
        remedy = "give it more room: [retention] in the configuration; see: detector db status"
        return doubtful("size", f"{finding}: full, so that the oldest goes, however young it is", remedy)
    return good("size", finding)


def _full(path: Path | None) -> Iterator[Check]:
    """Whether its disk has no room, which is what many a complaint comes from."""
    with suppress(OSError):
        if path is not None and (disk := shutil.disk_usage(path.resolve().parent)).free < _SCARCE_BYTES:
            yield bad("disk", _room(path, disk.free, disk.total), _MAKE_ROOM)


def _room(path: Path, free: int, total: int) -> str:
    return f"{megabytes(free)} are free of the {megabytes(total)} that {path.parent} is on"


def _free(engine: Engine, hosts: Sequence[HostStatus], size: Size, kept: Kept) -> Iterator[Check]:
    """The room of the disk, which only the machine that has the file knows."""
    from detector.store.engine import database_file

    path = database_file(engine)
    if path is None:
        return
    with suppress(OSError):
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            finding = f"{path} is on a file system that can only be read, so that nothing is stored"
            yield bad("database", finding, f"find out why (dmesg), then: mount -o remount,rw {_mounted_at(path)}")
        disk = shutil.disk_usage(path.resolve().parent)
        free = _room(path, disk.free, disk.total)
        growth = sum(host.bytes_per_day for host in hosts)
        to_come = max(kept.most_bytes - size.on_disk, 0) if kept.most_bytes else growth * kept.snapshots.days
        days = disk.free / growth if growth else float("inf")
        if disk.free < _SCARCE_BYTES:
            yield bad("disk", free, _MAKE_ROOM)
        elif disk.free < to_come and days < _SOON_DAYS:
            yield doubtful("disk", f"{free}: enough for {days:.1f} days", _MAKE_ROOM)
        else:
            yield good("disk", free)


def _mounted_at(path: Path) -> Path:
    path = path.resolve()
    return next(each for each in (path, *path.parents) if each.is_mount())


def _given_up(hosts: Mapping[str, int]) -> Iterator[Check]:
    for host, number in hosts.items():
        finding = f"{numbered(number, 'snapshot')} of {host} had to go for the size of the database before detection"
        yield bad(
            "retention",
            f"{finding} had seen them",
            "see that detector detect keeps up, and give the database more room: [retention] in the configuration",
        )
