"""Reads rule files as YAML with the line of every key and value, and refuses what YAML lets pass silently."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from detector.errors import RuleFault
from detector.ruleset.folders import is_hidden
from detector.ruleset.wording import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_BYTES = 256 * 1024
# What the integers of both databases hold; also false for what is not a number (.nan) and for the infinities.
_LARGEST = 2**63
# A rule needs six levels: document, detection, selection, list, mapping, list of values.
_MAX_DEPTH = 12
_PLAIN = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "timestamp"))
_NULL = "tag:yaml.org,2002:null"
_TEXT = "tag:yaml.org,2002:str"
_MAP = "tag:yaml.org,2002:map"
_LIST = "tag:yaml.org,2002:seq"

Place = tuple[str | int, ...]
"""The keys and list positions that lead to a value: ("detection", "selection", "DestinationPort", 0)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One YAML document of a rule file.

    Within `content`, None stands for a value that is refused already (a null, an empty list, a strange tag): its
    fault is known, and later checks pass over it.
    """

    path: str
    content: Mapping[str, Any]
    lines: Mapping[Place, int]

    def line(self, *place: str | int) -> int:
        """The line of the key or list item at `place`, or of the nearest thing around it."""
        while place not in self.lines:
            place = place[:-1]
        return self.lines[place]


@dataclass(frozen=True, slots=True)
class Faults:
    """Collects the faults of one document."""

    document: Document
    found: list[RuleFault] = field(default_factory=list)

    def add(self, message: str, *place: str | int) -> None:
        """Notes that what stands at `place` is wrong: "what is wrong; what to write instead"."""
        self.found.append(RuleFault(self.document.path, self.document.line(*place), message))


def rule_files(folder: Path) -> tuple[list[Path], list[RuleFault]]:
    """All *.yml below `folder` (or the one file that it is), sorted, and a fault for what cannot be read as one.

    What is hidden (its name begins with a dot) is passed over.
    """
    try:
        if folder.suffix == ".yml" and folder.is_file():
            return [folder], []
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            return [], [RuleFault(str(folder), 0, f"the rule folder {what}; create it or correct [rules] folders")]
    except OSError as fault:
        return [], [RuleFault(str(folder), 0, f"{fault.strerror}; let the detector's user read it")]
    files: list[Path] = []
    faults: list[RuleFault] = []

    def unreadable(fault: OSError) -> None:
        faults.append(RuleFault(str(fault.filename), 0, f"{fault.strerror}; let the detector's user read it"))

    for parent, below, names in os.walk(folder, onerror=unreadable):
        below[:] = [name for name in below if not is_hidden(name)]
        for name in names:
            if is_hidden(name):
                continue
            path = Path(parent, name)
            if path.suffix == ".yaml":
                faults.append(RuleFault(str(path), 0, "is not read; rule files end in .yml: rename it"))
            elif path.suffix == ".yml":
                files.append(path)
    return sorted(files), faults


def read_documents(path: Path) -> tuple[list[Document], list[RuleFault]]:
    """The documents of one rule file, in order, and all faults of its YAML."""
    name = str(path)
    try:
        # Opening a pipe or a device would wait for ever.
        if not path.is_file():
            return [], [RuleFault(name, 0, "is not a regular file; remove it")]
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as fault:
        return [], [RuleFault(name, 0, f"{fault.strerror}; let the detector's user read it")]
    if len(raw) > MAX_BYTES:
        return [], [RuleFault(name, 0, f"is larger than {MAX_BYTES // 1024} kB; split it into several files")]
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as fault:
        line = raw.count(b"\n", 0, fault.start) + 1
        return [], [RuleFault(name, line, "is not UTF-8 text; save the file as UTF-8")]
    return parse_documents(name, text)


def parse_documents(path: str, text: str) -> tuple[list[Document], list[RuleFault]]:
    """The documents of a text that stands, or is to stand, at `path`, and all faults of its YAML."""
    return _Reader(path).documents(text)


class _Refused(yaml.MarkedYAMLError):
    """Something that is YAML, but that no rule needs."""


class _Loader(yaml.SafeLoader):
    """Composes nodes, but no aliases (a few lines of them unfold to gigabytes) and no deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise _Refused(
                problem="anchors (&) and aliases (*) are not allowed; write the value out",
                problem_mark=event.start_mark,
            )
        if self.depth >= _MAX_DEPTH:
            raise _Refused(
                problem=f"nested more than {_MAX_DEPTH} levels deep; write it flatter", problem_mark=event.start_mark
            )
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Reader:
    """Turns the nodes of one file into documents and collects its faults."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._faults: list[RuleFault] = []
        self._lines: dict[Place, int] = {}
        self._loader: _Loader

    def documents(self, text: str) -> tuple[list[Document], list[RuleFault]]:
        found = list(self._documents(text))
        if not found and not self._faults:
            self._fault(1, "holds no rule; write one or remove the file")
        return found, self._faults

    def _documents(self, text: str) -> Iterator[Document]:
        try:
            self._loader = _Loader(text)
            while self._loader.check_node():
                node = self._loader.get_node()
                # What follows the last "---" of a file, or stands between two, may be nothing.
                if node is None or node.tag == _NULL:
                    continue
                self._lines = {(): _line(node)}
                content = self._value(node, ())
                if isinstance(content, dict):
                    yield Document(path=self._path, content=content, lines=self._lines)
                elif content is not None:
                    self._fault(_line(node), "is not a rule; a rule starts with 'title: …'")
        except yaml.reader.ReaderError as fault:
            line = text.count("\n", 0, fault.position) + 1
            self._fault(line, f"holds the unprintable character {fault.character:#x}; remove it")
        except yaml.MarkedYAMLError as fault:
            mark = fault.problem_mark or fault.context_mark
            what = f"not valid YAML: {fault.problem or fault.context}; check indentation, quotes and colons"
            self._fault(mark.line + 1 if mark else 1, str(fault.problem) if isinstance(fault, _Refused) else what)
        except (ValueError, OverflowError) as fault:
            # PyYAML lets these through for an escape that is no character and a version of a thousand digits.
            self._fault(self._loader.line + 1, f"not valid YAML: {shown(str(fault))}; correct this line")

    def _fault(self, line: int, message: str) -> None:
        self._faults.append(RuleFault(self._path, line, message))

    def _value(self, node: yaml.Node, place: Place) -> Any:
        if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode) and node.tag == _LIST:
            return self._sequence(node, place)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        self._fault(_line(node), f"the tag {shown(str(node.tag))} is not allowed; write a plain value")
        return None

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any] | None:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TEXT:
                self._fault(_line(key_node), f"the key {shown(key)} is not text; put it in quotes or rename it")
            elif key in values:
                first = self._lines[*place, key]
                self._fault(_line(key_node), f"{shown(key)} appears twice (first on line {first}); keep one of them")
            else:
                self._lines[*place, key] = _line(key_node)
                values[key] = self._value(value_node, (*place, key))
        if not node.value:
            self._fault(_line(node), f"{_named(place)} is empty; write a value or remove it")
        return values or None

    def _sequence(self, node: yaml.SequenceNode, place: Place) -> list[Any] | None:
        values = []
        for index, item in enumerate(node.value):
            self._lines[*place, index] = _line(item)
            values.append(self._value(item, (*place, index)))
        if not values:
            self._fault(_line(node), f"{_named(place)} is an empty list; write a value or remove it")
        return values or None

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        line = _line(node)
        if node.tag == _NULL:
            self._fault(line, f"{_named(place)} is empty; write a value or remove it")
            return None
        if node.tag not in _PLAIN:
            self._fault(line, f"{_named(place)}: the tag {shown(node.tag)} is not allowed; put the value in quotes")
            return None
        try:
            value = self._loader.construct_object(node)
        except (ValueError, OverflowError, yaml.YAMLError):
            self._fault(line, f"{_named(place)}: {shown(node.value)} is no value; put it in quotes if it is text")
            return None
        if isinstance(value, int | float) and not abs(value) < _LARGEST:
            self._fault(line, f"{_named(place)}: {shown(node.value)} cannot be compared; write a number below 2^63")
            return None
        if isinstance(value, str) and any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
            self._fault(line, f"{_named(place)} holds a character that no text has; remove the escape")
            return None
        return value


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _named(place: Place) -> str:
    keys = [part for part in place if isinstance(part, str)]
    return shown(keys[-1]) if keys else "the rule"
