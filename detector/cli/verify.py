"""`detector verify`: whether what is stored is what was written."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from detector.amounts import numbered
from detector.cli.store import stored
from detector.cli.terminal import local, print_json, say
from detector.errors import TamperedError
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from detector.config import Settings
    from detector.store.chain import Break
    from detector.store.verifying import Verified

_HASH_BYTES = 32


@dataclass(frozen=True, slots=True)
class Noted:
    """A hash that somebody wrote down."""

    host: str
    seq: int
    hash: bytes


class NotedHash(click.ParamType[Noted]):
    """`HOST:SNAPSHOT:HASH`, as `detector verify` prints it."""

    name = "HOST:SNAPSHOT:HASH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Noted:
        """Fails with what is expected."""
        if isinstance(value, Noted):
            return value
        try:
            host, seq, written = str(value).rsplit(":", 2)
            noted = Noted(host, int(seq), bytes.fromhex(written))
            if not host or noted.seq < 1 or len(noted.hash) != _HASH_BYTES:
                raise ValueError
        except ValueError:
            self.fail(
                f"{value!r} is not HOST:SNAPSHOT:HASH, as detector verify prints it: bastion-1:8640: and 64 digits",
                param,
                ctx,
            )
        return noted


@click.command()
@click.option("--host", metavar="PATTERN", help="Only hosts with names like this: bastion-1, 'web-*'.")
@click.option(
    "--noted",
    "noted",
    type=NotedHash(),
    multiple=True,
    help="Compare with a hash that was written down before. As often as you like.",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects, one for each host.")
@click.pass_obj
def verify(settings: Settings, /, *, host: str | None, noted: tuple[Noted, ...], as_json: bool) -> None:
    """Say whether the stored snapshots are those that were written, or which are missing or were changed.

    The snapshots of a host are a hash chain: each has a hash over its counts and times, and over the hash of the one
    before. The last hash stands for all of them. Whoever can write to the database can make the whole chain anew: write
    the last hash down elsewhere, as it is printed, and compare with it later (--noted).

    Whatever does not hold makes the exit code 1. Detection looks for the same by itself, and tells what it finds.

    \b
    Examples:
      detector verify
      detector verify --host bastion-1 --noted bastion-1:8640:6f1c…
      detector verify --json | jq '.[] | select(.breaks != [])'
    """
    from detector.store.filters import known_hosts
    from detector.store.verifying import Verifier

    results: list[tuple[Verified, list[str]]] = []
    with stored(settings) as connection:
        hosts = known_hosts(connection, host)
        _check_known(noted, list(hosts.values()))
        with _progress() as looked_at:
            for host_id, name in hosts.items():
                compared = [each for each in noted if each.host == name]
                for page in Verifier(connection, host_id).steps(noted=[each.seq for each in compared]):
                    found = page
                    looked_at(f"{visible(name)}: {numbered(page.snapshots, 'snapshot')}")
                results.append((found, list(_differing(found, compared))))
    for found, _ in results:
        found.breaks = list(_joined(found.breaks))
    if as_json:
        print_json([_described(found, differing) for found, differing in results])
    else:
        for found, differing in results:
            for line in _lines(found, differing):
                say(line)
    if not results:
        say("there is nothing to verify yet" if host is None else f"there is no host like {visible(host)}")
    if places := sum(len(found.breaks) + len(differing) for found, differing in results):
        raise TamperedError(
            f"in {numbered(places, 'place')} what is stored is not what was written",
            hint="see docs/security.md for what that can mean, and what to do",
        )


def _joined(breaks: Iterable[Break]) -> Iterator[Break]:
    """Changed snapshots that follow upon one another as one break: who changes a host's name changes them all."""
    whole: Break | None = None
    for each in breaks:
        if whole is not None and whole.kind is each.kind and each.first_seq == whole.last_seq + 1:
            whole = replace(whole, last_seq=each.last_seq, until=each.until)
            continue
        if whole is not None:
            yield whole
        whole = each
    if whole is not None:
        yield whole


def _check_known(noted: Sequence[Noted], hosts: Sequence[str]) -> None:
    for each in noted:
        if each.host not in hosts:
            raise click.UsageError(f"--noted: there is no host {visible(each.host)} among those that are looked at")


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """How far it is, on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status("looking") as status:
        yield lambda text: status.update(escape(text))


def _differing(found: Verified, noted: Sequence[Noted]) -> Iterator[str]:
    for each in noted:
        there = found.hashes.get(each.seq)
        if there is None:
            yield f"snapshot {each.seq:,}, whose hash was noted, is not there any more, or has none"
        elif there != each.hash:
            yield f"snapshot {each.seq:,} has another hash than was noted"


def _lines(found: Verified, differing: Sequence[str]) -> Iterator[str]:
    name = visible(found.host)
    for each in found.breaks:
        yield f"{name}: {_said(each)}"
    for text in differing:
        yield f"{name}: {text}"
    old = f"; {numbered(found.unchained, 'older one')} without hash" if found.unchained else ""
    fits = "hold together" if not found.breaks else "were looked at"
    yield f"{name}: {numbered(found.snapshots, 'snapshot')} {fits}{old}"
    if found.head is not None:
        yield f"  to be noted elsewhere: {name}:{found.last_seq}:{found.head.hex()}"


def _said(each: Break) -> str:
    from detector.store.tampering import said

    after = f"after {local(each.after)}" if each.after else "from the beginning"
    until = f"until {local(each.until)}" if each.until else "to the end"
    return f"{said(each.kind, each.first_seq, each.last_seq)} ({after}, {until})"


def _described(found: Verified, differing: Sequence[str]) -> dict[str, Any]:
    return {
        "host": found.host,
        "snapshots": found.snapshots,
        "without_hash": found.unchained,
        "last": found.last_seq,
        "hash": found.head.hex() if found.head else None,
        "breaks": [
            {
                "kind": each.kind,
                "first": each.first_seq,
                "last": each.last_seq,
                "after": each.after,
                "until": each.until,
            }
            for each in found.breaks
        ],
        "noted": list(differing),
    }
