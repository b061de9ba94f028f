"""A digest as plain text: for chats, terminals, and mail programs that show no HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.notify import digest_wording as words
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from detector.digest import Digest

# What a service with room for a text takes at least: see `message`.
_LIMIT = 2_900
_LINE_LIMIT = 240
# So many of each list are tried, until all of it fits.
_LENGTHS = (5, 3, 2, 1, 0)
_BLOCKS = " \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_WIDE = 400


def short_text(digest: Digest) -> str:
    """The text with lists so short that it fits into a message of a chat."""
    for most in _LENGTHS:
        text = full_text(digest, most=most, width=_LINE_LIMIT)
        if len(text) <= _LIMIT:
            break
    return visible_lines(text, _LIMIT)


def full_text(digest: Digest, *, most: int = 1_000, width: int = _WIDE) -> str:
    """All of it, of each list the first `most`, in lines of at most `width` characters."""
    return "\n".join(visible(line, width) for line in _lines(digest, most))


def visible_lines(text: str, limit: int) -> str:
    """The first lines of a text that fit; what is left out is said."""
    if len(text) <= limit:
        return text
    return text[: text.rfind("\n", 0, limit - 1)] + "\n\u2026"


def sparkline(digest: Digest) -> str:
    """Alerts over the period, a character for each hour or day; empty: there are none."""
    totals = [sum(bar.counts.values()) for bar in digest.alerts.bars]
    most = max(totals, default=0)
    if not most:
        return ""
    # What is there is seen, however little it is beside the most.
    return "".join(_BLOCKS[-(-total * (len(_BLOCKS) - 1) // most)] for total in totals)


def _lines(digest: Digest, most: int) -> Iterator[str]:
    yield words.period(digest)
    yield from (f"{remark} {command}".rstrip() for remark, command in words.remarks(digest))
    yield ""
    yield f"Alerts: {words.alerts(digest)}"
    if line := sparkline(digest):
        yield f"  by {words.unit(digest)}: |{line}|"
    if line := words.unanswered(digest):
        yield f"  {line}"
    for each in digest.alerts.worst[:most]:
        yield f"- {words.alert(digest, each)}"
        yield from (f"    {command}" for command in each.commands)
    yield from _list((), 0, digest.alerts.worst_more + max(len(digest.alerts.worst) - most, 0))
    yield f"False alerts of the scores: {words.promises(digest)}"
    yield from _list([words.promise(each) for each in digest.promises.worst], most)
    yield f"New destinations: {words.destinations(digest)}"
    listed = [words.destination(digest, each) for each in digest.destinations.listed]
    yield from _list(listed, most, digest.destinations.normal - len(listed))
    yield f"Rules: {words.rules(digest)}"
    yield from _rules(digest, most)
    if digest.silences:
        yield "Hosts that fell silent:"
        yield from _list([words.silence(digest, each) for each in digest.silences], most, digest.silences_more)
    yield f"Capture: {words.capture(digest)}"
    yield from _list([words.captured(each) for each in digest.capture.worst if not each.complete], most)
    yield f"Notifications: {words.delivery(digest)}"
    yield f"Database: {words.database(digest)}"
    yield f"Again, with all lists: {words.command(digest)}"


def _rules(digest: Digest, most: int) -> Iterator[str]:
    for noisy in digest.rules.noisiest[:most]:
        yield f"- noisy: {words.noisy(noisy)}"
        if noisy.command:
            yield f"    {noisy.command}"
    for quiet in digest.rules.quietest[:most]:
        yield f"- quiet: {words.quiet(digest, quiet)}"
        yield from (f"    {command}" for command in (quiet.command, quiet.switches_off) if command)


def _list(lines: Iterable[str], most: int, more: int = 0) -> Iterator[str]:
    found = list(lines)
    yield from (f"- {line}" for line in found[:most])
    if left := more + max(len(found) - most, 0):
        yield f"- and {left:,} more"
