"""One connection to a mail server for many mails.

apprise connects anew for each mail, and reads all certificates of the system before: 25 ms of processor time, where
the mail itself takes two. A connection that has delivered a mail is kept for a few seconds, for the next one.
"""

from __future__ import annotations

import smtplib
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

# Longer than what waits needs to follow; shorter than any server's own patience.
_IDLE_SECONDS = 5.0
# Some servers take no more from one connection.
_MOST_MAILS = 50
_OK = 250

_Key = tuple[Any, ...]


class _Idle:
    """The connections that wait for another mail, by where they lead and as whom. At most one each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[_Key, tuple[smtplib.SMTP, int, float]] = {}
        self._reaper: threading.Thread | None = None

    def take(self, key: _Key) -> tuple[smtplib.SMTP, int] | None:
        """One that still answers, and how many mails it has taken; it is the caller's alone."""
        with self._lock:
            found = self._kept.pop(key, None)
        if found is None:
            return None
        connection, mails, _ = found
        with suppress(OSError, smtplib.SMTPException):
            if connection.noop()[0] == _OK:
                return connection, mails
        connection.close()
        return None

    def keep(self, key: _Key, connection: smtplib.SMTP, mails: int) -> None:
        """Keeps one for a while."""
        with self._lock:
            before = self._kept.pop(key, None)
            self._kept[key] = connection, mails, time.monotonic() + _IDLE_SECONDS
            if self._reaper is None:
                self._reaper = threading.Thread(target=self._reap, name="idle mail connections", daemon=True)
                self._reaper.start()
        if before is not None:
            _leave(before[0])

    def _reap(self) -> None:
        while True:
            time.sleep(_IDLE_SECONDS)
            with self._lock:
                now = time.monotonic()
                over = [key for key, (_, _, until) in self._kept.items() if until <= now]
                left = [self._kept.pop(key)[0] for key in over]
                done = not self._kept
                if done:
                    self._reaper = None
            for connection in left:
                _leave(connection)
            if done:
                return


_IDLE = _Idle()


def keep_connections() -> None:
    """From here on apprise's mails share connections."""
    from apprise.plugins.email import base
    from apprise.plugins.email.smtp import AppriseSMTPController

    # Where apprise's mail looks it up.
    place: Any = base
    if place.AppriseSMTPController is AppriseSMTPController:
        place.AppriseSMTPController = _kept(AppriseSMTPController)


def _kept(controller: Any) -> type:
    """A way to a mail server, as apprise uses it, that leaves its connection to the next one."""

    class Kept(controller):  # type: ignore[misc]
        _mails = 0
        _failed = False

        @property
        def _key(self) -> _Key:
            return (
                *(self.host, self.port, self.secure_mode, self.user, self.password),
                *(self.verify_certificate, self.socket_connect_timeout),
            )

        def __enter__(self) -> Any:
            found = _IDLE.take(self._key)
            if found is None:
                return super().__enter__()
            self._socket, self._mails = found
            return self

        def sendmail(self, from_addr: str, to_addrs: list[str], message: str) -> bool:
            taken = super().sendmail(from_addr, to_addrs, message)
            self._mails += 1
            self._failed |= not taken
            return bool(taken)

        def __exit__(
            self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
        ) -> None:
            if fault is None and not self._failed and self._mails < _MOST_MAILS and self._socket is not None:
                _IDLE.keep(self._key, self._socket, self._mails)
            else:
                super().__exit__(kind, fault, trace)

    return Kept


def _leave(connection: smtplib.SMTP) -> None:
    with suppress(OSError, smtplib.SMTPException):
        connection.quit()
