"""The files that rules are read from, in the order in which one takes another's place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector.ruleset.documents import Document, read_documents, rule_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from detector.errors import RuleFault


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RuleFile:
    """A file as it was read."""

    path: str
    layer: int
    """Rules of a higher one take the place of those of a lower one that have the same id."""
    documents: tuple[Document, ...]
    faults: tuple[RuleFault, ...]
    """What is wrong with its YAML."""
    state: tuple[int, ...]
    """What changes when the file does: inode, size and times; empty when that is not known."""


def read_files(
    folders: Sequence[Path], checked: Sequence[Path], known: Mapping[str, RuleFile]
) -> tuple[list[RuleFile], list[RuleFault]]:
    """All rule files below `folders`, a layer each, and below `checked`, which are one layer above them.

    With a fault for what cannot be read as one of them. A file that is reached by two ways is one file. What is `known`
    and has not changed is not read again.
    """
    faults: list[RuleFault] = []
    found: dict[str, tuple[int, Path]] = {}
    layers = [*enumerate(folders), *((len(folders), path) for path in checked)]
    for layer, folder in layers:
        paths, unreadable = rule_files(folder)
        faults += unreadable
        for path in paths:
            found.setdefault(os.path.realpath(path), (layer, path))
    return [_read(path, layer, known.get(str(path))) for layer, path in found.values()], faults


def _read(path: Path, layer: int, known: RuleFile | None) -> RuleFile:
    # Before it is read: what is written meanwhile shows.
    state = _state(path)
    if known is not None and (known.state, known.layer) == (state, layer) and state:
        return known
    documents, faults = read_documents(path)
    return RuleFile(path=str(path), layer=layer, documents=tuple(documents), faults=tuple(faults), state=state)


def _state(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
