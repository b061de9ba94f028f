"""Rule files, filters, the list of disabled rules, and lists of values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from detector import shipped
from detector.ruleset.load import load_rules
from detector.store.engine import open_store, writing
from detector.store.migrating import upgrade
from tests.builders import Recorder, count, observe
from tests.fuzz.harness import FindingError, Surface, check_harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BROKEN = Path(__file__).resolve().parents[1] / "ruleset" / "broken"
OWN = """\
title: Telnet to the outside
id: 5c0d4f1e-0f52-4f6a-9a55-0d7b7d0f4a43
name: telnet
level: medium
logsource: {category: network_connection, product: linux}
detection:
  selection:
    DestinationPort: 23
  condition: selection
x-detector:
  group_by: [LoginUser]
  cooldown: 4h
  channels: [mail]
  burn_in: true
  explain: "{{ user }} {% if ports > 1 %}opens {{ ports }} ports{% endif %} of {{ host }}"
---
title: the backup
id: 4a0f2f0c-52d1-4a4b-9f0d-2f6b1a0c9e31
author: alice
description: it runs every night
logsource: {category: network_connection, product: linux}
filter:
  rules: [telnet]
  selection:
    User: backup
  condition: not selection
x-detector:
  until: 2099-12-31
"""
DISABLED = """\
disabled:
  - id: 5c0d4f1e-0f52-4f6a-9a55-0d7b7d0f4a43
    author: alice
    reason: noise
    date: 2026-03-02
    until: 2099-12-31T12:00:00Z
  - id: 4a0f2f0c-52d1-4a4b-9f0d-2f6b1a0c9e31
    author: bob
    reason: "no: more"
"""
_LISTED = """\
title: Of lists
id: 6f0c2a3e-1f52-4f6a-9a55-0d7b7d0f4a44
level: low
logsource: {category: network_connection, product: linux}
detection:
  selection:
    DestinationIp|cidr|expand: "%offices%"
    DestinationPort|expand: "%odd-ports%"
    User|expand: "%sound%"
  condition: selection
"""
_LISTS = {
    "sound": b"root\nalice\n",
    "offices": b"# kind: addresses\n10.0.0.0/8\n2001:db8::/32\n",
    "odd-ports": b"22\n6000-6063\n",
}
TOKENS = (
    *(
        b"null",
        b"~",
        b"[]",
        b"{}",
        b"''",
        b"- ",
        b"  ",
        b"\n",
        b": ",
        b"|",
        b">",
        b"&a",
        b"*a",
        b"!!set",
        b"!x",
        b"---\n",
    ),
    *(
        b"#",
        b"'",
        b'"',
        b"\\",
        b"%",
        b"@",
        b"`",
        b"<<",
        b"?",
        b"0x10",
        b"1:30",
        b"1e999",
        b".inf",
        b"-1",
        b"2026-01-01",
    ),
    *(b"true", b"9" * 20, b"selection", b"condition", b"not ", b" and ", b" or ", b"1 of ", b"(", b")", b"them", b"*"),
    *(b"|contains", b"|all", b"|cidr", b"|gte", b"|re", b"Image", b"DestinationPort", b"::/0", b"|re|i", b"|fieldref"),
    *(b"|neq", b"|cased", b"(a+)+", b"[^a-", b"\\d{2,}", b"(?", b"a{1000}{1000}", b"|expand", b"'%sound%'", b"%%"),
    *(
        b"|exists",
        b"Lost",
        b"SelfTest",
        b"capture",
        b"passed",
        b"[a, b]",
        b"{a: b}",
        b"\xef\xbb\xbf",
        b"%YAML 1.1\n---\n",
    ),
    *(b"&a [*a, *a]\n", b"&x {<<: *x}", b"timespan: 9999999h", b"gte: -1", b"value_percentile"),
)


def _seeds() -> Sequence[bytes]:
    shipped_rules = sorted(shipped.folder("rules").glob("*.yml"))
    return [
        *(b"r" + path.read_bytes() for path in (*shipped_rules, *sorted(BROKEN.glob("*.yml")))),
        *(b"r" + text.encode() for text in (OWN, _LISTED)),
        b"d" + DISABLED.encode(),
        *(b"l" + text for text in _LISTS.values()),
    ]


def _open(folder: Path) -> Callable[[bytes], None]:
    """The first byte says what the rest is: a rule file, the list of disabled rules, or a list of values."""
    rules = folder / "rules"
    (rules / "lists").mkdir(parents=True)
    engine = open_store(f"sqlite:///{folder / 'detector.db'}")
    upgrade(engine)
    ref = Recorder(engine).snapshot(count(), count(None, None, protocol="packet"))
    observe(engine, ref)
    places = {b"r": rules / "rule.yml", b"d": rules / "disabled.yml", b"l": rules / "lists" / "offices.txt"}

    def load(data: bytes) -> None:
        (rules / "rule.yml").write_text(OWN + "---\n" + _LISTED)
        (rules / "disabled.yml").unlink(missing_ok=True)
        for name, content in _LISTS.items():
            (rules / "lists" / f"{name}.txt").write_bytes(content)
        path = places.get(data[:1], places[b"r"])
        path.write_bytes(data[1:])
        loaded = load_rules([rules])
        for fault in loaded.faults:
            if not fault.path.startswith(str(rules)):
                raise FindingError(f"names no file: {fault}")
            check_harmless(str(fault))
        if loaded.ruleset.rules:
            with writing(engine) as connection:
                loaded.ruleset.prepare(connection)
                loaded.ruleset.evaluate(connection, ref)

    return load


SURFACE = Surface("rule-files", _open, _seeds, TOKENS)
