"""Channels that apprise reaches: bad addresses, secrets, timeouts."""

from __future__ import annotations

import io
import logging
import socket
import time
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest

from detector.errors import ConfigError, DeliveryError
from detector.notify.apprise_notifier import AppriseNotifier
from detector.notify.message import trial
from tests.notify.servers import TOKENS, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MESSAGE = trial("ops", "bastion-1")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that is logged by anyone, at debug level, as a service under debugging would show it."""
    text = io.StringIO()
    handler, root = logging.StreamHandler(text), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield text
    root.setLevel(level)
    root.removeHandler(handler)


@contextmanager
def listener(serve: Callable[[socket.socket, Event], None]) -> Iterator[int]:
    """A server on loopback that does `serve` with each connection; its port."""
    done = Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)

        def accept() -> None:
            while not done.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    serve(connection, done)

        thread = Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            done.set()
            thread.join()


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("nonsense-with-secret", ["secret"]),
        ("unheard://of-secret/path", ["secret"]),
        ("slack://T1JJ3T3L2/A1BRTD4JD/not-a-token", [*TOKENS, "not-a-token"]),
        (f"slack://{'/'.join(TOKENS)}?format=fancy", list(TOKENS)),
        ("mailto://user:pa55word@", ["pa55word"]),
        ("mailto://user:pa55word@mail.example.com/?to=not-an-address", ["pa55word"]),
    ],
)
def test_a_bad_address_is_refused_by_the_name_of_its_channel(
    url: str, secrets: list[str], capsys: pytest.CaptureFixture[str], log: io.StringIO
) -> None:
    """The fault names the channel; neither it nor any log shows the address or what is secret in it."""
    with pytest.raises(ConfigError, match="channel 'ops'") as fault:
        AppriseNotifier("ops", url, 1)
    told = fault.value.message + log.getvalue() + "".join(capsys.readouterr())
    assert url not in told
    assert not [secret for secret in secrets if secret in told]


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        (f"slack://{'/'.join(TOKENS)}", list(TOKENS)),
        ("mailto://robot:pa55word@127.0.0.1:{port}/?from=d@example.com&to=o@example.com", ["pa55word"]),
        ("json://robot:pa55word@127.0.0.1:{port}/hook/s3cret-path?-key=s3cret-value", ["pa55word", "s3cret"]),
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", ["JHMHI8qBe7bk2ZwO5U711o3dV_js"]),
    ],
)
def test_a_failure_tells_no_secret(
    url: str,
    secrets: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    log: io.StringIO,
) -> None:
    """Nobody answers: the reason says so, and neither it nor any log, at debug level, holds a token or password."""
    port = free_port()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    with pytest.raises(DeliveryError, match="refused") as failure:
        AppriseNotifier("ops", url.format(port=port), 1).send(MESSAGE)
    told = failure.value.message + log.getvalue() + "".join(capsys.readouterr())
    assert not [secret for secret in secrets if secret in told]
    assert failure.value.message.isprintable()


def test_a_server_that_never_answers_ends_with_the_timeout() -> None:
    """Mail and web hooks alike: the attempt fails in about the time that is configured."""

    def say_nothing(_: socket.socket, done: Event) -> None:
        done.wait(60)

    with listener(say_nothing) as port:
        for url in (
            f"mailto://127.0.0.1:{port}/?from=d@example.com&to=o@example.com",
            f"json://127.0.0.1:{port}/hook",
        ):
            start = time.monotonic()
            with pytest.raises(DeliveryError, match=r"timed out|no answer within"):
                AppriseNotifier("ops", url, 0.3).send(MESSAGE)
            # What is not told how long to wait waits 4 s or more.
            assert time.monotonic() - start < 3.5


def test_an_answer_that_trickles_in_ends_all_the_same() -> None:
    """A server that keeps sending, and never comes to an end, does not hold the outbox."""

    def trickle(connection: socket.socket, done: Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not done.wait(0.05):
            connection.sendall(b"x")

    with listener(trickle) as port:
        start = time.monotonic()
        with pytest.raises(DeliveryError, match=r"no answer within 0\.6 s"):
            AppriseNotifier("ops", f"json://127.0.0.1:{port}/hook", 0.3).send(MESSAGE)
        # All of it would take 50 s.
        assert time.monotonic() - start < 25


def test_a_redirect_is_not_followed() -> None:
    """What is secret in an address goes to that address alone."""
    asked: list[bytes] = []

    def redirect(connection: socket.socket, _: Event) -> None:
        asked.append(connection.recv(4096))
        place = f"http://127.0.0.1:{connection.getsockname()[1]}/elsewhere"
        connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())

    with listener(redirect) as port, pytest.raises(DeliveryError, match="302"):
        AppriseNotifier("ops", f"json://robot:pa55word@127.0.0.1:{port}/hook", 1).send(MESSAGE)
    assert len(asked) == 1


def test_an_address_cannot_hide_a_failure() -> None:
    """Options of apprise that repeat a message, or take a failure for a success, have no effect: the outbox does it."""
    asked: list[bytes] = []

    def refuse(connection: socket.socket, _: Event) -> None:
        asked.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")

    with listener(refuse) as port, pytest.raises(DeliveryError, match="503"):
        AppriseNotifier("ops", f"json://127.0.0.1:{port}/hook?retry=3&wait=0&optional=yes", 1).send(MESSAGE)
    assert len(asked) == 1
