"""The account that the service runs as when root starts it, and what belongs to it."""

from __future__ import annotations

import ctypes
import os
import pwd
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector import shipped
from detector.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVICE = "detector"
"""The account that the package makes. Its group may read what is stored."""
STATE_MODE = 0o750
_OTHERS = 0o027
_PR_SET_NO_NEW_PRIVS = 38
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Account:
    """An account of this machine, with the groups that it is in."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


def of_service(wanted: str | None = None) -> Account | None:
    """The account that this process has to run as; None: as it runs now.

    Only root can become somebody else. From a source checkout nobody does so unasked: other accounts can often not read
    it.

    Args:
        wanted: its name; None: that of the package, if there is one.

    Raises:
        ConfigError: there is no such account.
    """
    if os.geteuid() != 0:
        if wanted is not None and pwd.getpwuid(os.geteuid()).pw_name != wanted:
            raise ConfigError(f"only root can run this as {wanted}", hint="leave --user out, or run it as root")
        return None
    try:
        entry = pwd.getpwnam(wanted or SERVICE)
    except KeyError:
        if wanted is None:
            return None
        hint = f"useradd --system --user-group --home-dir /nonexistent --shell /usr/sbin/nologin {wanted}"
        raise ConfigError(f"there is no account {wanted}", hint=hint) from None
    if entry.pw_uid == 0 or (wanted is None and shipped.checkout() is not None):
        return None
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, tuple(groups))


def become(account: Account | None) -> None:
    """Makes this process one of `account`, with no way back and none to any privileges. None: it stays as it is.

    Raises:
        OSError: the kernel refuses.
    """
    if account is not None:
        take_ids(account)
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        fault = ctypes.get_errno()
        raise OSError(fault, os.strerror(fault))


def close_to_others() -> None:
    """What this process makes from here on, and what those that it starts do, is for its user and group alone, whatever
    root's umask is: the units say so, too.
    """
    os.umask(os.umask(_OTHERS) | _OTHERS)


def take_ids(account: Account) -> None:
    """Real, effective and saved ids, and the groups; what becomes of capabilities is up to the caller."""
    os.setgroups(account.groups)
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)


@contextmanager
def acting_as(account: Account | None) -> Iterator[None]:
    """What is opened and made here, by root, is as if `account` did it; None: as ever."""
    if account is None:
        yield
        return
    own_groups, own_gid = os.getgroups(), os.getegid()
    os.setgroups(account.groups)
    os.setegid(account.gid)
    os.seteuid(account.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(own_gid)
        os.setgroups(own_groups)


def own_state(folder: Path, account: Account) -> None:
    """Makes the state folder, or what root left in it when it ran without an account, belong to `account`.

    Nothing but root's own plain files changes hands, and no link is followed: whoever may write there could have put
    one to any file of the system.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        folder.mkdir(mode=STATE_MODE, parents=True, exist_ok=True)
        _own_all(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), account)
    except OSError as fault:
        hint = "set state_folder, or mend its permissions"
        raise ConfigError(f"{folder}: {fault.strerror}", hint=hint) from fault


def _own_all(folder: int, account: Account) -> None:
    """Takes the descriptor over. The folder changes hands last: until then nobody else can change what is in it."""
    try:
        if os.fstat(folder).st_uid != 0:
            return
        for name in os.listdir(folder):
            # What SQLite removes meanwhile need not change hands.
            with suppress(FileNotFoundError):
                _own(folder, name, account)
        os.fchown(folder, account.uid, account.gid)
    finally:
        os.close(folder)


def _own(folder: int, name: str, account: Account) -> None:
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        _own_all(os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), account)
    elif stat.S_ISREG(status.st_mode) and status.st_uid == 0 and status.st_nlink == 1:
        os.chown(name, account.uid, account.gid, dir_fd=folder, follow_symlinks=False)


def belong_to_folder(path: Path) -> None:
    """Has a file or folder that root has just made belong to whom the folder around it belongs to.

    Raises:
        OSError: the kernel refuses.
    """
    if os.geteuid() == 0:
        around = path.parent.stat()
        os.chown(path, around.st_uid, around.st_gid, follow_symlinks=False)


def reading_group(folder: Path) -> int | None:
    """The group that a folder of root's should have, so that the service can read what is in it: that of the folder
    around it, unless that is root's as well, else that of the account that the package makes.

    None: there is no such account, or nobody but root could change it.
    """
    if os.geteuid() != 0:
        return None
    if around := folder.parent.stat().st_gid:
        return around
    with suppress(KeyError):
        return pwd.getpwnam(SERVICE).pw_gid
    return None
