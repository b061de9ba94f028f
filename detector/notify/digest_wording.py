"""The sentences of a digest, the same in plain text and in HTML. What is in a digest prints already."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from detector.amounts import humanised, looked_back, megabytes, numbered
from detector.digest import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from detector.digest import (
        Capture,
        Delivered,
        Digest,
        HostSilence,
        ListedAlert,
        NewDestination,
        NoisyRule,
        Promise,
        QuietRule,
    )

_NAMES = {Kind.DAILY: "Daily digest", Kind.WEEKLY: "Weekly digest", Kind.ASKED: "Digest"}
_DAY = timedelta(days=1)
# The longest day has an hour more.
_SHORT = timedelta(days=1, hours=2)
_SMALL = 10


def title(digest: Digest) -> str:
    """`Daily digest, Mon 2 Mar: 5 alerts (1 high, 4 low), 3 unanswered; capture 99.98 %`."""
    alerts = digest.alerts
    said = numbered(alerts.total, "alert")
    if alerts.total:
        said += f" ({counted(alerts.by_severity)})"
    else:
        said = "no alerts"
    if alerts.unanswered:
        said += f", {alerts.unanswered:,} unanswered"
    return f"{_NAMES[digest.kind]}, {_day(digest)}: {said}; {_capture_in_short(digest)}"


def period(digest: Digest) -> str:
    """From when to when, of how many hosts."""
    hosts = numbered(digest.capture.hosts, "host")
    return f"{when(digest, digest.start)} to {when(digest, digest.end)} ({digest.time_zone}), {hosts}"


def remarks(digest: Digest) -> Iterator[tuple[str, str]]:
    """What there is to say of the digest itself, each with a command, or none."""
    if digest.late:
        yield f"Sent late: when it was due nothing ran that could send it. Made {when(digest, digest.made_at)}.", ""
    if digest.missed:
        missed = f"{numbered(digest.missed, 'digest')} before it"
        verb = "was" if digest.missed == 1 else "were"
        since = digest.start - digest.missed * (digest.end - digest.start)
        yield f"{missed} {verb} missed likewise, and {verb} not sent:", _command(since, digest.start)
    if digest.alerts.late:
        late = numbered(digest.alerts.late, "alert")
        yield f"{late} of the time before came to light only after the last digest:", "detector alerts list"
    if digest.capture.behind:
        hosts = numbered(digest.capture.behind, "host")
        yield f"Detection was behind with {hosts} when this was made: alerts may be missing here.", ""


def alerts(digest: Digest) -> str:
    """How many, and what became of them."""
    found = digest.alerts
    if not found.total:
        return "none was opened"
    parts = [f"{found.total:,} opened ({counted(found.by_severity)})"]
    stands = (
        (found.open, "open"),
        (found.acknowledged, "acknowledged"),
        (found.silenced, "silenced"),
        (found.benign, "called benign"),
        (found.true, "called true"),
    )
    parts += [f"{number:,} {word}" for number, word in stands if number]
    return ", ".join(parts)


def unanswered(digest: Digest) -> str:
    """Of serious alerts that nobody took on; empty: there are none."""
    number = digest.alerts.unanswered
    if not number:
        return ""
    return f"Nobody has answered {numbered(number, 'high or critical alert')}"


def alert(digest: Digest, listed: ListedAlert) -> str:
    """One alert on a line, its number first."""
    about = f"{listed.host}: {listed.rule}; {standing(digest, listed)}"
    return f"{listed.alert_id} [{listed.severity}] {about}; {listed.summary}"


def standing(digest: Digest, listed: ListedAlert) -> str:
    """When an alert was opened, and what became of it."""
    said = f", called {listed.verdict}" if listed.verdict else ""
    return f"{when(digest, listed.opened_at)}, {listed.state}{said}"


def promises(digest: Digest) -> str:
    """How many false alerts there were of the scores, beside what was promised."""
    found = digest.promises
    if not found.hosts:
        return "no host is scored yet"
    hosts = numbered(found.hosts, "host")
    told = f"{found.told:,} told, at most {number(found.promised)} promised for {hosts}"
    broken = f"; {numbered(found.broken, 'host')} beyond it" if found.broken else "; kept by all"
    return f"{told}{broken}"


def promise(each: Promise) -> str:
    """Of one host."""
    if each.achieved is None:
        return f"{each.host}: scored for too short a time"
    return (
        f"{each.host}: {each.achieved:.2f} a day over {each.days:.1f} days, {number(each.promised)} promised;"
        f" {each.told:,} in this period"
    )


def destinations(digest: Digest) -> str:
    """How many were new, and what became of them."""
    found = digest.destinations
    if not found.new:
        return "none"
    parts = (
        (found.normal, "became normal"),
        (found.once, "met once"),
        (found.alerted, "behind alerts"),
    )
    return f"{found.new:,}: " + ", ".join(f"{count:,} {word}" for count, word in parts if count)


def destination(digest: Digest, each: NewDestination) -> str:
    """One that became normal."""
    name = f" ({each.remote_name})" if each.remote_name else ""
    return f"{each.host} to {place(each)}{name}: {', '.join(each.who)}; since {when(digest, each.first_seen)}"


def place(each: NewDestination) -> str:
    """Address and port."""
    if each.remote_port is None:
        return each.remote_address
    address = f"[{each.remote_address}]" if ":" in each.remote_address else each.remote_address
    return f"{address}:{each.remote_port}"


def rules(digest: Digest) -> str:
    """How many there are, and how many had something to say."""
    found = digest.rules
    said = f"{found.in_force:,} in force, {found.fired:,} opened alerts, {found.quiet:,} quiet"
    if found.looked_back:
        said += f" for {looked_back(found.looked_back)}"
    if found.refused:
        said += f"; {numbered(found.refused, 'file')} refused: detector rules check"
    return said


def noisy(each: NoisyRule) -> str:
    """A rule that opened many alerts."""
    return f"[{each.severity}] {each.rule}: {numbered(each.alerts, 'alert')}; {each.why}"


def quiet(digest: Digest, each: QuietRule) -> str:
    """A rule that found nothing for long."""
    last = f"found something last on {when(digest, each.last)}" if each.last else "has found nothing so far"
    waits = f"; it waits for the list {each.waits_for}" if each.waits_for else ""
    return f"[{each.severity}] {each.rule} {last}{waits}"


def silence(digest: Digest, each: HostSilence) -> str:
    """When a host was silent."""
    if each.until is None:
        return f"{each.host}: since {when(digest, each.since)}, and still"
    return f"{each.host}: {when(digest, each.since)} for {humanised(each.until - each.since)}"


def capture(digest: Digest) -> str:
    """How complete it was."""
    found = digest.capture
    if not found.hosts:
        return "nothing was captured"
    parts = [f"{share(found.share)} of the time of {numbered(found.hosts, 'host')} was watched"]
    lost = (
        (found.lost_events, "event", "lost"),
        (found.lost_snapshots, "snapshot", "lost"),
        (found.waited, "snapshot", "waited for the database"),
        (found.given_up, "snapshot", "given up for the size of the database"),
    )
    parts += [f"{numbered(count, noun)} {verb}" for count, noun, verb in lost if count]
    return ", ".join(parts) + ("" if found.incomplete else "; nothing is missing")


def captured(each: Capture) -> str:
    """Of one host of which something is missing."""
    return f"{each.host}: {missing(each)}"


def missing(each: Capture) -> str:
    """The same without its name."""
    parts = [share(each.share)]
    lost = (
        (each.incomplete, f"of {each.snapshots:,} snapshots incomplete"),
        (each.lost_events, f"{plural(each.lost_events, 'event')} lost"),
        (each.lost_snapshots, f"{plural(each.lost_snapshots, 'snapshot')} lost"),
        (each.blind, "taken blind"),
        (each.waited, "waited for the database"),
    )
    parts += [f"{count:,} {words}" for count, words in lost if count]
    if each.behind:
        parts.append("not all of it is detected yet")
    return ", ".join(parts)


def delivery(digest: Digest) -> str:
    """What each channel took."""
    return "; ".join(map(_delivered, digest.delivery)) or "nothing was sent"


def database(digest: Digest) -> str:
    """Its size, and how it grows."""
    found = digest.database
    most = f" of at most {megabytes(found.most_bytes)}" if found.most_bytes else ""
    return f"{megabytes(found.used_bytes)}{most}, growing by {megabytes(found.bytes_per_day)} a day"


def unit(digest: Digest) -> str:
    """What a bar stands for: an hour or a day."""
    first, *others = digest.alerts.bars
    return "hour" if others and others[0].start - first.start < _DAY else "day"


def command(digest: Digest) -> str:
    """That shows the same again."""
    return _command(digest.start, digest.end)


def when(digest: Digest, moment: datetime) -> str:
    """A time in the digest's zone: `Mon 2 Mar 07:00`."""
    local = moment.astimezone(ZoneInfo(digest.time_zone))
    return f"{local:%a} {local.day} {local:%b %H:%M}"


