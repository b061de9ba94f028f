"""The curves of a judgement as one HTML page: drawn here as SVG, so that it needs nothing to be looked at."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from detector.evaluation.curves import COLOURS, Curves, curves, heading
from detector.evaluation.results import mean
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.domain import Severity
    from detector.evaluation.results import Result

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 420, 260, 46, 38, 12
_STYLE = (
    "body{font:14px/1.4 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}"
    "table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.15rem .7rem .15rem 0;text-align:left}"
    "svg{margin:0 1rem 1rem 0}svg text{font-size:11px;fill:#444}figure{display:inline-block;margin:0}"
)


def page(parts: Sequence[tuple[str, Result]], least: Severity) -> str:
    """An HTML page of results, each under its title; rules below `least` count for nothing."""
    sections = "".join(_section(title, result, least) for title, result in parts)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>detector evaluate</title>'
        f"<style>{_STYLE}</style></head><body><h1>How well attacks are told from ordinary traffic</h1>"
        f"{sections}</body></html>\n"
    )


def _section(title: str, result: Result, least: Severity) -> str:
    figures = [_figure(each) for each in curves(result, least)]
    return f"<h2>{_text(heading(title, result))}</h2>{''.join(figures)}{_table(result, least)}"


def _text(value: str) -> str:
    return escape(visible(value))


def _figure(of: Curves) -> str:
    furthest = of.furthest
    right, low = _WIDTH - 10, _HEIGHT - _BOTTOM

    def place(x: float, y: float) -> str:
        return f"{_LEFT + (right - _LEFT) * x / furthest:.1f},{low - (low - _TOP) * y:.1f}"

    drawn = []
    for number in range(5):
        part = number / 4
        x, y = place(part * furthest, part).split(",")
        drawn.append(
            f'<text x="{x}" y="{low + 14}" text-anchor="middle">{of.mark(part * furthest)}</text>'
            f'<text x="{_LEFT - 5}" y="{y}" text-anchor="end">{part:g}</text>'
            f'<line x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}" stroke="#ddd"/>'
        )
    for number, (name, points) in enumerate(of.lines):
        colour, width = COLOURS[number % len(COLOURS)], 2.5 if number == 0 else 1
        path = " ".join(place(x, y) for x, y in points if not math.isnan(y))
        drawn.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="{width}" points="{path}">'
            f"<title>{_text(name)}</title></polyline>"
        )
    legend = ""
    if len(of.lines) > 1:
        legend = "<br>".join(
            f'<span style="color:{COLOURS[number % len(COLOURS)]}">&#9632;</span> {_text(name)}'
            for number, (name, _) in enumerate(of.lines)
        )
    return (
        f'<figure><figcaption><b>{_text(of.title)}</b></figcaption><svg width="{_WIDTH}" height="{_HEIGHT}" role="img">'
        f"{''.join(drawn)}"
        f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{_text(of.across)}</text>'
        f'<text x="12" y="{low / 2}" transform="rotate(-90 12 {low / 2})" text-anchor="middle">{_text(of.up)}</text>'
        f"</svg><p>{legend}</p></figure>"
    )


def _table(result: Result, least: Severity) -> str:
    rows = "".join(
        f"<tr><td>{_text(attack)}</td><td>{mean([each.pr_auc for each in of]):.3f}</td>"
        f"<td>{sum(each.minutes is not None for each in of)}/{len(of)}</td>"
        f"<td>{sum(each.minutes_of_rules(least) is not None for each in of)}/{len(of)}</td></tr>"
        for attack, of in result.attacks.items()
    )
    false = "".join(
        f"<tr><td>{_text(teller)}</td><td>{each.rate:.2f}</td><td>{each.events} in {each.days:.2f} days; "
        f"{each.bound:.2g} a day are possible (95 %)</td></tr>"
        for teller, each in (
            ("the score", result.score_incidents),
            (f"rules, {least} and above", result.rule_incidents(least)),
        )
    )
    return (
        "<table><tr><th>attack</th><th>PR-AUC</th><th>caught by score</th><th>caught by rules</th></tr>"
        f"{rows}</table><table><tr><th>what tells</th><th>false incidents a host and day</th><th></th></tr>"
        f"{false}</table>"
    )
