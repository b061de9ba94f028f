"""An alert about capture in a few sentences: what was not seen, since when, and how much of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from detector.alerts.phrases import named
from detector.amounts import humanised, numbered
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from detector.alerts.facts import CaptureFacts

_UNSEEN_LIMIT = 200
_FAULT_LIMIT = 300
# Timers are seldom exact: as in the field Complete of rules.
_LATE_SECONDS = 1.0

# By kind of loss: of one, and of several.
_KINDS = {
    "attempted": ("attempt without room", "attempts without room"),
    "established": ("success without room", "successes without room"),
    "refused": ("refusal without room", "refusals without room"),
    "timed_out": ("timeout without room", "timeouts without room"),
    "failed": ("failure without room", "failures without room"),
    "inbound": ("inbound connection without room", "inbound connections without room"),
    "pending_full": ("outcome of too many attempts under way", "outcomes of too many attempts under way"),
    "unmatched": ("outcome without its attempt", "outcomes without their attempts"),
    "unnamed": ("connect without its program's name", "connects without their programs' names"),
    "unread": ("failed read of kernel memory", "failed reads of kernel memory"),
    "missed": ("event that the kernel did not show", "events that the kernel did not show"),
    "unnumbered": ("attempt whose process found no room", "attempts whose processes found no room"),
}


def summary(capture: CaptureFacts, duration: timedelta) -> str:
    """What the snapshots behind the alert say, on one line of printable text; `duration` is the alert's."""
    return " ".join(_said(capture, duration)) or _nothing_else(capture)


def lost(capture: CaptureFacts) -> int:
    """How many events were lost."""
    return sum(number for kind, number in capture.losses.nonzero().items() if kind in _KINDS)


def _said(capture: CaptureFacts, duration: timedelta) -> Iterator[str]:
    host = named(capture.host)
    if capture.silent_seconds is not None:
        how_long = humanised(timedelta(seconds=capture.silent_seconds))
        ended = f"{capture.end:%Y-%m-%d %H:%M:%S}"
        yield f"{host} has sent nothing for {how_long}; its last snapshot ended at {ended} UTC."
    if capture.rules_refused:
        files = numbered(capture.rules_refused, "rule file")
        verb = "is" if capture.rules_refused == 1 else "are"
        fault = visible(capture.rule_fault, _FAULT_LIMIT)
        yield f"{files} {verb} refused; what was good of them stays in force. {fault}"
    if capture.tampered:
        more = f", and {numbered(capture.tampered - 1, 'more place')} like it" if capture.tampered > 1 else ""
        yield (
            f"What is stored of {host} is not what was written: {visible(capture.first_break, _UNSEEN_LIMIT)}{more}; "
            "detector verify tells when."
        )
    if capture.blind_since is not None:
        since = _moment(capture.blind_since, capture.end)
        how_long = humanised(timedelta(seconds=capture.blind_seconds))
        yield f"Capture on {host} is blind since {since} UTC ({how_long}): connects are not counted."
    elif capture.self_test_failed:
        yield f"Capture on {host} failed its self-test: connects may not be counted."
    if gone := {kind: number for kind, number in capture.losses.nonzero().items() if kind in _KINDS}:
        kinds = ", ".join(numbered(number, *_KINDS[kind]) for kind, number in gone.items())
        yield f"Capture on {host} lost {numbered(lost(capture), 'event')} in {humanised(duration)} ({kinds})."
    if capture.losses.folded:
        events = numbered(capture.losses.folded, "event") + _of_programs(capture)
        yield f"{host}: {events} counted without address and port: there were too many at once."
    if given_up := capture.losses.snapshots:
        one_or_more = numbered(given_up, "snapshot", "snapshots")
        yield f"{one_or_more} of {host} could not wait for the database any longer, or could not be read again."
    if capture.set_aside is not None:
        old = visible(capture.set_aside, _UNSEEN_LIMIT)
        yield f"The database of {host} was damaged and begins anew: what it held is in {old}."
    yield from _times(capture, host)
    if capture.losses.names:
        yield f"{numbered(capture.losses.names, 'DNS answer')} on {host} could not be read."


def _times(capture: CaptureFacts, host: str) -> Iterator[str]:
    if capture.gaps:
        gap = timedelta(seconds=capture.gap_seconds)
        when = f" in {capture.gaps} gaps"
        if capture.gaps == 1 and capture.gap_end is not None:
            start, end = _moment(capture.gap_end - gap, capture.end), _moment(capture.gap_end, capture.end)
            when = f" ({start} to {end} UTC)"
        yield f"No snapshots of {host} for {humanised(gap)}{when}."
    steps = ((capture.forward_seconds, "forward"), (capture.back_seconds, "back"))
    if ways := " and ".join(f"{way} {humanised(timedelta(seconds=seconds))}" for seconds, way in steps if seconds):
        yield f"{host}'s clock was set {ways}."
    if capture.late_seconds > _LATE_SECONDS:
        yield _late(capture, host)
    if capture.waited_seconds:
        waited = humanised(timedelta(seconds=capture.waited_seconds))
        yield f"Snapshots of {host} waited for the database, up to {waited}."
    if capture.suspended_seconds:
        yield f"{host} slept for {humanised(timedelta(seconds=capture.suspended_seconds))}."


def _nothing_else(capture: CaptureFacts) -> str:
    host = named(capture.host)
    if capture.unseen:
        return f"Capture on {host} does not see: {visible(capture.unseen, _UNSEEN_LIMIT)}."
    return _late(capture, host) if capture.late_seconds else f"Capture on {host} is complete."


def _late(capture: CaptureFacts, host: str) -> str:
    return f"Counts of {host} were read {humanised(timedelta(seconds=capture.late_seconds))} late."


def _of_programs(capture: CaptureFacts) -> str:
    programs = capture.programs
    if programs.sole is not None:
        return f" of {named(programs.sole)}"
    return f" of {numbered(programs.count, 'program')}" if programs.count else ""


def _moment(moment: datetime, near: datetime) -> str:
    return moment.strftime("%H:%M:%S" if moment.date() == near.date() else "%Y-%m-%d %H:%M:%S")
