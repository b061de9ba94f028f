"""Who listened before the capture began, read from /proc: the kernel programs are shown only who begins to."""

from __future__ import annotations

import os
import re
import socket
import struct
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from detector.bpf.processes import UNKNOWN_ID, KernelProcess, Listener, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MOUNTS = Path("/proc/self/mounts")
_IPV4_BYTES = 4
_MAPPED = bytes(10) + b"\xff\xff"
_LINK = "socket:["
# More than any file that is read whole has.
_MOST_BYTES = 65_536
# The effective one.
_UID = re.compile(rb"^Uid:\t\d+\t(\d+)", re.MULTILINE)
_PARENT = re.compile(rb"^PPid:\t(\d+)", re.MULTILINE)

# TCP_LISTEN of include/net/tcp_states.h as the files write it; SCTP has the same number.
_TCP_LISTENS = b"0A"
_SCTP_LISTENS = b"10"


@dataclass(frozen=True, slots=True)
class Listening:
    """A socket that listens: the inode of its file, its address (16 bytes, IPv4 mapped), port and IP's protocol."""

    inode: int
    address: bytes
    port: int
    protocol: int


_Wanted = dict[int, list[tuple[int, Listening]]]
"""By inode: the network namespace, and what listens; of SCTP for each address."""


def listening() -> list[Listener]:
    """All sockets of TCP and SCTP that listen now, in all network namespaces that a process is in.

    A socket that several processes hold counts for the one with the lowest number: a server's parent, not its workers.
    What belongs to processes that this one may not look at (which takes CAP_SYS_PTRACE) is left out. Sockets may share
    an address and port (SO_REUSEPORT): each is an element of its own.
    """
    with _folder("/proc") as proc:
        numbers = sorted(int(name) for name in _names(proc) if name.isdecimal())
        wanted = _wanted(proc, numbers)
        hierarchy = _hierarchy()
        found: list[Listener] = []
        for number in numbers:
            if not wanted:
                break
            # What ended meanwhile leaves its sockets to who else holds them.
            with suppress(OSError), _folder(str(number), proc) as process:
                if held := _held(process, wanted):
                    who = _describe(proc, process, hierarchy)
                    found += [
                        Listener(network, each.address, each.port, each.protocol, who)
                        for inode in held
                        for network, each in wanted.pop(inode)
                    ]
    return found


def read_tcp(lines: Iterable[bytes]) -> Iterator[Listening]:
    """What listens of /proc/net/tcp or /proc/net/tcp6.

    It comes first (Documentation/networking/proc_net_tcp.rst); the connections that follow may be very many, and are
    not read.
    """
    for line in _without_heading(lines):
        _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
        if state != _TCP_LISTENS:
            return
        address, _, port = local.partition(b":")
        # Each four bytes are written as one number, in the order of this processor.
        words = (int(address[at : at + 8], 16) for at in range(0, len(address), 8))
        packed = b"".join(struct.pack("=I", word) for word in words)
        yield Listening(int(inode), _mapped(packed), int(port, 16), socket.IPPROTO_TCP)


def read_sctp(lines: Iterable[bytes]) -> Iterator[Listening]:
    """What listens of /proc/net/sctp/eps, once for every address that it is bound to."""
    for line in _without_heading(lines):
        _, _, _, state, _, port, _, inode, *addresses = line.split()
        if state == _SCTP_LISTENS:
            for address in addresses:
                packed = ip_address(address.decode()).packed
                yield Listening(int(inode), _mapped(packed), int(port), socket.IPPROTO_SCTP)


_FILES = (("tcp", read_tcp), ("tcp6", read_tcp), ("sctp/eps", read_sctp))


def _without_heading(lines: Iterable[bytes]) -> Iterator[bytes]:
    rest = iter(lines)
    next(rest, None)
    return rest


def _mapped(packed: bytes) -> bytes:
    return _MAPPED + packed if len(packed) == _IPV4_BYTES else packed


