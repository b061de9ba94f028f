"""`detector notify`."""

from __future__ import annotations

import json
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Call


class _Receiver(ThreadingHTTPServer):
    """A web hook on loopback that keeps what it is sent; paths under /refuse answer 403."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[str, str]] = []


class _Handler(BaseHTTPRequestHandler):
    server: _Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.received.append((self.path, body))
        self.send_response(403 if self.path.startswith("/refuse") else 200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of http.server
        """Says nothing."""


@pytest.fixture
def receiver() -> Iterator[_Receiver]:
    """A server that runs for the test."""
    server = _Receiver()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test writes its configuration."""
    return tmp_path / "detector.toml"


def _channel(name: str, url: str) -> str:
    return f'[[channels]]\nname = "{name}"\nurl = "{url}"\n'


def test_each_channel_is_tried(call: Call, file: Path, receiver: _Receiver) -> None:
    """Every configured channel is sent one message, marked as a test, and each delivery is said."""
    port = receiver.server_port
    file.write_text(
        'host = "bastion-1"\n' + "".join(_channel(name, f"json://127.0.0.1:{port}/{name}") for name in ("one", "two"))
    )

    result = call("--config", file, "notify", "test")

    assert (result.code, result.out, result.err) == (0, "one: delivered\ntwo: delivered\n", "")
    assert sorted(path for path, _ in receiver.received) == ["/one", "/two"]
    for _, body in receiver.received:
        assert json.loads(body)["title"] == "[test] bastion-1: detector can reach this channel"


def test_named_channels_alone_are_tried(call: Call, file: Path, receiver: _Receiver) -> None:
    """With names only those are sent to, each once."""
    port = receiver.server_port
    file.write_text("".join(_channel(name, f"json://127.0.0.1:{port}/{name}") for name in ("one", "two", "three")))

    result = call("--config", file, "notify", "test", "three", "one", "three")

    assert result.out == "three: delivered\none: delivered\n"
    assert [path for path, _ in receiver.received] == ["/three", "/one"]


def test_a_failure_is_said_and_does_not_stop_the_others(call: Call, file: Path, receiver: _Receiver) -> None:
    """Each channel is tried; what failed is named with the reason, never with the address; the exit code is 1."""
    port = receiver.server_port
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = probe.getsockname()[1]
    file.write_text(
        _channel("refusing", f"json://127.0.0.1:{port}/refuse/t0ken-s3cret")
        + _channel("closed", f"json://user:passw0rd-s3cret@127.0.0.1:{closed}/x")
        + _channel("misspelt", "nosuch://t0ken-s3cret")
        + '[[channels]]\nname = "lost"\nurl_file = "/none/of/these"\n'
        + _channel("good", f"json://127.0.0.1:{port}/good")
    )

    result = call("--config", file, "notify", "test")

    assert result.code == 1
    said = dict(line.split(": ", 1) for line in result.lines if not line.startswith("  "))
    assert list(said) == ["refusing", "closed", "misspelt", "lost", "good"]
    assert said["good"] == "delivered"
    assert all(said[name].startswith("not delivered: ") for name in ("refusing", "closed", "misspelt", "lost"))
    assert "403" in said["refusing"]
    assert "/none/of/these: No such file" in said["lost"]
    assert said["misspelt"] == "not delivered: its address cannot be used"
    remedy = "  see https://appriseit.com/services/ for the addresses of each service"
    assert result.lines[result.lines.index(f"misspelt: {said['misspelt']}") + 1] == remedy
    assert result.err == ("detector: 4 of 5 channels did not take the message: refusing, closed, misspelt, lost\n")
    assert "s3cret" not in result.out + result.err


def test_an_unknown_channel_is_refused_before_any_is_sent_to(call: Call, file: Path, receiver: _Receiver) -> None:
    """A misspelt name is an error of the command line that lists the names."""
    file.write_text(_channel("operators", f"json://127.0.0.1:{receiver.server_port}/x"))

    result = call("--config", file, "notify", "test", "operators", "operator")

    assert result.code == 2
    assert "there is no channel 'operator'; there is operators" in result.err
    assert receiver.received == []


def test_no_channels_is_a_fault(call: Call, file: Path) -> None:
    """With nothing to try the program says how to configure something."""
    file.write_text("")

    result = call("--config", file, "notify", "test")

    assert result.code == 78
    assert result.err == "detector: no channels are configured\n  add a [[channels]] table; see docs/configuration.md\n"