def share(part: float) -> str:
    """`100 %`, `99.98 %`: never rounded up to all of it."""
    if part >= 1:
        return "100 %"
    return f"{int(part * 10_000) / 100:.2f} %"


def number(value: float) -> str:
    """`0.43`, `12`."""
    return f"{value:.0f}" if value >= _SMALL else f"{value:.2f}".rstrip("0").rstrip(".")


def counted(numbers: Mapping[str, int]) -> str:
    """`1 high, 4 low`."""
    return ", ".join(f"{count:,} {name}" for name, count in numbers.items())


def plural(count: int, noun: str) -> str:
    """The noun as it stands after the number."""
    return noun if count == 1 else f"{noun}s"


def _command(start: datetime, end: datetime) -> str:
    since, until = (each.astimezone(UTC).isoformat(sep=" ", timespec="seconds") for each in (start, end))
    return f"detector notify digest --since '{since}' --until '{until}'"


def _day(digest: Digest) -> str:
    end = digest.end.astimezone(ZoneInfo(digest.time_zone))
    if digest.length <= _SHORT:
        return f"{end:%a} {end.day} {end:%b}"
    start = digest.start.astimezone(ZoneInfo(digest.time_zone))
    return f"{start.day} {start:%b} to {end.day} {end:%b}"


def _capture_in_short(digest: Digest) -> str:
    found = digest.capture
    if not found.hosts:
        return "nothing captured"
    return "capture complete" if not found.incomplete else f"capture {share(found.share)}"


def _delivered(each: Delivered) -> str:
    parts = [f"{each.delivered:,} delivered"]
    parts += [f"{count:,} {word}" for count, word in ((each.failed, "given up"), (each.waiting, "waiting")) if count]
    return f"{each.channel} {', '.join(parts)}"
