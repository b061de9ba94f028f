"""What becomes of the lines of a log that is imported, and what their parsers have in common."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from detector.errors import LogError

if TYPE_CHECKING:
    from detector.domain import IPAddress, Snapshot

SHOWN_REFUSALS = 20
_SHOWN_CHARACTERS = 60


class LineError(ValueError):
    """A line is not understood; the text says what is wrong, and what to write instead."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that is not understood; printed as `path:line: what is wrong; what to write instead`."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(slots=True)
class Tally:
    """What became of the lines that were read and did not become part of a snapshot."""

    strict: bool = False
    """The first line that is refused ends it."""
    rows: int = 0
    """All rows: those stored, left out and refused."""
    bytes: int = 0
    """How much was read of what `LogFile.length` says."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Rows that are understood and no part of any snapshot, by the reason."""
    refused: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    """The first of those refused."""

    def refuse(self, path: str, line: int, message: str) -> None:
        """Counts a line that is not understood.

        Raises:
            LogError: none is to be passed over.
        """
        refusal = Refusal(path, line, message)
        if self.strict:
            raise LogError(str(refusal), hint="mend the line; without --strict it is left out, and the others are read")
        self.rows += 1
        self.refused += 1
        if len(self.refusals) < SHOWN_REFUSALS:
            self.refusals.append(refusal)


@dataclass(frozen=True, slots=True)
class LoggedSnapshot:
    """A snapshot made of a log, and of how many of its rows."""

    snapshot: Snapshot
    rows: int


@lru_cache(maxsize=65_536)
def parsed_address(text: str) -> IPAddress:
    """An address; IPv4 mapped into IPv6 is IPv4.

    Raises:
        ValueError: not an address, or one with a zone, which means something on one machine alone.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ValueError("an address with a zone")
        return address.ipv4_mapped or address
    return address


def shown(text: str) -> str:
    """The beginning of what was written, in quotes."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
