"""Column types that are one thing in the code and another in each database.

Times are aware datetimes in UTC: `timestamptz` on Postgres, integer microseconds since 1970 on SQLite. Addresses are
16 bytes, IPv4 mapped into IPv6 (::ffff:0:0/96), so that a network is a range of them. Text is what both can hold.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

from sqlalchemy import TIMESTAMP, BigInteger, Dialect, LargeBinary, TypeDecorator

from detector.domain import IPAddress

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.types import TypeEngine

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAPPED = b"\x00" * 10 + b"\xff\xff"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column type of `dialect`."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | int | None:
        """Refuses naive times: a time without zone is a fault of the caller."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return value.astimezone(UTC) if dialect.name == "postgresql" else (value - _EPOCH) // _MICROSECOND

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:  # noqa: ARG002
        """Always in UTC, whatever zone the database session shows.

        (In place of `process_result_value`, which takes three calls for each value.)
        """
        return _from_postgres if dialect.name == "postgresql" else _from_sqlite


def _from_postgres(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(UTC)


def _from_sqlite(value: int | None) -> datetime | None:
    return None if value is None else _EPOCH + value * _MICROSECOND


class Address(TypeDecorator[IPAddress]):
    """An IP address as 16 bytes; IPv4 is mapped, and comes back as IPv4."""

    impl = LargeBinary(16)
    cache_ok = True

    def process_bind_param(self, value: IPAddress | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002
        """See `packed`."""
        return None if value is None else packed(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> IPAddress | None:  # noqa: ARG002
        """IPv4 for mapped addresses."""
        return None if value is None else unpacked(bytes(value))


def storable(text: str) -> str:
    r"""`text` as both databases can hold it: NUL and what is no Unicode are written out (`\x00`, `\udcff`)."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def packed(address: IPAddress) -> bytes:
    """16 bytes in network order; IPv4 as ::ffff:a.b.c.d."""
    if isinstance(address, IPv4Address):
        return _MAPPED + address.packed
    return address.packed


def unpacked(raw: bytes) -> IPAddress:
    """The inverse of `packed`."""
    # Which most are.
    return IPv4Address(raw[12:]) if raw.startswith(_MAPPED) else IPv6Address(raw)
