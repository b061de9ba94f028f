"""Which hosts a verb about models is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.errors import DetectorError

if TYPE_CHECKING:
    from sqlalchemy import Connection


def chosen_hosts(connection: Connection, host: str | None) -> dict[int, str]:
    """The host of that name, or all; by number.

    Raises:
        DetectorError: nothing is stored of it.
    """
    from detector.store.filters import known_hosts

    hosts = known_hosts(connection)
    if host is None:
        return hosts
    found = {number: name for number, name in hosts.items() if name == host}
    if not found:
        raise DetectorError(f"nothing is stored of a host {host!r}", hint=_known(hosts))
    return found


def the_host(connection: Connection, host: str | None) -> tuple[int, str]:
    """The host of that name, or the only one there is.

    Raises:
        DetectorError: nothing is stored of it, or there are several.
    """
    found = chosen_hosts(connection, host)
    if len(found) != 1:
        what = "there are several hosts" if found else "nothing is stored yet"
        raise DetectorError(what, hint=f"say which one: --host; {_known(found)}" if found else "")
    ((number, name),) = found.items()
    return number, name


def _known(hosts: dict[int, str]) -> str:
    return f"there is: {', '.join(sorted(hosts.values()))}" if hosts else "there is none yet"
