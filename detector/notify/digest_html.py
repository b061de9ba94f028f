"""A digest as HTML for mail.

Styles stand in the elements, since mail programs take others out. No colour but those of the charts: the reader's own,
light or dark, stay.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from detector.domain import Severity
from detector.notify import digest_wording as words
from detector.notify import html_charts as charts
from detector.notify.message import COLOURS
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from detector.digest import Digest, ListedAlert

_FAINT = "opacity:.72"
# More hosts have no bar each: these are the worst.
_BARS = 8
# So few columns have a label each.
_FEW_COLUMNS = 8


def html_body(digest: Digest) -> str:
    """What stands in the message, escaped."""
    return "\n".join(_parts(digest))


def html_page(title: str, body: str) -> str:
    """A page of its own, for a file."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_escaped(title)}</title>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _parts(digest: Digest) -> Iterator[str]:
    name = words.title(digest).partition(":")[0]
    yield f'<p style="font-size:1.3em;margin:.4em 0 0"><b>{_escaped(name)}</b></p>'
    yield f'<p style="margin:.1em 0 1.1em;{_FAINT}">{_escaped(words.period(digest))}</p>'
    for remark, command in words.remarks(digest):
        yield f'<div style="margin:0 0 1em"><b>{_escaped(remark)}</b>{_command(command) if command else ""}</div>'
    yield _figures(digest)
    yield from _alerts(digest)
    yield from _promises(digest)
    yield from _destinations(digest)
    yield from _rules(digest)
    yield from _capture(digest)
    yield _heading("Notifications") + _paragraph(words.delivery(digest))
    yield _heading("Database") + _paragraph(words.database(digest))
    yield f'<p style="margin:1.6em 0 .3em;{_FAINT}">The same again, with all lists:</p>'
    yield _command(words.command(digest))


def _figures(digest: Digest) -> str:
    """What matters most, at a glance."""
    alerts, promises, capture = digest.alerts, digest.promises, digest.capture
    worst = next(iter(alerts.by_severity), None)
    promised = f"false {words.plural(promises.told, 'alert')}, {words.number(promises.promised)} promised"
    figures = (
        (f"{alerts.total:,}", words.plural(alerts.total, "alert"), COLOURS[Severity(worst)] if worst else charts.GOOD),
        (f"{promises.told:,}", promised, charts.BAD if promises.broken else charts.GOOD),
        (f"{digest.destinations.normal:,}", "new destinations became normal", "inherit"),
        (words.share(capture.share), "of the time watched", charts.BAD if capture.incomplete else charts.GOOD),
    )
    return "".join(
        f'<div style="display:inline-block;vertical-align:top;width:8.6em;margin:0 .7em .9em 0">'
        f'<div style="font-size:1.7em;line-height:1.25;color:{colour}"><b>{_escaped(figure)}</b></div>'
        f'<div style="font-size:.85em;line-height:1.3;{_FAINT}">{_escaped(label)}</div></div>'
        for figure, label, colour in figures
    )


def _alerts(digest: Digest) -> Iterator[str]:
    yield _heading("Alerts") + _paragraph(words.alerts(digest))
    if digest.alerts.total:
        colours = {each: COLOURS[Severity(each)] for each in digest.alerts.by_severity}
        # The most severe stand at the bottom, where they can be compared.
        stacks = [{each: bar.counts.get(each, 0) for each in colours} for bar in digest.alerts.bars]
        said = f"Alerts by {words.unit(digest)}"
        yield charts.columns(stacks, colours, _labels(digest), said) + charts.legend(colours)
    if line := words.unanswered(digest):
        yield f'<p style="margin:.4em 0"><b>{_escaped(line)}</b></p>'
    for each in digest.alerts.worst:
        yield _alert(digest, each)
    yield _more(digest.alerts.worst_more, "alert")


def _alert(digest: Digest, each: ListedAlert) -> str:
    title = f"{each.alert_id} [{each.severity}] {each.host}: {each.rule}"
    commands = _command("\n".join(each.commands))
    return (
        f'<div style="margin:.7em 0;padding-left:.7em;border-left:4px solid {COLOURS[each.severity]}">'
        f"<b>{_escaped(title)}</b><br>{_escaped(each.summary)}<br>"
        f'<span style="{_FAINT}">{_escaped(words.standing(digest, each))}</span>'
        f"{commands}</div>"
    )


