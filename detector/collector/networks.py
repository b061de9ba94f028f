"""Country and network owner of an address, from MaxMind-format files that the operator names."""

from __future__ import annotations

import re
import stat
import struct
import sys
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from detector.errors import ConfigError
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from maxminddb import Reader

    from detector.domain import IPAddress

_LOOK_AGAIN_SECONDS = 1.0
# A look-up takes 20 to 60 µs. When this many are remembered, all are done anew.
_REMEMBERED = 10_000
# Not every network in a file has a country or an owner; a file of the right kind has one among its first.
_SAMPLE = 1000
_LONGEST_OWNER = 200
_COUNTRY_CODE = re.compile("[A-Z]{2}")
# What a damaged file raises when it is read: mostly maxminddb's own RuntimeError, but not always.
_DAMAGE = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, OSError, struct.error)


@dataclass(frozen=True, slots=True)
class _Kind:
    key: str
    field: str
    example: str
    take: Callable[[object], str | None]


class Networks:
    """Looks countries and network owners up. A file that is replaced is opened anew, unless the new one is broken.

    Args:
        country_file: has a `country.iso_code` for each network (GeoLite2-Country and the like). None: all are unknown.
        network_file: has an `autonomous_system_organization` (GeoLite2-ASN and the like). None: all are unknown.
        report: is told once when a file cannot be read any more, and when it can again.

    Raises:
        ConfigError: a file is missing, not in MaxMind's format, or of another kind.

    Times are seconds of `time.monotonic()`.
    """

    def __init__(self, country_file: Path | None, network_file: Path | None, *, report: Callable[[str], None]) -> None:
        self._countries = _File(_COUNTRY, country_file, report) if country_file else None
        self._owners: _File | None = None
        try:
            self._owners = _File(_OWNER, network_file, report) if network_file else None
        except ConfigError:
            self.close()
            raise

    def close(self) -> None:
        """Closes the files: nothing is known any more."""
        for file in (self._countries, self._owners):
            if file:
                file.close()
        self._countries = self._owners = None

    def country_of(self, address: IPAddress, at: float | None = None) -> str | None:
        """ISO 3166 code of the country that the address's network is in."""
        return self._countries.find(address, at) if self._countries else None

    def network_of(self, address: IPAddress, at: float | None = None) -> str | None:
        """Number and owner of the address's network: "AS64500 Example Ltd"."""
        return self._owners.find(address, at) if self._owners else None


class _File:
    """One file, followed as it is replaced."""

    def __init__(self, kind: _Kind, path: Path, report: Callable[[str], None]) -> None:
        self._kind = kind
        self._path = path
        self._report = report
        self._found: dict[bytes, str | None] = {}
        self._fault = ""
        self._damaged = False
        self._look_again = float("-inf")
        self._seen = self._identity()
        self._opened = self._seen
        self._reader: Reader | None = self._open()

    def close(self) -> None:
        if self._reader:
            self._reader.close()
        self._reader = None
        self._found.clear()

    def find(self, address: IPAddress, at: float | None) -> str | None:
        self._follow(time.monotonic() if at is None else at)
        packed = address.packed
        try:
            return self._found[packed]
        except KeyError:
            found = self._look_up(address)
        if len(self._found) >= _REMEMBERED:
            self._found.clear()
        # One owner has many addresses.
        self._found[packed] = sys.intern(found) if found else None
        return found

    def _look_up(self, address: IPAddress) -> str | None:
        if self._reader is None or address.version > self._reader.metadata().ip_version:
            return None
        try:
            return self._kind.take(self._reader.get(address))
        except _DAMAGE:
            self._damaged = True
            self._wrong(f"{self._kind.key}: {self._path} is damaged")
            return None

    def _follow(self, now: float) -> None:
        if now < self._look_again:
            return
        self._look_again = now + _LOOK_AGAIN_SECONDS
        try:
            self._seen, before = self._identity(), self._seen
            if self._seen == self._opened:
                if not self._damaged:
                    self._right()
            elif self._seen != before or not self._reader:
                self._replace()
        except ConfigError as fault:
            self._wrong(f"{fault.message}; {'the one before is used' if self._reader else 'none is used'}")

    def _replace(self) -> None:
        if self._reader and self._seen[0] == self._opened[0]:
            # Written over in place: what was opened is not there any more.
            self.close()
        opened = self._open()
        self.close()
        self._reader, self._opened, self._damaged = opened, self._seen, False
        self._right()

    def _wrong(self, message: str) -> None:
        if message != self._fault:
            self._fault = message
            self._report(message)

    def _right(self) -> None:
        if self._fault:
            self._fault = ""
            self._report(f"{self._kind.key}: {self._path} is read again")

    def _identity(self) -> tuple[tuple[int, int], int, int]:
        try:
            status = self._path.stat()
        except OSError as fault:
            raise ConfigError(f"{self._kind.key}: {self._path}: {fault.strerror}") from fault
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{self._kind.key}: {self._path} is not a file")
        return (status.st_dev, status.st_ino), status.st_mtime_ns, status.st_size

    def _open(self) -> Reader:
        # Here, since most collectors have no such file.
        import maxminddb

        kind = self._kind
        if not self._seen[-1]:
            raise ConfigError(f"{kind.key}: {self._path} is empty")
        try:
            # Not mapped into memory: the pages looked at would soon be most of the file (tens of MB), and a file cut
            # short in place would end the collector (SIGBUS).
            reader = maxminddb.open_database(self._path, maxminddb.MODE_FILE)
        except OSError as fault:
            raise ConfigError(f"{kind.key}: {self._path}: {fault.strerror}") from fault
        except _DAMAGE as fault:
            hint = f"name a file such as {kind.example}"
            raise ConfigError(f"{kind.key}: {self._path} is not a MaxMind database", hint=hint) from fault
        try:
            fits = any(kind.take(record) for _, record in islice(reader, _SAMPLE))
        except _DAMAGE as fault:
            reader.close()
            raise ConfigError(f"{kind.key}: {self._path} is damaged") from fault
        if not fits:
            what = visible(str(reader.metadata().database_type), _LONGEST_OWNER)
            reader.close()
            hint = f"name a file such as {kind.example}"
            raise ConfigError(f"{kind.key}: {self._path} ({what}) holds no {kind.field}", hint=hint)
        return reader


def _country(record: object) -> str | None:
    match record:
        case {"country": {"iso_code": str(code)}}:
            return code if _COUNTRY_CODE.fullmatch(code) else None
    return None


def _owner(record: object) -> str | None:
    match record:
        case {"autonomous_system_number": int(number), "autonomous_system_organization": str(owner)}:
            return visible(f"AS{number} {owner}", _LONGEST_OWNER)
        case {"autonomous_system_organization": str(owner)} if owner:
            return visible(owner, _LONGEST_OWNER)
        case {"autonomous_system_number": int(number)}:
            return f"AS{number}"
    return None


_COUNTRY = _Kind("collector.country_file", "country.iso_code", "GeoLite2-Country.mmdb", _country)
_OWNER = _Kind("collector.network_file", "autonomous_system_organization", "GeoLite2-ASN.mmdb", _owner)
