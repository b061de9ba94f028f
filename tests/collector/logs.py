"""Writes the logs that are imported: rows of Zeek's conn.log, tab-separated and as JSON."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from detector.collector.log_files import LogFile, source_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

BEGIN = 1_700_000_040  # the begin of a minute
HOST = "10.0.4.12"

_FIELDS = (
    *("ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "duration", "orig_bytes"),
    *("resp_bytes", "conn_state", "local_orig", "local_resp", "missed_bytes", "history", "orig_pkts", "orig_ip_bytes"),
    *("resp_pkts", "resp_ip_bytes", "tunnel_parents"),
)


def row(at: float = 0, orig: str = HOST, resp: str = "198.51.100.7", port: object = 443, **more: Any) -> dict[str, Any]:
    """A connection `at` seconds after BEGIN: established, of TCP, from the host; fields by Zeek's names."""
    return {
        "ts": f"{BEGIN + at:.6f}",
        "uid": "CHhAvVGS1DHFjwGM9",
        "id.orig_h": orig,
        "id.orig_p": 50820,
        "id.resp_h": resp,
        "id.resp_p": port,
        "proto": "tcp",
        "service": "ssl",
        "duration": 1.5,
        "conn_state": "SF",
        "history": "ShADadFf",
    } | more


def tab_separated(*rows: Mapping[str, Any], fields: Iterable[str] = _FIELDS, separator: str = "\t") -> bytes:
    """A log as Zeek writes it, header and all."""
    names = list(fields)
    escaped = "".join(f"\\x{byte:02x}" for byte in separator.encode())
    head = [
        f"#separator {escaped}",
        f"#set_separator{separator},",
        f"#empty_field{separator}(empty)",
        f"#unset_field{separator}-",
        f"#path{separator}conn",
        f"#open{separator}2023-11-14-22-14-00",
        separator.join(["#fields", *names]),
        separator.join(["#types", *(["string"] * len(names))]),
    ]
    lines = [separator.join(str(each.get(name, "-")) for name in names) for each in rows]
    return "\n".join([*head, *lines, f"#close{separator}2023-11-14-23-00-00", ""]).encode()


def json_lines(*rows: Mapping[str, Any]) -> bytes:
    """The same as JSON, with numbers as numbers."""
    objects = [{**each, "ts": float(each["ts"])} for each in rows]
    return b"".join(json.dumps(each).encode() + b"\n" for each in objects)


@contextmanager
def opened(path: Path, content: bytes) -> Iterator[LogFile]:
    """A log of this content, ready to be read."""
    path.write_bytes(content)
    with LogFile(str(path)) as file:
        source_digest([file])
        yield file
