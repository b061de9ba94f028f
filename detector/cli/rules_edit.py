"""`detector rules edit`: the user's editor on a copy, which takes the file's place once it is sound and looked at."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detector.cli import editor
from detector.cli.parameters import TESTED, Moment
from detector.cli.rule_files import Place, edited_alone, place_of, put
from detector.cli.rule_names import find, load, rule_argument
from detector.cli.terminal import note, say
from detector.errors import DetectorError, RuleError
from detector.visible import visible

if TYPE_CHECKING:
    from detector.config import Settings
    from detector.ruleset.trial import Trial


@click.command()
@rule_argument
@click.option("--since", type=Moment(), help="How far back old and new are compared. Default: 30d.")
@click.option("--no-test", is_flag=True, help="Do not compare them.")
@click.pass_obj
def edit(settings: Settings, /, named: str, since: datetime | None, no_test: bool) -> None:
    """Edit a rule: your editor on a copy, and nothing in force that you have not confirmed.

    When the editor ends, the file is checked, and what the old and the new version would have found in what is stored
    is compared. The version before is kept (see `rules rollback`). Of a rule that ships, a copy is written into your
    folder, which takes its place. The editor is $VISUAL, else $EDITOR, else the system's.

    \b
    Examples:
      detector rules edit horizontal_scan
      EDITOR=nano detector rules edit my_rule --since 7d
    """
    from detector.ruleset.versions import read

    if not (os.isatty(0) and os.isatty(1)):
        raise DetectorError("rules are edited on a terminal", hint="edit the file itself, and: detector rules check")
    path = Path(named).absolute()
    source = path if path.suffix == ".yml" and path.is_file() else Path(find(load(settings), named).path)
    place = place_of(settings, source)
    before = read(source)
    if place.path != source:
        say(f"{source} ships with detector: your copy of it will be {place.path}")
    with edited_alone(place):
        edit_text(settings, place, before, since=since, compared=not no_test)


def edit_text(
    settings: Settings,
    place: Place,
    text: str,
    *,
    since: datetime | None = None,
    compared: bool = True,
    new: bool = False,
) -> None:
    """Lets the user edit `text` until it is put in its place, or given up.

    Args:
        settings: the configuration.
        place: where it goes; nobody else edits it meanwhile.
        text: where the user begins.
        since: how far back what it finds is looked at; None: as usual.
        compared: whether it is.
        new: whether `text` may stay as it is.

    Raises:
        Abort: it is given up.
        RuleError: it is given up with faults.
        DetectorError: the editor fails, or the file cannot be written; what the user wrote is kept.
    """
    draft = _Draft.begun(place, text)
    tested_since = (since or datetime.now(UTC) - TESTED) if compared else None
    try:
        _edit(settings, place, draft, tested_since, new=new)
    except (DetectorError, click.Abort, KeyboardInterrupt):
        draft.leave()
        raise
    draft.remove()


@dataclass(frozen=True, slots=True)
class _Draft:
    """The copy that is edited."""

    path: Path
    before: str

    @classmethod
    def begun(cls, place: Place, text: str) -> _Draft:
        """A copy of `text`, under the name of its file."""
        path = Path(tempfile.mkdtemp(prefix="detector-edit-"), place.path.name)
        path.write_text(text, encoding="utf-8")
        return cls(path, text)

    def text(self) -> str:
        """What it is now.

        Raises:
            RuleWriteError: it cannot be read.
        """
        from detector.ruleset.versions import read

        return read(self.path)

    def remove(self) -> None:
        """Nobody needs it any more."""
        # With what the editor left beside it.
        for each in self.path.parent.iterdir():
            each.unlink()
        self.path.parent.rmdir()

    def leave(self) -> None:
        """Keeps what would be lost, and says where."""
        try:
            changed = self.path.read_bytes() != self.before.encode()
        except OSError:
            changed = False
        if changed:
            note(f"nothing was changed; your text is kept: {self.path}")
        else:
            self.remove()
            note("nothing was changed")


def _edit(settings: Settings, place: Place, draft: _Draft, since: datetime | None, *, new: bool) -> None:
    from detector.cli.comparison import compare

    line: int | None = None
    while True:
        editor.edit(draft.path, line)
        text = draft.text()
        if text == draft.before and not new:
            say("nothing was changed")
            return
        if not text.strip():
            raise DetectorError("the file is empty", hint="to have a rule report nothing: detector rules disable")
        tried = _tried(settings, place, text)
        if tried.faults:
            line = _line(tried, place)
            if not _again():
                raise RuleError(tried.faults)
            continue
        if since is not None:
            compare(settings, place.now, tried.rules, since)
        answer = click.prompt(
            f"put it in force as {visible(str(place.path))}? (y)es, (e)dit again, (n)o",
            type=click.Choice(["y", "e", "n"]), show_choices=False, default="y",
        )  # fmt: skip
        if answer == "n":
            raise click.Abort
        if answer == "y":
            put(settings, place, text)
            return
        line = None


def _tried(settings: Settings, place: Place, text: str) -> Trial:
    from detector.ruleset.trial import trial

    return trial(settings.rule_folders, place.folder, place.path, text, settings.channel_names)


def _line(tried: Trial, place: Place) -> int | None:
    """Prints the faults; gives the line of the first of them that is in the file."""
    for fault in tried.faults:
        note(str(fault))
    return next((fault.line for fault in tried.faults if fault.path == str(place.path) and fault.line), None)


def _again() -> bool:
    answer = click.prompt(
        "what now? (e)dit again, e(x)it without saving", type=click.Choice(["e", "x"]), show_choices=False, default="e"
    )
    return bool(answer == "e")
