"""One snapshot as a file: framed, checked and compressed, written and read a few rows at a time.

    header   magic and version, mark, length and CRC-32 of the head, length and CRC-32 of the body
    head     JSON: everything of the snapshot but its counts, and what would be lost with it
    body     zlib: JSON lines, one for each count, its fields in the order that the head names

Lengths are in bytes, numbers little-endian. The magic is written last: a file whose writing was cut short has none.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from ipaddress import ip_address
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, BinaryIO

from detector.domain import CaptureHealth, ConnectionCount, ConnectionKey, Direction, Losses, Protocol, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_MAGIC = b"DSNAP\x01"
_HEADER = struct.Struct("<6s16sIIQI")
_ROWS = 500
_READ_BYTES = 64 * 1024
# Text of others is at most a few kB; a head has none but the host's name and what the kernel does not show.
_LONGEST_LINE = 1024 * 1024
_LONGEST_HEAD = 1024 * 1024
_KEY_FIELDS = tuple(field.name for field in fields(ConnectionKey))
_COUNT_FIELDS = tuple(field.name for field in fields(ConnectionCount) if field.name != "key")
_key, _count = attrgetter(*_KEY_FIELDS), attrgetter(*_COUNT_FIELDS)
_ADDRESSES = ("remote_address", "login_address")


class DamagedFrameError(Exception):
    """A file is not what was written: cut short, or changed since. Says how."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a file says of its snapshot before the counts."""

    mark: bytes
    """Tells the snapshot from every other: 16 bytes."""
    host: str
    start: datetime
    end: datetime
    losses: Losses
    health: CaptureHealth
    lost: Losses
    """What is lost if the snapshot is given up."""


def all_lost(snapshot: Snapshot) -> Losses:
    """What is lost if `snapshot` is given up: what was lost in it already, and all that it counted."""
    outbound = [count for count in snapshot.counts if count.key.direction is Direction.OUTBOUND]
    inbound = sum(count.attempted for count in snapshot.counts if count.key.direction is Direction.INBOUND)
    return snapshot.losses + Losses(
        attempted=sum(count.attempted for count in outbound),
        established=sum(count.established for count in outbound),
        refused=sum(count.refused for count in outbound),
        timed_out=sum(count.timed_out for count in outbound),
        failed=sum(count.failed for count in outbound),
        inbound=inbound,
        snapshots=1,
    )


def write(file: BinaryIO, mark: bytes, snapshot: Snapshot) -> None:
    """Writes `snapshot` to `file`, which is empty. The caller has it reach the disk.

    Raises:
        OSError: it cannot be written.
    """
    head = json.dumps(
        {
            "host": snapshot.host,
            "start": snapshot.start.isoformat(),
            "end": snapshot.end.isoformat(),
            "losses": snapshot.losses.nonzero(),
            "health": health_as_json(snapshot.health),
            "lost": all_lost(snapshot).nonzero(),
            "key": _KEY_FIELDS,
            "count": _COUNT_FIELDS,
        }
    ).encode()
    file.write(_HEADER.pack(b"", mark, len(head), zlib.crc32(head), 0, 0))
    file.write(head)
    length = crc = 0
    for part in _compressed(snapshot.counts):
        file.write(part)
        length += len(part)
        crc = zlib.crc32(part, crc)
    file.flush()
    file.seek(0)
    file.write(_HEADER.pack(_MAGIC, mark, len(head), zlib.crc32(head), length, crc))
    file.flush()


def read_head(file: BinaryIO) -> Head:
    """What the file says of its snapshot.

    Raises:
        DamagedFrameError: it is not whole, as far as can be told without reading the counts.
        OSError: it cannot be read.
    """
    return _opened(file)[0]


def read(file: BinaryIO) -> tuple[Head, Snapshot]:
    """The snapshot, with what stands before it. Nothing is taken for read before all of it has been checked.

    Raises:
        DamagedFrameError: it is not whole.
        OSError: it cannot be read.
    """
    head, names, length, crc = _opened(file)
    body = file.tell()
    _check(file, length, crc)
    file.seek(body)
    try:
        counts = tuple(_counts(_lines(file), *names))
    except (zlib.error, ValueError, TypeError, KeyError) as fault:
        raise DamagedFrameError(f"its counts are not understood: {fault}") from fault
    snapshot = Snapshot(
        host=head.host, start=head.start, end=head.end, counts=counts, losses=head.losses, health=head.health
    )
    return head, snapshot


