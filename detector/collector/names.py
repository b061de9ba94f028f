"""Names of addresses, learnt from the answers that this host's processes get from its name servers.

See docs/names.md for what a name says, and what it does not prove.
"""

from __future__ import annotations

import struct
import time
from collections import Counter
from enum import StrEnum
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from detector.collector.resolvers import FIRST_ORDINARY_UID, Refusal, Resolvers

if TYPE_CHECKING:
    from detector.bpf.answers import DnsAnswer
    from detector.domain import IPAddress

# Connections, and the programs that make them, outlast a TTL: a name is kept longer, but not for ever, since addresses
# get other owners. A week is what RFC 8767 gives TTLs at most.
_SHORTEST_SECONDS = 24 * 3600
_LONGEST_SECONDS = 7 * 24 * 3600

# What is known of one address, before the bytes of its name: until when, over TCP?, the server, who received it. One
# object instead of six takes a third less memory.
_KNOWN = struct.Struct("!I?16sI")


class Reading(StrEnum):
    """What became of a message that was believed."""

    LEARNT = "learnt"
    WITHOUT_ADDRESS = "without an address"
    NOT_AN_ANSWER = "not an answer"
    CUT = "cut short"
    MALFORMED = "malformed"


class Names:
    """Remembers the name last asked for that had an address for an answer.

    Args:
        most: of how many addresses; the one that was neither learnt nor used for longest is forgotten for a new one.
        resolvers: whose answers are believed.

    `counted` says what became of all messages (over TCP, an answer can hold several); `forgotten` how many names had to
    make room. Times are seconds of `time.monotonic()`.
    """

    def __init__(self, most: int, resolvers: Resolvers | None = None) -> None:
        # Here, since only a collector needs it.
        from detector.collector import dns_message

        self._wire = dns_message
        self._most = most
        self._resolvers = resolvers or Resolvers()
        self._known: dict[bytes, bytes] = {}
        self.counted: Counter[Refusal | Reading] = Counter()
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._known)

    @property
    def unread(self) -> int:
        """Messages that were not read, or not to their end."""
        return self.counted[Reading.MALFORMED] + self.counted[Reading.CUT]

    def learn(self, answer: DnsAnswer, at: float | None = None) -> None:
        """Remembers what `answer`, received at time `at` (None: now), says."""
        now = time.monotonic() if at is None else at
        if refusal := self._resolvers.refusal(answer, now):
            self.counted[refusal] += 1
            return
        for message in self._wire.messages(answer.payload, tcp=answer.tcp):
            self.counted[self._learn(message, answer, now)] += 1

    def name_of(self, address: IPAddress, at: float | None = None) -> tuple[str, str] | None:
        """Name of an address at time `at` (None: now), and how it was learnt: "udp answer of 10.0.0.2", and to whom if
        that was an ordinary account, since its word is all there is for it (see docs/names.md).
        """
        key = address.packed
        known = self._known.pop(key, None)
        if known is None:
            return None
        until, tcp, server, uid = _KNOWN.unpack_from(known)
        if until < (time.monotonic() if at is None else at):
            return None
        self._known[key] = known  # the last to be forgotten
        asked = IPv6Address(server)
        name = known[_KNOWN.size :].decode()
        source = f"{'tcp' if tcp else 'udp'} answer of {asked.ipv4_mapped or asked}"
        return name, source if uid < FIRST_ORDINARY_UID else f"{source} to uid {uid}"

    def _learn(self, message: bytes, answer: DnsAnswer, now: float) -> Reading:
        cut = answer.tcp or len(answer.payload) < answer.length
        try:
            read = self._wire.read(message)
        except self._wire.NotAnAnswerError:
            return Reading.NOT_AN_ANSWER
        except self._wire.MalformedError:
            return Reading.CUT if cut else Reading.MALFORMED
        if read.addresses:
            kept = min(max(read.ttl, _SHORTEST_SECONDS), _LONGEST_SECONDS)
            known = _KNOWN.pack(int(now) + kept, answer.tcp, answer.server, answer.uid) + read.name.encode()
            for address in read.addresses:
                self._remember(address, known)
        if not read.whole:
            return Reading.CUT if cut else Reading.MALFORMED
        return Reading.LEARNT if read.addresses else Reading.WITHOUT_ADDRESS

    def _remember(self, address: bytes, known: bytes) -> None:
        self._known.pop(address, None)
        if len(self._known) >= self._most:
            del self._known[next(iter(self._known))]
            self.forgotten += 1
        self._known[address] = known
