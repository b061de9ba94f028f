"""Logs that are imported: Zeek's, tab-separated and as JSON, and rows as `detector query` prints them."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

from detector.store.engine import open_store, writing
from detector.store.migrating import upgrade
from detector.store.tables import imports
from tests.collector.logs import BEGIN, HOST, json_lines, row, tab_separated
from tests.fuzz.harness import Surface, call

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_ZEEK = (row(), row(at=61, resp="2001:db8::1", conn_state="REJ", history="Sr"), row(at=5, proto="udp", port=53))
_ROWS: list[dict[str, Any]] = [
    {"host": "bastion-1", "start": "2026-03-02T09:00:00Z", "end": "2026-03-02T09:00:10Z", "user": "alice",
     "executable": "/usr/bin/ssh", "remote_address": "10.0.4.12", "remote_port": 22, "attempted": 3, "established": 2,
     "refused": 1, "protocol": "tcp", "direction": "outbound", "score": 0.5, "login_address": "198.51.100.7"},
    {"host": "bastion-1", "start": "2026-03-02T09:00:10Z", "end": "2026-03-02T09:00:20Z", "direction": "inbound",
     "protocol": "tcp", "local_port": 22, "remote_address": "::1", "attempted": 1},
]  # fmt: skip


def _jsonl() -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in _ROWS)


def _seeds() -> Sequence[bytes]:
    plain = [b"z" + tab_separated(*_ZEEK), b"z" + json_lines(*_ZEEK), b"j" + _jsonl()]
    return [*plain, *(each[:1] + gzip.compress(each[1:], mtime=0) for each in plain)]


def _open(folder: Path) -> Callable[[bytes], None]:
    """The first byte says what the rest is."""
    url = f"sqlite:///{folder / 'detector.db'}"
    engine = open_store(url)
    upgrade(engine)
    settings = folder / "detector.toml"
    settings.write_text(f'[database]\nurl = "{url}"\n')
    path = folder / "log"

    def store(data: bytes) -> None:
        path.write_bytes(data[1:])
        if data[:1] == b"j":
            call("--config", settings, "import", "jsonl", path, "--host", "copy", "--quiet")
        else:
            call("--config", settings, "import", "zeek", path, "--host", "web-1", "--address", HOST, "--quiet")
        call("--config", settings, "query", "--since", "0", "--limit", "5")
        with writing(engine) as connection:
            connection.execute(imports.delete())

    return store


SURFACE = Surface(
    "logs",
    _open,
    _seeds,
    (b"\t", b"\n", b"-", b"(empty)", b"#fields\t", b"#separator \\x09", b"#set_separator", b"\\x1b", b"1e999", b"NaN",
     b"null", b'"ts": ', b'"host": "', b"999999", b"::", b"0.0.0.0", str(BEGIN).encode(), b"0001-01-01T00:00:00Z",
     b"9999-12-31T23:59:59Z", b"\x1f\x8b\x08", b"[" * 3000, b'"attempted": 99999999999999999999'),
)  # fmt: skip
