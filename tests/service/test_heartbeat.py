"""The sign of life: given while all goes on, and not otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, insert, update

from detector.config_heartbeat import Heartbeat
from detector.errors import ConfigError
from detector.service import heartbeat
from detector.service.heartbeat import Beating, complaint
from detector.store.engine import writing
from detector.store.liveness import Liveness, liveness
from detector.store.tables import detection_cursors, snapshots
from tests.builders import Recorder, count
from tests.service.test_delivering import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def host(*, captured: float = 5, waiting: float | None = None, usual: float = 10, name: str = "bastion-1") -> Liveness:
    """A host whose last snapshot, and the oldest one that detection has not seen, ended so many seconds ago."""
    return Liveness(
        host=name,
        captured_until=NOW - timedelta(seconds=captured),
        usual_seconds=usual,
        detected_until=None,
        waiting_since=None if waiting is None else NOW - timedelta(seconds=waiting),
    )


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        ([], "no snapshot is stored yet"),
        ([host()], None),
        ([host(captured=29)], None),
        ([host(captured=600)], "no snapshot has come for 10 min"),
        ([host(captured=600, usual=300)], None),
        ([host(captured=600), host(name="other")], None),
        ([host(waiting=400)], "detection is more than 5 min behind with 1 of 1 hosts"),
        ([host(waiting=400), host(name="other")], "detection is more than 5 min behind with 1 of 2 hosts"),
        # The first of a new host, or the first after a night.
        ([host(waiting=5)], None),
    ],
)
def test_what_is_wrong(hosts: list[Liveness], said: str | None) -> None:
    """Capture that stopped altogether, detection that is far behind; one silent host of several is a rule's matter."""
    assert complaint(hosts, NOW) == said


class Service(ThreadingHTTPServer):
    """Where signs of life go; paths under /moved are elsewhere, those under /away are refused."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str, str]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.server.asked.append((method, self.path, body))
        moved = self.path.startswith("/moved")
        self.send_response(302 if moved else 503 if self.path.startswith("/away") else 200)
        if moved:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def service() -> Iterator[Service]:
    """One that runs for the test."""
    server = Service()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def beating(engine: Engine, address: str, faults: Faults, **settings: str) -> Beating:
    """A heart."""
    return Beating(engine, Heartbeat(**settings), address, Event(), faults)  # type: ignore[arg-type]


def test_well_and_unwell_are_told_apart(
    sqlite_engine: Engine, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While all goes on the address is asked; when something is wrong the other one is told what; not at a start."""
    heart = beating(sqlite_engine, f"http://127.0.0.1:{service.server_port}/ping/s3cret", Faults())
    heart.beat(None)
    heart.beat("no snapshot is stored yet")
    assert service.asked == [("GET", "/ping/s3cret", "")]
    monkeypatch.setattr(heartbeat, "STARTING_SECONDS", 0.0)
    heart.beat("no snapshot has come for 10 min")
    assert service.asked[1:] == [("POST", "/ping/s3cret/fail", "no snapshot has come for 10 min")]
    silent = beating(sqlite_engine, f"http://127.0.0.1:{service.server_port}/x", Faults(), fail_suffix="")
    silent.beat("wrong")
    assert len(service.asked) == 2


def test_what_goes_wrong_is_said_once_and_without_the_address(sqlite_engine: Engine, service: Service) -> None:
    """Refused, redirected or unreachable: the reason, and when it is over; never followed to another place."""
    faults = Faults()
    for path, reason in (("away", "answered 503"), ("moved", "answered 302")):
        heart = beating(sqlite_engine, f"http://127.0.0.1:{service.server_port}/{path}/s3cret", faults)
        heart.beat(None)
        heart.beat(None)
        assert faults.said[-1].endswith(reason)
    assert len(faults.said) == 2
    assert "/elsewhere" not in [path for _, path, _ in service.asked]
    beating(sqlite_engine, "http://127.0.0.1:9/s3cret", faults).beat(None)
    beating(sqlite_engine, "http://s3cret.invalid/s3cret", faults).beat(None)
    assert faults.said[2] == "the heartbeat did not arrive: no answer: Connection refused"
    assert "s3cret" not in "".join(faults.said)


def test_the_store_says_how_far_it_has_come(engine: Engine) -> None:
    """Each host with the ends of its last snapshot, of the last one detected and of the next; none of an import."""
    recorder = Recorder(engine)
    first, second = recorder.snapshot(count()), recorder.snapshot(count())
    imported = Recorder(engine, host="imported").snapshot(count())
    with writing(engine) as connection:
        ours = snapshots.c.host_id == first.host_id
        connection.execute(update(snapshots).where(ours).values(mark=b"m" * 16))
        connection.execute(delete(detection_cursors))
        connection.execute(insert(detection_cursors).values(host_id=first.host_id, seq=first.seq))
        (found,) = liveness(connection)
    assert (found.host, found.captured_until, found.detected_until) == ("bastion-1", second.end, first.end)
    assert found.waiting_since == second.end
    assert imported.host == "imported"


@pytest.mark.parametrize("address", ["ftp://host/x", "host/x", "http:///x", "http://ho st/", "http://[x/"])
def test_an_address_of_something_else_is_refused(address: str) -> None:
    """Without repeating it."""
    with pytest.raises(ConfigError) as fault:
        _ = Heartbeat(url=address).address
    assert address not in fault.value.message
