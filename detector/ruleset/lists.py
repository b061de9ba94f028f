"""Named lists: `lists/NAME.txt` in a folder of rules, which rules compare with as '%NAME%'."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from detector.errors import RuleFault
from detector.ruleset.list_entries import ListKind, kind_of, merged, read_name, read_network, read_port
from detector.ruleset.values import UnfitValueError
from detector.ruleset.wording import nearest, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from detector.ruleset.list_entries import Span

FOLDER = "lists"
"""Of a folder of rules, where its lists are."""
_MAX_BYTES = 32 << 20
_MOST_FAULTS = 10
_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
_PLACEHOLDER = re.compile(r"%([^%\\]+)%")
_KIND = re.compile(r"#\s*kind:\s*(\S*)\s*", re.IGNORECASE)
_COMMENT = re.compile(r"(?:^|\s)#.*")
# They become values of the statement.
_MOST_PORTS = 500


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NamedList:
    """One list. Of `networks`, `ports` and `names` two are empty; all, until it is filled."""

    name: str
    path: str
    kind: ListKind
    networks: bytes = b""
    """First and last addresses of spans, 16 bytes each, sorted and apart: a hundred thousand of them are usual."""
    ports: tuple[Span, ...] = ()
    """Sorted and apart."""
    names: tuple[str, ...] = ()
    """As they are written, each once."""

    @property
    def is_empty(self) -> bool:
        """Whether it is still to be filled."""
        return not (self.networks or self.ports or self.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """The lists that rules can name, and those that are refused."""

    known: Mapping[str, NamedList] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    """Paths by name."""

    def find(self, name: str) -> NamedList:
        """The list called `name`.

        Raises:
            UnfitValueError: there is none, or it is refused: what to do.
        """
        if name in self.known:
            return self.known[name]
        if name in self.refused:
            raise UnfitValueError(f"the list {shown(name)} is refused; correct {self.refused[name]} first")
        names = [*self.known, *self.refused]
        advice = nearest(name, names) if names else f"write {FOLDER}/NAME.txt in the folder of the rules"
        raise UnfitValueError(f"no list is called {shown(name)}; {advice}")

    def is_name(self, value: object) -> bool:
        """Whether `value` is the name of a list between percent signs and nothing else."""
        found = _PLACEHOLDER.fullmatch(value) if isinstance(value, str) else None
        return found is not None and (found[1] in self.known or found[1] in self.refused)


NO_LISTS = Lists()
"""For rules that know none."""


def placeholders(text: str) -> list[tuple[str, str, str]]:
    """Each '%NAME%' of `text` as what stands before it, the name, and what stands behind it."""
    return [(text[: found.start()], found[1], text[found.end() :]) for found in _PLACEHOLDER.finditer(text)]


def list_files(folders: Iterable[Path]) -> tuple[list[Path], list[RuleFault]]:
    """The files of all lists in `folders` of rules, later folders last; and a fault for what hides some."""
    found: list[Path] = []
    faults: list[RuleFault] = []
    for folder in folders:
        home = folder / FOLDER
        try:
            # A single file is taken for a rule that may name the lists beside it.
            home = (folder.parent if folder.is_file() else folder) / FOLDER
            found += sorted(path for path in home.iterdir() if path.suffix == ".txt" and path.name[0] != ".")
        except NotADirectoryError:
            faults.append(RuleFault(str(home), 0, "is not a folder; remove it, or move it to a file in such a folder"))
        except PermissionError as fault:
            faults.append(RuleFault(str(home), 0, f"{fault.strerror}; let the detector's user read it"))
        except OSError:
            # There is none; what is wrong with the folder itself is said where its rules are read.
            continue
    return list(dict.fromkeys(found)), faults


def read_lists(folders: Sequence[Path], good: Lists = NO_LISTS) -> tuple[Lists, list[RuleFault]]:
    """The lists in `folders` of rules: of two of one name the one in the later folder. And all their faults.

    In the place of a file with a fault stands what was `good` of it.
    """
    known: dict[str, NamedList] = {}
    refused: dict[str, str] = {}
    paths, faults = list_files(folders)
    for path in paths:
        reader = _Reader(path)
        found = reader.read()
        faults += reader.faults
        # The later one counts, also where it is refused: silently going on with the other would be worse.
        known.pop(path.stem, None)
        refused.pop(path.stem, None)
        before = good.known.get(path.stem)
        if found is None and before is not None and before.path == str(path):
            found = before
        if found is None:
            refused[path.stem] = str(path)
        else:
            known[path.stem] = found
    return Lists(known=known, refused=refused), faults


class _Reader:
    """Reads one file and collects its faults."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._more = 0
        self.faults: list[RuleFault] = []

    def read(self) -> NamedList | None:
        """The list; None if there is anything wrong with it."""
        text = self._text()
        if text is None:
            return None
        lines, kind = self._entries(text)
        if not lines and kind is None and not self.faults:
            self._fault(
                0, "holds no entry; write one a line, or '# kind: networks' (ports, names) if it is filled later"
            )
        if self.faults:
            return None
        kind = kind or kind_of(entry for _, entry in lines)
        found = self._named(kind, lines)
        if self._more:
            self.faults.append(RuleFault(str(self._path), 0, f"has {self._more} more faults; correct these first"))
        return None if self.faults else found

    def _text(self) -> str | None:
        if not _NAME.fullmatch(self._path.stem):
            self._fault(0, "is no name of a list; rename it with letters, digits, - and _ alone, at most 60")
            return None
        try:
            # Opening a pipe or a device would wait for ever.
            if not self._path.is_file():
                self._fault(0, "is not a regular file; remove it")
                return None
            with self._path.open("rb") as file:
                raw = file.read(_MAX_BYTES + 1)
        except OSError as fault:
            self._fault(0, f"{fault.strerror}; let the detector's user read it")
            return None
        if len(raw) > _MAX_BYTES:
            self._fault(0, f"is larger than {_MAX_BYTES >> 20} MB; split it into several lists")
            return None
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as fault:
            self._fault(raw.count(b"\n", 0, fault.start) + 1, "is not UTF-8 text; save the file as UTF-8")
            return None

    def _entries(self, text: str) -> tuple[list[tuple[int, str]], ListKind | None]:
        lines: list[tuple[int, str]] = []
        kind = None
        for number, line in enumerate(text.split("\n"), start=1):
            entry = line.strip()
            if not lines and (said := _KIND.fullmatch(entry)):
                kind = self._kind(number, said[1])
            elif entry and (bare := _COMMENT.sub("", entry).rstrip() if "#" in entry else entry):
                lines.append((number, bare))
        return lines, kind

    def _kind(self, number: int, said: str) -> ListKind | None:
        for kind in ListKind:
            if said.lower() == kind.value:
                return kind
        self._fault(number, f"no list is of the kind {shown(said)}; {nearest(said, ListKind)}")
        return None

    def _named(self, kind: ListKind, lines: list[tuple[int, str]]) -> NamedList:
        spans: list[Span] = []
        names: dict[str, None] = {}
        take: Callable[[str], object] = {
            ListKind.NETWORKS: lambda entry: spans.extend(read_network(entry)),
            ListKind.PORTS: lambda entry: spans.append(read_port(entry)),
            ListKind.NAMES: lambda entry: names.setdefault(read_name(entry)),
        }[kind]
        for number, entry in lines:
            try:
                take(entry)
            except UnfitValueError as fault:
                self._entry_fault(number, kind, str(fault))
        spans = merged(spans)
        of_ports = kind is ListKind.PORTS
        if of_ports and len(spans) > _MOST_PORTS:
            self._fault(0, f"holds more than {_MOST_PORTS} ranges of ports; write fewer")
        return NamedList(
            name=self._path.stem,
            path=str(self._path),
            kind=kind,
            networks=b"" if of_ports else b"".join(edge.to_bytes(16) for span in spans for edge in span),
            ports=tuple(spans) if of_ports else (),
            names=tuple(names),
        )

    def _entry_fault(self, number: int, kind: ListKind, message: str) -> None:
        if len(self.faults) >= _MOST_FAULTS:
            self._more += 1
        elif kind is ListKind.NAMES:
            self._fault(number, message)
        else:
            self._fault(number, f"{message}; or, in a list of names, '# kind: names' above all")

    def _fault(self, line: int, message: str) -> None:
        self.faults.append(RuleFault(str(self._path), line, message))
