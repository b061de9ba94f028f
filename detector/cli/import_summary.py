"""What an import says when it ends."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from detector.amounts import numbered
from detector.cli.terminal import local, note, print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.collector.log_lines import Tally
    from detector.service.importing import ImportResult
    from detector.store.imports import Imported

_HOSTS_SHOWN = 20
_NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a log."""

    names: Sequence[str]
    tally: Tally
    result: ImportResult
    dry_run: bool

    def nothing_to_do(self, before: Sequence[Imported], *, as_json: bool) -> None:
        """The log was imported before, into each of these hosts."""
        if as_json:
            print_json(self._as_object(0.0, imported_before=True))
            return
        for each in before:
            say(
                f"{listed(self.names)}: imported into {each.host} before, {_when(each)}: "
                f"{numbered(each.snapshots, 'snapshot')} of {numbered(each.rows, 'row')}; nothing to do"
            )

    def interrupted(self) -> None:
        """How far it came, and how to go on; whole snapshots only are stored."""
        self._note_refusals()
        result = self.result
        if self.dry_run or not result.hosts:
            note("interrupted; nothing was stored")
            return
        until = ", ".join(f"{host} until {local(each.end)}" for host, each in self._shown_hosts() if each.end)
        note(
            f"interrupted: {numbered(result.snapshots, 'snapshot')} of {numbered(result.rows, 'row')} stored ({until})"
            "; the same command goes on from there"
        )

    def print(self, *, seconds: float, as_json: bool) -> None:
        """What was stored, left out and refused, how fast, and what can be done with it."""
        self._note_refusals()
        if as_json:
            print_json(self._as_object(seconds, imported_before=False))
            return
        tally, result = self.tally, self.result
        would = "would be stored" if self.dry_run else "stored"
        say(
            f"{numbered(result.snapshots, 'snapshot')} {would}, of {numbered(result.rows, 'row')} "
            f"among {tally.rows:,}, in {seconds:.1f} s ({_rate(tally.rows, seconds):,.0f} rows/s)"
        )
        for host, each in self._shown_hosts():
            if each.start and each.end:
                say(f"  {host}: {numbered(each.snapshots, 'snapshot')} from {local(each.start)} to {local(each.end)}")
        if len(result.hosts) > _HOSTS_SHOWN:
            say(f"  and {numbered(len(result.hosts) - _HOSTS_SHOWN, 'host')} more")
        for reason, rows in self._left_out().items():
            say(f"left out: {numbered(rows, 'row')} {reason}")
        if tally.refused:
            say(f"refused: {numbered(tally.refused, 'line')}")
        if result.snapshots and not self.dry_run:
            host = shlex.quote(next(iter(result.hosts)))
            say(f"detector detect scores it like any host; detector query --host {host} shows it")

    def _shown_hosts(self) -> Sequence[tuple[str, Any]]:
        return list(self.result.hosts.items())[:_HOSTS_SHOWN]

    def _left_out(self) -> dict[str, int]:
        result = self.result
        there = {
            "stored before the interruption": result.stored_before,
            "from before the end of what their host holds already": result.too_old,
        }
        return dict(self.tally.left_out) | {reason: rows for reason, rows in there.items() if rows}

    def _note_refusals(self) -> None:
        tally = self.tally
        for refusal in tally.refusals:
            note(str(refusal))
        if (more := tally.refused - len(tally.refusals)) > 0:
            note(f"and {numbered(more, 'line')} more that {'is' if more == 1 else 'are'} refused")

    def _as_object(self, seconds: float, *, imported_before: bool) -> dict[str, Any]:
        tally, result = self.tally, self.result
        return {
            "files": list(self.names),
            "dry_run": self.dry_run,
            "imported_before": imported_before,
            "snapshots": result.snapshots,
            "rows": tally.rows,
            "rows_stored": result.rows,
            "counts_stored": result.counts,
            "left_out": self._left_out(),
            "refused": tally.refused,
            "refusals": [{"file": each.path, "line": each.line, "message": each.message} for each in tally.refusals],
            "hosts": [
                {"host": host, "snapshots": each.snapshots, "start": each.start, "end": each.end}
                for host, each in result.hosts.items()
            ],
            "seconds": round(seconds, 3),
            "rows_per_second": round(_rate(tally.rows, seconds)),
        }


def listed(names: Sequence[str]) -> str:
    """The files in few words."""
    return ", ".join(names) if len(names) <= _NAMES_SHOWN else f"{names[0]} and {len(names) - 1} other files"


def _rate(rows: int, seconds: float) -> float:
    return rows / seconds if seconds else 0.0


def _when(each: Imported) -> str:
    return "earlier" if each.finished_at is None else local(each.finished_at)