def health_as_json(health: CaptureHealth) -> dict[str, Any]:
    """For `health_from`."""
    blind = health.blind_since
    return asdict(health) | {"blind_since": blind.isoformat() if blind else None, "unseen": list(health.unseen)}


def health_from(values: Mapping[str, Any]) -> CaptureHealth:
    """What `health_as_json` was given."""
    blind = values["blind_since"]
    since = datetime.fromisoformat(blind) if blind else None
    return CaptureHealth(**dict(values) | {"blind_since": since, "unseen": tuple(values["unseen"])})


def _compressed(counts: Iterable[ConnectionCount]) -> Iterator[bytes]:
    # The fastest: rows repeat each other so much that more effort gains little.
    packer = zlib.compressobj(1)
    rest = iter(counts)
    while some := list(islice(rest, _ROWS)):
        # Text that is not Unicode is written out by JSON, and comes back as it was.
        lines = "".join(json.dumps([*_key(each.key), *_count(each)], default=str) + "\n" for each in some)
        yield packer.compress(lines.encode())
    yield packer.flush()


def _opened(file: BinaryIO) -> tuple[Head, tuple[list[str], list[str]], int, int]:
    raw = file.read(_HEADER.size)
    if len(raw) < _HEADER.size:
        raise DamagedFrameError("it was cut short")
    magic, mark, head_length, head_crc, length, crc = _HEADER.unpack(raw)
    if magic != _MAGIC:
        raise DamagedFrameError("it was not written to its end" if not magic.strip(b"\0") else "it is something else")
    text = file.read(min(head_length, _LONGEST_HEAD))
    if len(text) != head_length or zlib.crc32(text) != head_crc:
        raise DamagedFrameError("its head was changed or cut short")
    try:
        values = json.loads(text)
        head = Head(
            mark=mark,
            host=values["host"],
            start=datetime.fromisoformat(values["start"]),
            end=datetime.fromisoformat(values["end"]),
            losses=Losses(**values["losses"]),
            health=health_from(values["health"]),
            lost=Losses(**values["lost"]),
        )
        return head, (values["key"], values["count"]), length, crc
    except (ValueError, TypeError, KeyError) as fault:
        raise DamagedFrameError(f"its head is not understood: {fault}") from fault


def _check(file: BinaryIO, length: int, crc: int) -> None:
    found = seen = 0
    while part := file.read(_READ_BYTES):
        seen += len(part)
        found = zlib.crc32(part, found)
    if seen != length:
        raise DamagedFrameError(f"{length} bytes of counts were written, {seen} are there")
    if found != crc:
        raise DamagedFrameError("its counts were changed")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    unpacker = zlib.decompressobj()
    rest = b""
    while part := file.read(_READ_BYTES):
        # A few bytes may unpack to gigabytes.
        while part:
            *whole, rest = (rest + unpacker.decompress(part, _LONGEST_LINE)).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                raise ValueError("a line without end")
            yield from whole
            part = unpacker.unconsumed_tail
    if rest or not unpacker.eof:
        raise ValueError("they end too soon")


def _counts(lines: Iterable[bytes], key_names: list[str], count_names: list[str]) -> Iterator[ConnectionCount]:
    # Text is the same over and over; in memory it stands once.
    texts: dict[str, str] = {}
    for line in lines:
        values = [texts.setdefault(each, each) if isinstance(each, str) else each for each in json.loads(line)]
        key: dict[str, Any] = dict(zip(key_names, values[: len(key_names)], strict=True))
        count: dict[str, Any] = dict(zip(count_names, values[len(key_names) :], strict=True))
        for place in (key, count):
            for name in _ADDRESSES:
                if place.get(name) is not None:
                    place[name] = ip_address(place[name])
        key |= {"direction": Direction(key["direction"]), "protocol": Protocol(key["protocol"])}
        yield ConnectionCount(key=ConnectionKey(**key), **count)
