"""Gives up what a collector does not need to start, and then what it does not need to go on.

Measured on Linux 6.1 and 6.18, by taking all away and giving back one by one: opening control groups by their numbers
takes CAP_DAC_READ_SEARCH. Draining maps, names of accounts, the self-test, Postgres, and SQLite in a folder of one's
own take nothing. Before Linux 5.19 draining took CAP_BPF.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from detector.account import take_ids
from detector.bpf.preflight import TO_LOAD, Capability, kernel_version
from detector.errors import CaptureError

if TYPE_CHECKING:
    from detector.account import Account

# From here on reading and writing a map takes its descriptor alone.
_MAPS_BY_DESCRIPTOR = (5, 19)
# From here on maps are not charged to what a process may lock in memory.
_MAPS_BY_CONTROL_GROUP = (5, 11)
_TO_START = (
    *TO_LOAD,
    Capability.CAP_DAC_READ_SEARCH,
    Capability.CAP_SYS_PTRACE,
    # To give up the others for good.
    Capability.CAP_SETPCAP,
)
# As root alone: to become another account, or to write a database of another one's.
_TO_BECOME = (Capability.CAP_SETGID, Capability.CAP_SETUID)
_TO_WRITE = (Capability.CAP_CHOWN, Capability.CAP_DAC_OVERRIDE)

# include/uapi/linux/capability.h and prctl.h
_CAPABILITY_VERSION_3 = 0x20080522
_HEADER = struct.Struct("=Ii")
_SETS = struct.Struct("=6I")
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 23, 24, 38
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_LOW = 0xFFFFFFFF

_libc = ctypes.CDLL(None, use_errno=True)


def limit(account: Account | None = None) -> None:
    """Leaves root's process, and those that it starts, with what a collector needs to start.

    One that is not root's has what somebody gave it on purpose.

    Args:
        account: see `drop`.

    Raises:
        CaptureError: the kernel refuses.
    """
    if os.geteuid() != 0:
        return
    wanted = {*_TO_START, *(_TO_WRITE if account is None else _TO_BECOME)}
    if not _is_from(_MAPS_BY_CONTROL_GROUP):
        wanted.add(Capability.CAP_SYS_RESOURCE)
    _, permitted = _held()
    if not all(_bit(each) & permitted for each in TO_LOAD):
        # Which is as good.
        wanted.add(Capability.CAP_SYS_ADMIN)
    kept = sum(map(_bit, wanted)) & permitted
    _drop_from_bounds(kept)
    _set(effective=kept, permitted=kept)


def drop(sqlite_file: Path | None = None, account: Account | None = None) -> tuple[str, ...]:
    """Leaves this process with the capabilities that it needs from here on, and no way to others.

    To be called when the kernel programs are attached and who listens already is known, before other threads start.
    Does no harm to a process that has few privileges or none.

    Args:
        sqlite_file: the database, if it is a file: it stays writable.
        account: what this process, which is root's, becomes; None: it stays as it is.

    Returns:
        What had to be left, each in a sentence that says why; usually nothing.

    Raises:
        CaptureError: the kernel refuses.
    """
    _, permitted = _held()
    # While it still may. A process that holds no such capability cannot pass it on either.
    if account is not None:
        _prctl(_PR_SET_KEEPCAPS, 1)
        take_ids(account)
        _set(effective=permitted, permitted=permitted)
    kept = _bit(Capability.CAP_DAC_READ_SEARCH)
    if not _is_from(_MAPS_BY_DESCRIPTOR):
        kept |= _bit(Capability.CAP_BPF)
    kept &= permitted
    said = []
    if sqlite_file is not None:
        try:
            more = _to_write(sqlite_file, permitted, kept)
        finally:
            _set(effective=permitted, permitted=permitted)
        if more:
            kept |= sum(map(_bit, more))
            said.append(
                f"writing {sqlite_file} takes {' and '.join(each.name for each in more)}, which the collector keeps: "
                "let the file and its folder belong to the user that runs it"
            )
    _drop_from_bounds(kept)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _set(effective=kept, permitted=kept)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if others := len(list(Path("/proc/self/task").iterdir())) - 1:
        said.append(f"threads that ran before privileges were dropped keep theirs: {others}")
    return tuple(said)


def _to_write(sqlite_file: Path, permitted: int, kept: int) -> list[Capability]:
    """What writing the file takes beyond `kept`. Leaves the effective set changed."""
    more = []
    _set(effective=kept, permitted=permitted)
    if not _is_writable(sqlite_file):
        _set(effective=kept | (_bit(Capability.CAP_DAC_OVERRIDE) & permitted), permitted=permitted)
        if not _is_writable(sqlite_file):
            # A file system that is read-only, for one: no privilege helps.
            return []
        more.append(Capability.CAP_DAC_OVERRIDE)
    # SQLite, run by root, gives the files that it makes beside the database to the owner of that; without, the owner
    # could not open the database any more.
    if os.geteuid() == 0 and sqlite_file.exists() and sqlite_file.stat().st_uid != 0:
        more.append(Capability.CAP_CHOWN)
    return [each for each in more if _bit(each) & permitted]


def _is_writable(sqlite_file: Path) -> bool:
    beside = (sqlite_file.with_name(sqlite_file.name + ending) for ending in ("", "-wal", "-shm"))
    return all(
        os.access(path, os.W_OK, effective_ids=True)
        for path in (sqlite_file.parent, *beside)
        if os.access(path, os.F_OK)
    )


def _is_from(oldest: tuple[int, int]) -> bool:
    version = kernel_version()
    return version is not None and version >= oldest


def _bit(capability: Capability) -> int:
    return 1 << capability


def _drop_from_bounds(kept: int) -> None:
    number = 0
    while (bound := _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0)) >= 0:
        if bound and not kept >> number & 1 and _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0):
            # Without CAP_SETPCAP nobody may; "no new privileges" alone has the same effect then.
            return
        number += 1


def _held() -> tuple[int, int]:
    """The effective and the permitted set."""
    sets = ctypes.create_string_buffer(_SETS.size)
    _check(_libc.capget(_HEADER.pack(_CAPABILITY_VERSION_3, 0), sets), "reading privileges")
    effective, permitted, _, more_effective, more_permitted, _ = _SETS.unpack(sets.raw)
    return more_effective << 32 | effective, more_permitted << 32 | permitted


def _set(*, effective: int, permitted: int) -> None:
    """The inheritable set becomes empty."""
    sets = _SETS.pack(effective & _LOW, permitted & _LOW, 0, effective >> 32, permitted >> 32, 0)
    _check(_libc.capset(_HEADER.pack(_CAPABILITY_VERSION_3, 0), sets), "dropping privileges")


def _prctl(option: int, argument: int) -> None:
    _check(_libc.prctl(option, argument, 0, 0, 0), "dropping privileges")


def _check(result: int, what: str) -> None:
    if result:
        raise CaptureError(f"{what}: {os.strerror(ctypes.get_errno())}")
