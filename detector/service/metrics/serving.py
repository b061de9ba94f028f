"""Answers /metrics and /healthz over HTTP, to programs of this machine alone."""

from __future__ import annotations

import errno
import json
import os
import socket
import socketserver
import stat
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import BoundedSemaphore, Event, Lock, Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from detector import __version__
from detector.account import SERVICE
from detector.errors import ConfigError
from detector.service.metrics.exporting import StoreFigures, exposition, new_registry
from detector.service.metrics.sampling import Sampler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry
    from sqlalchemy import Engine

    from detector.config import Settings
    from detector.config_metrics import Loopback
    from detector.service.delivering import Faults

# Whoever asks is given so long to do so; and so many are served at once: any user of this machine may ask.
_PATIENCE_SECONDS = 10.0
_AT_ONCE = 8
RETRY_SECONDS = 10.0
"""After this it is looked again whether an address is free."""
_SOCKET_MODE = 0o660
_TEXT, _JSON = CONTENT_TYPE_PLAIN_0_0_4, "application/json"


@contextmanager
def served(settings: Settings, engine: Engine, faults: Faults) -> Iterator[CollectorRegistry]:
    """Listens as configured, until left; gives where counts of this process are to be registered.

    While somebody else has the port it is waited for: any user of this machine can take one, and must not end detection
    by that.

    Args:
        settings: say where.
        engine: the store.
        faults: told that the port is taken, and that it is not any more.

    Raises:
        ConfigError: nothing can listen there.
    """
    address = settings.metrics.address
    assert address is not None  # noqa: S101  asked before
    registry, sampler = new_registry(), Sampler(engine, settings)
    registry.register(StoreFigures(sampler))
    sampler.start()
    listening = _Listening(address, registry, sampler, faults)
    try:
        yield registry
    finally:
        listening.end()


class _Listening:
    """The server, as soon as its address is free, and the thread that it runs in."""

    def __init__(self, address: Loopback | Path, registry: CollectorRegistry, sampler: Sampler, faults: Faults) -> None:
        self._address, self._registry, self._sampler, self._faults = address, registry, sampler, faults
        self._ending, self._lock = Event(), Lock()
        self._server: _Server | None = None
        if self._is_taken():
            faults.fault(f"metrics.listen: {_shown(address)} is taken: no figures until it is free; see ss -lnp")
        self._thread = Thread(target=self._serve, name="metrics", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Lets nobody ask any more, and leaves nothing behind."""
        with self._lock:
            self._ending.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._thread.join()
        if self._server is not None and isinstance(self._address, Path):
            with suppress(OSError):
                self._address.unlink()

    def _serve(self) -> None:
        while self._server is None:
            if self._ending.wait(RETRY_SECONDS):
                return
            # The folder of a socket may be gone meanwhile, and come again.
            with suppress(ConfigError):
                if not self._is_taken():
                    self._faults.fault(f"metrics.listen: {_shown(self._address)} is free again: figures are served")
        self._server.serve_forever()

    def _is_taken(self) -> bool:
        with self._lock:
            if not self._ending.is_set():
                self._server = _listen(self._address, self._registry, self._sampler)
        return self._server is None


class _Handler(BaseHTTPRequestHandler):
    """One question."""

    server: _Server
    timeout = _PATIENCE_SECONDS
    server_version, sys_version = f"detector/{__version__}", ""

    def do_GET(self) -> None:
        """The figures, or whether all is well."""
        path = urlsplit(self.path).path
        if path == "/metrics":
            self._answer(HTTPStatus.OK, _TEXT, exposition(self.server.registry))
        elif path == "/healthz":
            self._answer(*_health(self.server.sampler))
        else:
            self._answer(HTTPStatus.NOT_FOUND, _TEXT, b"there are /metrics and /healthz\n")

    do_HEAD = do_GET  # noqa: N815  the standard library's name

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Nothing: a question every few seconds is no news."""

    def address_string(self) -> str:
        """Who asks; nobody is told."""
        return "-"


def _health(sampler: Sampler) -> tuple[HTTPStatus, str, bytes]:
    answer = sampler.ask()
    wrong = answer.fault if answer.sample is None else answer.sample.complaint
    status = HTTPStatus.OK if wrong is None else HTTPStatus.SERVICE_UNAVAILABLE
    told = {"healthy": wrong is None, "reasons": [] if wrong is None else [wrong]}
    return status, _JSON, f"{json.dumps(told)}\n".encode()


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A thread for each question, a few at once; others are turned away."""

    daemon_threads, block_on_close, allow_reuse_address = True, False, True
    request_queue_size = 32

    def __init__(self, family: int, address: Any, registry: CollectorRegistry, sampler: Sampler) -> None:
        self.address_family = family
        self.registry, self.sampler = registry, sampler
        self._free = BoundedSemaphore(_AT_ONCE)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Turns away who comes when all are busy, which would only be somebody who keeps them so."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serves one, and is free again."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: whoever asked has gone away."""


def _shown(address: Loopback | Path) -> str:
    return str(address) if isinstance(address, Path) else f"{address.host}:{address.port}"


def _listen(address: Loopback | Path, registry: CollectorRegistry, sampler: Sampler) -> _Server | None:
    """None: somebody else listens there."""
    try:
        if isinstance(address, Path):
            return _listen_at(address, registry, sampler)
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return _Server(family, (address.host, address.port), registry, sampler)
    except OSError as fault:
        if fault.errno == errno.EADDRINUSE:
            return None
        hint = "choose another one, or let the user of the service use it"
        if isinstance(address, Path) and not address.parent.exists():
            hint = f"make its folder: install -d -o {SERVICE} -g {SERVICE} -m 0750 {address.parent}"
        raise ConfigError(f"metrics.listen: {_shown(address)}: {fault.strerror}", hint=hint) from None


def _listen_at(path: Path, registry: CollectorRegistry, sampler: Sampler) -> _Server | None:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.stat(follow_symlinks=False).st_mode):
            raise OSError(errno.EEXIST, "there is something that is no socket")
        if _answers(path):
            return None
        # What an earlier process left behind; nothing else is removed.
        path.unlink()
    # Nobody else is let in before its mode is set.
    before = os.umask(0o777 & ~_SOCKET_MODE)
    try:
        return _Server(socket.AF_UNIX, str(path), registry, sampler)
    finally:
        os.umask(before)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
