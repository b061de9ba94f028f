"""What the kernel's numbers of processes stand for: who they are, and where their logins came from."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from detector.bpf import syscall

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# struct process, path, image, origin, listener_key and listener of the *.bpf.c files
_PROCESS = struct.Struct("=Q6IBBBB16sI")
_PATH_BYTES = 512
_PATH_CUT = b"\x01"
_NUMBER = struct.Struct("=I")
_IMAGE_BYTES = 16
_IMAGE_FACTS_BYTES = 8
_ORIGIN = struct.Struct("=16sII")
_LISTENER_KEY = struct.Struct("=16sIHBB")
_LISTENER = struct.Struct("=IIII")

UNKNOWN_ID = 0xFFFFFFFF
_DELETED = " (deleted)"

# Numbers that the kernel does not give: it would need two million processes for one.
_OWN_NUMBERS = 0x80000000


@dataclass(frozen=True, slots=True)
class KernelProcess:
    """Who connects, as the kernel knows it. UNKNOWN_ID means none.

    Paths are as the kernel walks them; one that is longer than it keeps begins with "…/", and that of a file which was
    deleted or replaced ends with " (deleted)". None if unknown.
    """

    cgroup: int
    uid: int
    login_uid: int
    session: int
    executable: str | None
    script: str | None
    parent_executable: str | None
    command: str


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that listens: in which network namespace (its inode), on which address (16 bytes) and port, and who."""

    network: int
    address: bytes
    port: int
    protocol: int
    process: KernelProcess


class Processes:
    """Reads the kernel's tables when a number is new.

    Args:
        fds: descriptors of the maps by name, as `map:…`.
        entries: size of the kernel's tables. When one is half full, what it says is taken over and it starts anew.
    """

    def __init__(self, fds: Mapping[str, int], entries: int) -> None:
        self._fds = fds
        self._most = entries // 2
        self._known: dict[int, KernelProcess] = {}
        self._known_before: dict[int, KernelProcess] = {}
        self._own: dict[int, KernelProcess] = {}
        self._paths: dict[int, str] = {}
        self._paths_before: dict[int, str] = {}
        self._origins: dict[int, bytes] = {}

    def get(self, number: int) -> KernelProcess | None:
        """The process with this number; None if it is unknown."""
        return self._known.get(number) or self._known_before.get(number) or self._own.get(number)

    def learn(self, numbers: Iterable[int], *, table_full: bool) -> None:
        """Makes sure that all `numbers` are known.

        Raises:
            CaptureError: the kernel refuses.
        """
        if not table_full and all(self.get(number) for number in numbers):
            return
        self._read_paths(remove=False)
        self._read_processes(remove=False)
        if table_full or len(self._known) >= self._most or len(self._paths) >= self._most:
            # Tables that only grow could be filled on purpose, and then nothing new would be named. The counts at hand
            # and the attempts under way still refer to old numbers, so those live for one more turn, and those that
            # listen for as long as they do.
            self._read_paths(remove=True)
            self._paths_before, self._paths = self._paths, {}
            self._read_paths(remove=False)
            self._read_processes(remove=True)
            listening = self._listening()
            old = self._known_before | self._known
            self._own |= {number: old[number] for number in listening if number in old}
            self._own = {number: each for number, each in self._own.items() if number in listening}
            self._known_before, self._known = self._known, {}
            self._origins.clear()
            if (images := self._fds.get("map:images")) is not None:
                for _ in syscall.entries(images, _IMAGE_BYTES, _IMAGE_FACTS_BYTES, remove=True):
                    pass

    def login_address(self, session: int) -> bytes | None:
        """Where the login session came from: see `Capture.login_address`."""
        if session == UNKNOWN_ID or (fd := self._fds.get("map:origins")) is None:
            return None
        if session not in self._origins:
            value = syscall.lookup(fd, _NUMBER.pack(session), _ORIGIN.size)
            address, known, _ = _ORIGIN.unpack(value) if value else (b"", 0, 0)
            if not known:
                return None
            self._origins[session] = address
        return self._origins[session]

    def add_listeners(self, listeners: Iterable[Listener]) -> None:
        """Adds those that listened before the programs were attached.

        Raises:
            CaptureError: the kernel refuses.
        """
        if (fd := self._fds.get("map:listeners")) is None:
            return
        # Sockets may share a port: the entry goes with the last one.
        sockets: Counter[bytes] = Counter()
        processes: dict[bytes, KernelProcess] = {}
        for each in listeners:
            key = _LISTENER_KEY.pack(each.address, each.network, each.port, each.protocol, 0)
            sockets[key] += 1
            processes.setdefault(key, each.process)
        for number, (key, process) in enumerate(processes.items(), _OWN_NUMBERS + len(self._own)):
            self._own[number] = process
            syscall.update(fd, key, _LISTENER.pack(number, sockets[key], process.session, 0), keep=True)

    def _listening(self) -> set[int]:
        if (fd := self._fds.get("map:listeners")) is None:
            return set()
        return {
            number
            for _, values in syscall.entries(fd, _LISTENER_KEY.size, _LISTENER.size, remove=False)
            for number, *_ in _LISTENER.iter_unpack(values)
        }

    def _read_paths(self, *, remove: bool) -> None:
        if (fd := self._fds.get("map:paths")) is None:
            return
        for paths, numbers in syscall.entries(fd, _PATH_BYTES, _NUMBER.size, remove=remove, batch=512):
            for index, (number,) in enumerate(_NUMBER.iter_unpack(numbers)):
                path = paths[index * _PATH_BYTES : (index + 1) * _PATH_BYTES].lstrip(b"\0")
                self._paths[number] = "…/" + text(path[1:]) if path[:1] == _PATH_CUT else text(path)

    def _read_processes(self, *, remove: bool) -> None:
        fd = self._fds["map:processes"]
        for raw, numbers in syscall.entries(fd, _PROCESS.size, _NUMBER.size, remove=remove, batch=512):
            for fields, (number,) in zip(_PROCESS.iter_unpack(raw), _NUMBER.iter_unpack(numbers), strict=True):
                if number not in self._known:
                    self._known[number] = self._process(fields)

    def _process(self, fields: tuple[Any, ...]) -> KernelProcess:
        cgroup, uid, login_uid, session, executable, script, parent, deleted, parent_deleted, *_, command, _ = fields
        return KernelProcess(
            cgroup,
            uid,
            login_uid,
            session,
            self._path(executable, deleted=bool(deleted)),
            self._path(script, deleted=False),
            self._path(parent, deleted=bool(parent_deleted)),
            text(command.partition(b"\0")[0]),
        )

    def _path(self, number: int, *, deleted: bool) -> str | None:
        path = self._paths.get(number) or self._paths_before.get(number)
        return path + _DELETED if path and deleted else path


def text(raw: bytes) -> str:
    """Names are bytes to the kernel; what is not UTF-8 becomes visible, and can be stored anywhere."""
    return raw.decode("utf-8", errors="backslashreplace")
