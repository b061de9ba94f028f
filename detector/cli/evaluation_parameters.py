"""Values that `detector evaluate` is given; see `parameters`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pathlib import Path

ALL = "all"
PAGE, PICTURE = ".html", ".png"
_GENERATED = ("days", "seed", "people", "hosts")


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers with commas between, each within bounds."""

    name = "number[,number]"

    def __init__(self, least: float, most: float, example: str) -> None:
        self._least, self._most, self._example = least, most, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """`60,300`."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(dict.fromkeys(float(each) for each in str(value).split(",")))
        except ValueError:
            numbers = ()
        if not numbers or not all(self._least <= each <= self._most for each in numbers):
            limits = f"numbers from {self._least:g} to {self._most:g}"
            self.fail(f"{value!r} is not {limits} with commas between; write {self._example}", param, ctx)
        return numbers


class Kinds(click.ParamType[tuple[str, ...]]):
    """Kinds of attacks that can be planted."""

    name = "kind[,kind]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """`scan,beacon`, or all."""
        from detector.config_wording import nearest
        from detector.evaluation.planting import KINDS

        if value == ALL:
            return tuple(KINDS)
        named = tuple(dict.fromkeys(each.strip() for each in value.split(",")))
        for each in named:
            if each not in KINDS:
                self.fail(f"{each!r} is no kind of attack; {nearest(each, KINDS)}", param, ctx)
        return named


class Made(click.ParamType[dict[str, float]]):
    """What is to be made up: `bastion`, with numbers."""

    name = "bastion[,days=n,…]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        """`bastion,days=14,seed=3`."""
        kind, *options = str(value).split(",")
        if kind != "bastion":
            self.fail(f"{kind!r} cannot be made up; write bastion or bastion,days=14", param, ctx)
        made = {"days": 14.0, "seed": 0.0, "people": 12.0, "hosts": 1.0}
        for option in options:
            name, _, number = option.partition("=")
            if name not in _GENERATED or not number.isascii() or not number.isdecimal() or len(number) > 6:  # noqa: PLR2004
                self.fail(f"{option!r} is not understood; write one of {', '.join(_GENERATED)} as days=14", param, ctx)
            made[name] = float(number)
        if not 1 <= made["days"] <= 366 or not 1 <= made["people"] <= 1000 or not 1 <= made["hosts"] <= 20:  # noqa: PLR2004
            self.fail("days are 1 to 366, people 1 to 1000, hosts 1 to 20", param, ctx)
        return made


def check_report(path: Path) -> None:
    """Whether curves can be written there, before they take a while to make.

    Raises:
        click.BadParameter: it is neither a page nor a picture, or its folder is not there.
    """
    if path.suffix not in {PAGE, PICTURE}:
        wanted = f"write {path.stem}{PAGE} or {path.stem}{PICTURE}"
        raise click.BadParameter(f"{path.name} is no page or picture; {wanted}", param_hint="'--report'")
    if not path.absolute().parent.is_dir():
        raise click.BadParameter(f"{path.parent} is not a folder", param_hint="'--report'")
