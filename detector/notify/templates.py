"""The templates that messages are written with: those that ship, and the operator's own in their place."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.errors import TemplateFault
from detector.notify.bounded import CHECK_SECONDS, ExhaustedError, JobError, fill_apart
from detector.notify.filling import HTML, LONGEST, MARKDOWN, NAMES, SUBJECT, TEXT, UnfillableError, fill

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["HTML", "MARKDOWN", "NAMES", "SUBJECT", "TEXT", "OwnTemplateError", "Templates", "read", "shipped"]

_SHIPPED = Path(__file__).with_name("layouts")


class OwnTemplateError(Exception):
    """One of the operator's own templates cannot be filled in with what an alert has.

    Args:
        name: of its file.
        fault: what is wrong with it, and where.
        exhausted: it takes more time or memory than it may have.
    """

    def __init__(self, name: str, fault: TemplateFault, *, exhausted: bool) -> None:
        super().__init__(str(fault))
        self.name, self.fault, self.exhausted = name, fault, exhausted


@dataclass(frozen=True, slots=True)
class Templates:
    """What is in force, by the names of the files."""

    sources: Mapping[str, str]
    faults: tuple[TemplateFault, ...] = ()
    """Of files that are refused: in their place stands what ships."""
    own: Mapping[str, Path] = field(default_factory=dict)
    """The files of those that are the operator's, by name."""

    def write(self, jobs: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
        """What templates make of values: of each pair of a name and what it may fill in.

        Those that ship are filled in here, the operator's own in a process of their own, within bounds.

        Raises:
            OwnTemplateError: one of the operator's cannot be filled in.
        """
        own = [(name, self.sources[name], values) for name, values in jobs if name in self.own]
        try:
            made = iter(fill_apart(own) if own else ())
        except JobError as error:
            fault, path = error.fault, self.own[error.name]
            exhausted = isinstance(fault, ExhaustedError)
            raise OwnTemplateError(
                error.name, TemplateFault(str(path), fault.line, fault.message), exhausted=exhausted
            ) from None
        return [next(made) if name in self.own else fill(name, self.sources[name], values) for name, values in jobs]

    def without(self, name: str) -> Templates:
        """The same with what ships in the place of one of the operator's own."""
        own = {each: path for each, path in self.own.items() if each != name}
        return Templates({**self.sources, name: _sources()[name]}, self.faults, own)


def shipped() -> Templates:
    """Those that ship."""
    return Templates(_sources())


def read(folder: Path, sample: Mapping[str, Any]) -> Templates:
    """Those of a folder, each tried with `sample`; the shipped ones in place of what is missing or refused."""
    sources, faults, own = dict(_sources()), [], {}
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        faults.append(TemplateFault(str(folder), 1, "there is no such folder; make it, or correct notify.templates"))
        return Templates(sources, tuple(faults))
    except OSError as fault:
        faults.append(TemplateFault(str(folder), 1, f"{fault.strerror}; let the account that runs detect read it"))
        return Templates(sources, tuple(faults))
    for path in paths:
        if path.name.startswith(".") or path.name.endswith("~"):
            continue
        if path.name not in NAMES:
            faults.append(TemplateFault(str(path), 1, f"is no template; templates are {', '.join(NAMES)}"))
            continue
        try:
            sources[path.name] = _sound(path, sample)
        except UnfillableError as fault:
            faults.append(TemplateFault(str(path), fault.line, fault.message))
            continue
        own[path.name] = path
    return Templates(sources, tuple(faults), own)


def _sound(path: Path, sample: Mapping[str, Any]) -> str:
    """What a template holds; it has been filled in with `sample`."""
    if not path.is_file():
        # Of a pipe nobody knows when it ends.
        raise UnfillableError(1, "is no file; put one there, or take it away")
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LONGEST + 1)
    except (OSError, UnicodeDecodeError) as fault:
        reason = (fault.strerror or "cannot be read") if isinstance(fault, OSError) else "is not UTF-8 text"
        raise UnfillableError(1, f"{reason}; let the account that runs detect read it") from None
    if len(text) > LONGEST:
        raise UnfillableError(1, f"is longer than {LONGEST:,} characters; shorten it")
    try:
        fill_apart([(path.name, text, sample)], seconds=CHECK_SECONDS)
    except JobError as error:
        raise error.fault from None
    return text


@lru_cache(maxsize=1)
def _sources() -> Mapping[str, str]:
    return {name: (_SHIPPED / name).read_text(encoding="utf-8") for name in NAMES}
