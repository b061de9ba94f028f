"""The rules as they would be with a file of the user's folder replaced, without replacing it."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from detector.errors import RuleFault, RuleWriteError
from detector.ruleset.folders import is_hidden
from detector.ruleset.load import load_rules

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from detector.ruleset.evaluate import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What would come of it."""

    rules: tuple[Rule, ...]
    """Those of the file."""
    faults: tuple[RuleFault, ...]
    """Those of the file, and those of others that there are not now; under the paths that the files have."""


def trial(folders: Sequence[Path], own: Path, path: Path, text: str, channels: Collection[str]) -> Trial:
    """What would come of `text` at `path` in the folder `own`.

    Raises:
        RuleWriteError: the folder cannot be read, or there is no room for a copy of it.
    """
    before = set(load_rules(folders, channels=channels).faults)
    with _copy(own) as copy:
        tried = copy / path.relative_to(own)
        try:
            tried.parent.mkdir(parents=True, exist_ok=True)
            tried.write_text(text, encoding="utf-8")
        except OSError as fault:
            raise RuleWriteError(f"{tried}: {fault.strerror}") from None
        layers = [copy if folder == own else folder for folder in folders]
        loaded = load_rules(layers if copy in layers else [*layers, copy], channels=channels)

    def real(name: str) -> str:
        return str(own / Path(name).relative_to(copy)) if Path(name).is_relative_to(copy) else name

    faults = [
        RuleFault(real(each.path), each.line, each.message.replace(str(copy), str(own))) for each in loaded.faults
    ]
    return Trial(
        rules=tuple(replace(rule, path=str(path)) for rule in loaded.ruleset.rules if rule.path == str(tried)),
        faults=tuple(each for each in faults if each.path == str(path) or each not in before),
    )


@contextmanager
def _copy(own: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="detector-rules-") as folder:
        copy = Path(folder, "rules")
        try:
            if own.is_dir():
                shutil.copytree(
                    own,
                    copy,
                    ignore=lambda _, names: [name for name in names if is_hidden(name)],
                    ignore_dangling_symlinks=True,
                )
            copy.mkdir(exist_ok=True)
        except (OSError, shutil.Error) as fault:
            raise RuleWriteError(f"{own} cannot be copied: {fault}") from None
        yield copy
