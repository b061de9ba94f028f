"""Names what the kernel only numbers: users, and the unit, login session or container of a control group."""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import time
from dataclasses import dataclass
from pathlib import Path

from detector.bpf.processes import UNKNOWN_ID

_MOUNTS = Path("/proc/self/mounts")
# Names are asked for again after this: an account may have been made, renamed or deleted.
_USER_SECONDS = 300.0
# Control groups come and go with logins; when this many are remembered, all are looked up anew.
_REMEMBERED = 10_000

_SYSTEM_UNIT = re.compile(r"\.(?:service|scope|socket|mount|swap)$")
_SESSION_SCOPE = re.compile(r"^session-c?(\d+)\.scope$")
_CONTAINER = re.compile(r"^(?:(?:docker|libpod|crio|cri-containerd|podman)[-:])*([0-9a-f]{64})(?:\.scope)?$")
_NAMED_CONTAINER = re.compile(r"^(?:lxc\.payload\.|machine-)(.+?)(?:\.scope)?$")
# As long as container engines print them.
_CONTAINER_ID_LENGTH = 12


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """What a control group's path says; None where it says nothing.

    `unit` is the system's unit. A login's own scope is new each time, so for one it is the user's slice (which stays
    the same from login to login) and `session` the login's number.
    """

    unit: str | None = None
    session: int | None = None
    container: str | None = None


def control_group(path: str) -> ControlGroup:
    """Reads the path of a control group, as seen from the root of its hierarchy (`/user.slice/…`)."""
    unit: str | None = None
    session: int | None = None
    container: str | None = None
    above = ""
    for part in path.split("/"):
        if unit is None and (match := _SESSION_SCOPE.match(part)):
            unit, session = above or part, int(match.group(1))
        elif match := _CONTAINER.match(part):
            container = match.group(1)[:_CONTAINER_ID_LENGTH]
            unit = unit or (part if part.endswith(".scope") else None)
        elif match := _NAMED_CONTAINER.match(part):
            container = match.group(1)
            unit = unit or (part if part.endswith(".scope") else None)
        elif unit is None and _SYSTEM_UNIT.search(part):
            unit = part
        above = part
    # A container's scope is named after its number: the container says it already.
    if container and unit and container in unit:
        unit = None
    return ControlGroup(unit=unit, session=session, container=container)


class Attribution:
    """Looks names up, and remembers them."""

    def __init__(self) -> None:
        self._users: dict[int, tuple[str, float]] = {}
        self._groups: dict[int, ControlGroup] = {}
        self._hierarchy = _open_hierarchy()

    def user(self, uid: int) -> str | None:
        """Name of an account, its number as text if it has no name, None for no account."""
        if uid == UNKNOWN_ID:
            return None
        now = time.monotonic()
        known = self._users.get(uid)
        if known is None or now - known[1] > _USER_SECONDS:
            try:
                name = pwd.getpwuid(uid).pw_name
            except KeyError:
                name = str(uid)
            known = self._users[uid] = (name, now)
        return known[0]

    def group(self, number: int) -> ControlGroup:
        """What is known of a control group by its number (the inode of its folder). Nothing if it is gone already."""
        known = self._groups.get(number)
        if known is None:
            path = self._path(number)
            if path is None:
                return ControlGroup()
            if len(self._groups) >= _REMEMBERED:
                self._groups.clear()
            known = self._groups[number] = control_group(path)
        return known

    def _path(self, number: int) -> str | None:
        if self._hierarchy is None:
            return None
        root, mount = self._hierarchy
        fd = _open_by_number(mount, number)
        if fd is None:
            return None
        try:
            return str(Path(f"/proc/self/fd/{fd}").readlink()).removeprefix(root) or "/"
        finally:
            os.close(fd)


def _open_hierarchy() -> tuple[str, int] | None:
    for line in _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        _, mount_point, kind, *_ = line.split(" ")
        if kind == "cgroup2":
            return mount_point, os.open(mount_point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return None


# A control group can be opened by its number (FILEID_KERNFS of include/linux/exportfs.h), which takes
# CAP_DAC_READ_SEARCH: no walk through thousands of folders to find one.
_KERNFS_HANDLE = 0xFE
_libc = ctypes.CDLL(None, use_errno=True)


class _FileHandle(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_uint), ("kind", ctypes.c_int), ("number", ctypes.c_uint64))


def _open_by_number(mount: int, number: int) -> int | None:
    handle = _FileHandle(bytes=8, kind=_KERNFS_HANDLE, number=number)
    fd: int = _libc.open_by_handle_at(mount, ctypes.byref(handle), os.O_PATH | os.O_CLOEXEC)
    return None if fd < 0 else fd
