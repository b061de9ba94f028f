"""Rows and alerts as events of the Open Cybersecurity Schema Framework (OCSF, schema.ocsf.io).

A row is a Network Activity event, an alert a Detection Finding. What the schema has no place for stands under
`unmapped`, by the names of the design. What is unknown is left out.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from detector.domain import CHANNELS, Direction, Outcome, Protocol, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from detector.domain import Alert

SCHEMA_VERSION = "1.5.0"

_DELETED = " (deleted)"
_CONNECTING = (Protocol.TCP, Protocol.SCTP)
# IANA's numbers of protocols; raw sockets and those below IP have none that is known.
_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}
_ICMP = {4: 1, 6: 58}
_ACTIVITIES = {0: "Unknown", 1: "Open", 4: "Fail", 5: "Refuse", 6: "Traffic"}
_STATES = {0: "Unknown", 1: "Success", 2: "Failure", 99: "Mixed"}
_SEVERITIES = {severity: severity.rank + 1 for severity in Severity}
_CONTAINER_ID = re.compile(r"[0-9a-f]{12,64}")
_NETWORK = re.compile(r"AS([0-9]{1,10}) (.+)", re.DOTALL)
_LARGEST_NETWORK = 2**31 - 1
_UNMAPPED_OF_ROW = (
    *("script", "unit", "login_address", "login_source", "remote_name_source"),
    *("attempted", "established", "refused", "timed_out", "failed"),
    *("score", "surprise", "unusual", "channel", "novelty", *(f"p_{name}" for name in CHANNELS), "explanation"),
)


def network_activity(row: Mapping[str, Any]) -> dict[str, Any]:
    """A stored row (see `history.find`) as an event of class 4001.

    Many connects are one event, over the time of their snapshot: `count` says how many.
    """
    activity, status = _activity(row), _status(row)
    timed = row["handshake_us_total"] > 0 and row["established"] > 0
    unmapped = {name: row[name] for name in _UNMAPPED_OF_ROW} | {
        "first_seen": row["first_seen"],
        "handshake_us_mean": round(row["handshake_us_total"] / row["established"]) if timed else None,
        "handshake_us_max": row["handshake_us_max"] if timed else None,
    }
    actor = _actor(row)
    return {
        **_classified(4, 4001, activity, "Network Activity", _ACTIVITIES[activity]),
        "severity_id": 1,
        "severity": "Informational",
        "status_id": status,
        "status": _STATES[status],
        **_period(row["start"], row["end"]),
        "count": max(row["attempted"], _ended(row), 1),
        "metadata": _metadata(
            f"{row['host']}/{row['seq']}/{row['key_id']}/{row['session']}", "connections", ["host", "container"]
        ),
        "device": _device(row["host"]),
        **({"actor": actor} if actor else {}),
        **_ends(row),
        "connection_info": _connection(row),
        "unmapped": _known(unmapped),
    }


def detection_finding(alert: Alert, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """An alert as an event of class 2004, with the first of the rows behind it as evidence."""
    activity = 1 if alert.finding_count == 1 else 2
    uid = f"{alert.host}/{alert.alert_id}"
    unmapped = {
        "alert_id": alert.alert_id,
        "fingerprint": alert.fingerprint,
        "group": dict(alert.group),
        "also_seen_by": dict(alert.also_seen_by),
        **{each.value: getattr(alert, each.value) for each in Outcome},
        "attempted": alert.attempted,
        "destinations": alert.destinations,
        "ports": alert.ports,
        "score": alert.score,
        "explanations": list(alert.explanations),
    }
    evidences = [_evidence(row) for row in rows]
    return {
        **_classified(2, 2004, activity, "Detection Finding", {1: "Create", 2: "Update"}[activity]),
        "severity_id": _SEVERITIES[alert.severity],
        "severity": alert.severity.value.capitalize(),
        "status_id": 1,
        "status": "New",
        "is_alert": True,
        "message": alert.summary,
        **_period(alert.start, alert.end),
        "count": max(alert.finding_count, 1),
        "metadata": _metadata(uid, "alerts", ["container"]),
        "device": _device(alert.host),
        "finding_info": {
            "uid": uid,
            "title": alert.rule_title,
            "desc": alert.summary,
            "created_time": _milliseconds(alert.opened_at),
            "modified_time": _milliseconds(alert.end),
            "first_seen_time": _milliseconds(alert.start),
            "last_seen_time": _milliseconds(alert.end),
            "analytic": {"uid": alert.rule_id, "name": alert.rule_title, "type_id": 1, "type": "Rule"},
        },
        **({"evidences": evidences} if evidences else {}),
        "unmapped": _known(unmapped),
    }


def _classified(category: int, of_class: int, activity: int, class_name: str, activity_name: str) -> dict[str, Any]:
    return {
        "category_uid": category,
        "category_name": {2: "Findings", 4: "Network Activity"}[category],
        "class_uid": of_class,
        "class_name": class_name,
        "activity_id": activity,
        "activity_name": activity_name,
        "type_uid": of_class * 100 + activity,
        "type_name": f"{class_name}: {activity_name}",
    }


def _period(start: datetime, end: datetime) -> dict[str, int]:
    """Milliseconds; what happened in between is known to have happened at its end."""
    first, last = _milliseconds(start), _milliseconds(end)
    return {"time": last, "start_time": first, "end_time": last, "duration": last - first}


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _metadata(uid: str, log: str, profiles: list[str]) -> dict[str, Any]:
    product = {"name": "detector", "vendor_name": "detector", "version": _version()}
    return {"version": SCHEMA_VERSION, "product": product, "uid": uid, "log_name": log, "profiles": profiles}


@cache
def _version() -> str:
    return version("detector")


def _device(host: str) -> dict[str, Any]:
    return {"hostname": host, "name": host, "type_id": 0, "type": "Unknown"}


def _ended(row: Mapping[str, Any]) -> int:
    return sum(row[each.value] for each in Outcome)


def _activity(row: Mapping[str, Any]) -> int:
    if row["protocol"] not in _CONNECTING:
        return 6
    if row["established"]:
        return 1
    if row["timed_out"] or row["failed"]:
        return 4
    return 5 if row["refused"] else 0


def _status(row: Mapping[str, Any]) -> int:
    failed = row["refused"] + row["timed_out"] + row["failed"]
    if row["protocol"] not in _CONNECTING:
        return 2 if failed and not row["attempted"] else 0
    if row["established"]:
        return 99 if failed else 1
    return 2 if failed else 0


def _ends(row: Mapping[str, Any]) -> dict[str, Any]:
    """Who began and who answered; an end of which nothing is known is left out."""
    outbound = row["direction"] == Direction.OUTBOUND
    here = _known({"hostname": row["host"], "name": row["host"], "port": row["local_port"]})
    there = _known(
        {
            "ip": None if row["remote_address"] is None else str(row["remote_address"]),
            "hostname": row["remote_name"],
            "location": None if row["remote_country"] is None else {"country": row["remote_country"]},
            "autonomous_system": _network(row["remote_network"]),
        }
    )
    if there:
        there |= _known({"port": row["remote_port"]})
    named = {"src_endpoint": here, "dst_endpoint": there} if outbound else {"src_endpoint": there, "dst_endpoint": here}
    return {name: end for name, end in named.items() if "ip" in end or "hostname" in end}


def _network(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    numbered = _NETWORK.fullmatch(text)
    if numbered and int(numbered[1]) <= _LARGEST_NETWORK:
        return {"number": int(numbered[1]), "name": numbered[2]}
    return {"name": text}


def _connection(row: Mapping[str, Any]) -> dict[str, Any]:
    outbound, protocol, address = (
        row["direction"] == Direction.OUTBOUND,
        Protocol(row["protocol"]),
        row["remote_address"],
    )
    ip_version = None if address is None else address.version
    number = _ICMP.get(ip_version or 0) if protocol is Protocol.ICMP else _NUMBERS.get(protocol)
    return _known(
        {
            "direction_id": 2 if outbound else 1,
            "direction": "Outbound" if outbound else "Inbound",
            "protocol_name": protocol.value,
            "protocol_num": number,
            "protocol_ver_id": ip_version or 0,
        }
    )


def _actor(row: Mapping[str, Any]) -> dict[str, Any]:
    """The process and who is behind it; of an inbound connection the one that listens."""
    login = row["login_user"] if row["login_user"] is not None else row["user"]
    session = None
    if row["session"]:
        session = {"uid": str(row["session"]), "is_remote": row["login_address"] is not None}
    return _known(
        {
            "process": _process(row),
            "user": None if login is None else {"name": login},
            "session": session,
        }
    )


def _process(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row is of all processes of one kind, so that they have the number of its key in place of their own."""
    executable, parent = row["executable"], row["parent_executable"]
    known = _known(
        {
            "name": row["command"],
            "path": executable,
            "file": None if executable is None else _file(executable),
            "user": None if row["user"] is None else {"name": row["user"]},
            "ancestry": None if parent is None else [{"path": parent, "name": _file(parent)["name"]}],
            "container": _container(row["container"]),
        }
    )
    return {"uid": str(row["key_id"]), **known} if known else None


def _file(path: str) -> dict[str, Any]:
    deleted = path.endswith(_DELETED)
    bare = path.removesuffix(_DELETED)
    return {"path": bare, "name": PurePosixPath(bare).name or bare, "type_id": 1} | (
        {"is_deleted": True} if deleted else {}
    )


def _container(container: str | None) -> dict[str, str] | None:
    if container is None:
        return None
    return {"uid" if _CONTAINER_ID.fullmatch(container) else "name": container}


def _evidence(row: Mapping[str, Any]) -> dict[str, Any]:
    actor = _actor(row)
    numbers = {name: row[name] for name in ("attempted", *(each.value for each in Outcome), "score", "explanation")}
    period = {"start_time": _milliseconds(row["start"]), "end_time": _milliseconds(row["end"])}
    return {
        **({"actor": actor} if actor else {}),
        **_ends(row),
        "connection_info": _connection(row),
        "data": period | _known(numbers),
    }


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is unknown."""
    return {name: value for name, value in values.items() if value is not None and value != {}}