@contextmanager
def _folder(path: str, within: int | None = None) -> Iterator[int]:
    """The folder of a process in particular: whoever gets its number after it is not found in there."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=within)
    try:
        yield folder
    finally:
        os.close(folder)


def _names(folder: int) -> list[str]:
    return os.listdir(folder)


def _wanted(proc: int, numbers: Iterable[int]) -> _Wanted:
    """What listens in the namespaces of these processes, each namespace read once."""
    wanted: _Wanted = {}
    read: set[int] = set()
    for number in numbers:
        with suppress(OSError):
            network = _network(proc, number)
            if network in read:
                continue
            found = _listening_of(number)
            # The process may have gone, or moved, before all was read: then the next one of the namespace tells.
            if _network(proc, number) == network:
                read.add(network)
                for each in found:
                    wanted.setdefault(each.inode, []).append((network, each))
    return wanted


def _network(proc: int, number: int) -> int:
    return os.stat(f"{number}/ns/net", dir_fd=proc).st_ino


def _listening_of(number: int) -> list[Listening]:
    found: list[Listening] = []
    for name, reader in _FILES:
        # No IPv6, or no SCTP.
        with suppress(FileNotFoundError), Path(f"/proc/{number}/net/{name}").open("rb") as lines:
            found += reader(lines)
    return found


def _held(process: int, wanted: _Wanted) -> list[int]:
    """Which of the sockets the process holds, by inode."""
    held: dict[int, None] = {}
    with _folder("fd", process) as files:
        for name in _names(files):
            try:
                link = os.readlink(name, dir_fd=files)
            except FileNotFoundError:  # closed meanwhile
                continue
            if link.startswith(_LINK) and (inode := int(link[len(_LINK) : -1])) in wanted:
                held[inode] = None
    return list(held)


def _describe(proc: int, process: int, hierarchy: Path | None) -> KernelProcess:
    """As the kernel programs describe a process, but that the script is not known."""
    status = _read(process, "status")
    return KernelProcess(
        cgroup=_control_group(_read(process, "cgroup"), hierarchy),
        uid=_number(_UID, status),
        login_uid=_audit(process, "loginuid"),
        session=_audit(process, "sessionid"),
        executable=_executable(process),
        script=None,
        parent_executable=_parent_executable(proc, process, status),
        command=text(_read(process, "comm").removesuffix(b"\n")),
    )


def _read(process: int, name: str) -> bytes:
    file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)
    try:
        return os.read(file, _MOST_BYTES)
    finally:
        os.close(file)


def _number(pattern: re.Pattern[bytes], status: bytes) -> int:
    match = pattern.search(status)
    return int(match.group(1)) if match else UNKNOWN_ID


def _audit(process: int, name: str) -> int:
    try:
        return int(_read(process, name))
    except FileNotFoundError:
        # A kernel without audit.
        return UNKNOWN_ID


def _executable(process: int) -> str:
    # The kernel adds " (deleted)" itself.
    return text(os.fsencode(os.readlink("exe", dir_fd=process)))


def _parent_executable(proc: int, process: int, status: bytes) -> str | None:
    number = _number(_PARENT, status)
    with suppress(OSError), _folder(str(number), proc) as parent:
        executable = _executable(parent)
        # As long as it is the parent, nobody else has its number.
        if _number(_PARENT, _read(process, "status")) == number:
            return executable
    return None


def _hierarchy() -> Path | None:
    """Where the control groups are, whose folders' inodes are their numbers."""
    for line in _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        _, mount_point, kind, *_ = line.split(" ")
        if kind == "cgroup2":
            return Path(mount_point)
    return None


def _control_group(memberships: bytes, hierarchy: Path | None) -> int:
    """The number of the control group; 0, which none has, if it is gone or outside what can be seen from here."""
    path = next((line[3:] for line in memberships.split(b"\n") if line.startswith(b"0::")), None)
    if hierarchy is None or path is None or path.startswith(b"/.."):
        return 0
    with suppress(OSError):
        return Path(f"{hierarchy}{os.fsdecode(path)}").stat().st_ino
    return 0