def _labels(digest: Digest) -> list[str]:
    bars = digest.alerts.bars
    shown = [words.when(digest, bar.start) for bar in bars]
    if len(bars) <= _FEW_COLUMNS:
        # `Mon 2`, or `07:00`.
        return [each.rsplit(" ", 2)[0] if words.unit(digest) == "day" else each[-5:] for each in shown]
    return [shown[0], shown[len(shown) // 2], words.when(digest, digest.end)]


def _promises(digest: Digest) -> Iterator[str]:
    yield _heading("False alerts of the scores") + _paragraph(words.promises(digest))
    scored = [each for each in digest.promises.worst if each.achieved is not None]
    longest = max((max(each.achieved or 0.0, each.promised) for each in scored), default=0.0) * 1.05
    for each in scored[:_BARS]:
        achieved = each.achieved or 0.0
        figure = f"{achieved:.2f} a day, {words.number(each.promised)} promised"
        colour = charts.GOOD if each.kept else charts.BAD
        yield charts.bar(each.host, figure, achieved / longest, colour, each.promised / longest)
    yield _more(digest.promises.hosts - min(len(scored), _BARS), "host") if scored else ""


def _destinations(digest: Digest) -> Iterator[str]:
    found = digest.destinations
    yield _heading("New destinations") + _paragraph(words.destinations(digest))
    listed = (_escaped(words.destination(digest, each)) for each in found.listed)
    yield _list(listed, found.normal - len(found.listed))


def _rules(digest: Digest) -> Iterator[str]:
    found = digest.rules
    yield _heading("Rules") + _paragraph(words.rules(digest))
    if found.noisiest:
        yield _subheading("The noisiest:")
        yield _list(_with_command(words.noisy(each), each.command) for each in found.noisiest)
    if found.quietest:
        yield _subheading("The quietest. Would they have found anything? What never can here may be switched off:")
        yield _list(
            _with_command(words.quiet(digest, each), f"{each.command}\n{each.switches_off}".strip())
            for each in found.quietest
        )


def _capture(digest: Digest) -> Iterator[str]:
    if digest.silences:
        yield _heading("Hosts that fell silent")
        yield _list((_escaped(words.silence(digest, each)) for each in digest.silences), digest.silences_more)
    yield _heading("Capture") + _paragraph(words.capture(digest))
    incomplete = [each for each in digest.capture.worst if not each.complete]
    for each in incomplete[:_BARS]:
        yield charts.bar(each.host, words.missing(each), each.share, charts.GOOD)
    yield _more(digest.capture.incomplete - min(len(incomplete), _BARS), "incomplete host")


def _heading(text: str) -> str:
    return f'<p style="font-size:1.05em;margin:1.5em 0 .2em"><b>{_escaped(text)}</b></p>'


def _subheading(text: str) -> str:
    return f'<p style="margin:.7em 0 .1em;{_FAINT}">{_escaped(text)}</p>'


def _paragraph(text: str) -> str:
    return f'<p style="margin:.2em 0 .6em">{_escaped(text)}</p>'


def _list(items: Iterable[str], more: int = 0) -> str:
    """Items that are escaped already."""
    found = [*items, *([f"and {more:,} more"] if more > 0 else [])]
    if not found:
        return ""
    listed = "".join(f'<li style="margin:.3em 0">{each}</li>' for each in found)
    return f'<ul style="margin:.3em 0;padding-left:1.2em">{listed}</ul>'


def _more(number: int, noun: str) -> str:
    return (
        f'<p style="margin:.5em 0;{_FAINT}">and {number:,} more {words.plural(number, noun)}</p>' if number > 0 else ""
    )


def _escaped(text: str) -> str:
    """Text that is shown as it is, and does nothing."""
    return html.escape(visible(text))


def _with_command(text: str, command: str) -> str:
    return _escaped(text) + (_command(command) if command else "")


def _command(text: str) -> str:
    style = (
        "white-space:pre-wrap;overflow-wrap:anywhere;margin:.25em 0;padding:.3em .6em;background:rgba(128,128,128,.14);"
        "border-radius:4px;font-size:.9em"
    )
    return f'<pre style="{style}">{_escaped(text)}</pre>'
