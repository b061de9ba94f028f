"""`detector rules edit`, on a terminal."""

from __future__ import annotations

import json
import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.builders import Recorder, count
from tests.cli.terminals import Terminal
from tests.disks import fill, small_disk

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.cli.conftest import Call

_RULE = """\
title: Telnet
id: 5b0a1c1e-6d0c-4f43-9d2f-2f6f2c1d0e01
level: high
logsource:
  category: network_connection
  product: linux
detection:
  selection:
    DestinationPort: 23
  condition: selection
"""
_QUESTION = "put it in force"


class Editor(Protocol):
    """`editor("sed -i s/23/24/ $1")`: an editor that does this."""

    def __call__(self, *commands: str) -> None:
        """The first time the first command, then the next; the last one again and again."""


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Editor:
    """$EDITOR, which is called vi, and writes what it was called with to `calls`."""

    def make(*commands: str) -> None:
        program = tmp_path / "bin" / "vi"
        program.parent.mkdir(exist_ok=True)
        calls = tmp_path / "calls"
        cases = "\n".join(f"{number}) {command} ;;" for number, command in enumerate(commands[:-1], start=1))
        program.write_text(
            f'#!/bin/sh\necho "$@" >> {calls}\nfor last; do :; done\nset -- "$last"\n'
            f"case $(wc -l < {calls}) in\n{cases}\n*) {commands[-1]} ;;\nesac\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("EDITOR", str(program))
        monkeypatch.delenv("VISUAL", raising=False)
        # Where texts are kept that would be lost.
        (tmp_path / "kept").mkdir(exist_ok=True)
        monkeypatch.setenv("TMPDIR", str(tmp_path / "kept"))

    return make


@pytest.fixture
def rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A rule in the one folder that is configured."""
    folder = tmp_path / "rules"
    folder.mkdir()
    monkeypatch.setenv("DETECTOR_RULES_FOLDERS", json.dumps([str(folder)]))
    path = folder / "telnet.yml"
    path.write_text(_RULE)
    return path


def _kept(out: str) -> Path:
    found = re.search(r"your text is kept: (\S+)", out)
    assert found, out
    return Path(found[1])


def _versions(rule: Path) -> list[str]:
    return [each.read_text() for each in sorted((rule.parent / ".versions" / rule.name).glob("*.yml"))]


def test_a_good_edit_is_compared_confirmed_and_put_in_force(engine: Engine, rule: Path, editor: Editor) -> None:
    """Old and new are compared in words; the file is replaced whole with its mode, and what it was is kept."""
    recorder = Recorder(engine, now=datetime.now(UTC) - timedelta(days=2))
    recorder.snapshot(count("192.0.2.1", 23))
    for each in range(7):
        recorder.pass_time(hours=2)
        recorder.snapshot(count(f"192.0.2.{each}", 24, executable="/usr/bin/nc"))
    rule.chmod(0o640)
    editor("sed -i 's/DestinationPort: 23/DestinationPort: [23, 24]/' $1")

    with Terminal("rules", "edit", "telnet") as terminal:
        seen = terminal.expect(_QUESTION)
        terminal.type("y")
        code, out = terminal.end()

    assert code == 0, out
    assert "was 1 alert in 30 days, would be 8" in seen
    assert "7 new, the largest 5:" in seen
    assert len(re.findall(r"executable=/usr/bin/nc", seen)) == 5
    assert "DestinationPort: [23, 24]" in rule.read_text()
    assert stat.S_IMODE(rule.stat().st_mode) == 0o640
    assert _versions(rule) == [_RULE]
    assert not list(rule.parent.glob(".*.tmp"))


@pytest.mark.usefixtures("store")
def test_a_fault_is_shown_and_edited_again_at_its_line(rule: Path, editor: Editor, tmp_path: Path) -> None:
    """The fault is said as path and line; the editor begins there, and what it is corrected to is put in force."""
    editor("sed -i 's/DestinationPort/DestinationPrt/' $1", "sed -i 's/DestinationPrt: 23/DestinationPort: 99/' $1")

    with Terminal("rules", "edit", "telnet", "--no-test") as terminal:
        seen = terminal.expect("what now?")
        terminal.type("e")
        terminal.expect(_QUESTION)
        terminal.type("y")
        code, _ = terminal.end()

    assert code == 0
    assert f"{rule}:9: unknown field 'DestinationPrt'; did you mean DestinationPort?" in seen
    assert (tmp_path / "calls").read_text().splitlines()[1].startswith("+9 ")
    assert "DestinationPort: 99" in rule.read_text()


@pytest.mark.usefixtures("store")
def test_a_faulty_edit_can_be_given_up(rule: Path, editor: Editor) -> None:
    """The rule stays as it was, the exit code is that of faults, and the text is kept."""
    editor("sed -i 's/level: high/level: urgent/' $1")

    with Terminal("rules", "edit", "telnet") as terminal:
        terminal.expect("what now?")
        terminal.type("x")
        code, out = terminal.end()

    assert code == 65
    assert rule.read_text() == _RULE
    assert "level: urgent" in _kept(out).read_text()
    assert _versions(rule) == []


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("answer", "key"), [("n", b""), ("", b"\x03")])
def test_a_sound_edit_can_be_given_up(rule: Path, editor: Editor, answer: str, key: bytes) -> None:
    """By saying no, or by Ctrl-C, at the last question: nothing is changed, and the text is kept."""
    editor("sed -i 's/23/24/' $1")

    with Terminal("rules", "edit", "telnet", "--no-test") as terminal:
        terminal.expect(f"{_QUESTION} as {rule}?")
        terminal.expect(": ")
        terminal.until_asked()
        terminal.press(key) if key else terminal.type(answer)
        code, out = terminal.end()

    assert code == 130
    assert rule.read_text() == _RULE
    assert "DestinationPort: 24" in _kept(out).read_text()


@pytest.mark.usefixtures("store")
def test_an_editor_that_crashes_changes_nothing(rule: Path, editor: Editor) -> None:
    """What it had written is kept; without anything written there is nothing to keep."""
    editor("sed -i 's/23/24/' $1; kill -9 $$", "exit 3")

    with Terminal("rules", "edit", "telnet") as first:
        killed = first.end()
    with Terminal("rules", "edit", "telnet") as second:
        failed = second.end()

    assert killed[0] == failed[0] == 1
    assert "vi was ended by signal 9" in killed[1]
    assert "DestinationPort: 24" in _kept(killed[1]).read_text()
    assert "vi failed (exit 3)" in failed[1]
    assert "nothing was changed" in failed[1]
    assert "kept" not in failed[1]
    assert rule.read_text() == _RULE


@pytest.mark.usefixtures("store")
def test_two_do_not_edit_the_same_rule(rule: Path, editor: Editor) -> None:
    """The second is told who edits it; when the first is done, it can be edited again."""
    editor("sed -i 's/23/24/' $1")

    with Terminal("rules", "edit", "telnet", "--no-test") as first:
        first.expect(_QUESTION)
        with Terminal("rules", "edit", "telnet", environment={"SUDO_USER": "bob"}) as second:
            refused = second.end()
        first.type("y")
        assert first.end()[0] == 0
    with Terminal("rules", "edit", "telnet", "--no-test") as third:
        unchanged = third.end()

    assert refused[0] == 1
    assert re.search(rf"{rule} is being edited by \w+ \(process \d+\)", refused[1])
    assert unchanged[0] == 0
    assert "nothing was changed" in unchanged[1]


@pytest.mark.usefixtures("store")
def test_a_full_disk_leaves_the_rule_as_it_was(tmp_path: Path, editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, the rule is whole, and the text is kept on another disk."""
    editor(f"cat {tmp_path}/long >> $1")
    (tmp_path / "long").write_text("".join(f"# {each:01000}\n" for each in range(50)))
    with small_disk(tmp_path / "disk", "256k") as disk:
        monkeypatch.setenv("DETECTOR_RULES_FOLDERS", json.dumps([str(disk)]))
        rule = disk / "telnet.yml"
        rule.write_text(_RULE)

        with Terminal("rules", "edit", "telnet", "--no-test") as terminal:
            terminal.expect(_QUESTION)
            fill(disk)
            terminal.type("y")
            code, out = terminal.end()

        assert code == 73, out
        assert "No space left on device" in out
        assert rule.read_text() == _RULE
        assert len(_kept(out).read_text()) > 50_000
        assert _versions(rule) == []


# Root without what lets it write where it may not.
_UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.mark.usefixtures("store")
def test_who_may_not_write_is_told_before_he_edits(rule: Path, editor: Editor, tmp_path: Path) -> None:
    """What is wrong and what to do; no editor is opened, and nothing is left behind."""
    editor("sed -i 's/23/24/' $1")
    rule.parent.chmod(0o555)

    with Terminal("rules", "edit", "telnet", under=_UNPRIVILEGED) as terminal:
        code, out = terminal.end()

    assert code == 73, out
    assert f"{rule.parent}: Permission denied" in out
    assert "try it with sudo" in out
    assert "Traceback" not in out
    assert not (tmp_path / "calls").exists()
    assert [each.name for each in rule.parent.iterdir()] == [rule.name]


@pytest.mark.usefixtures("store")
def test_who_may_not_write_any_more_keeps_his_text(rule: Path, editor: Editor) -> None:
    """The folder was closed while the editor was open: the rule is as it was, and the text is kept."""
    editor("sed -i 's/23/24/' $1")

    with Terminal("rules", "edit", "telnet", "--no-test", under=_UNPRIVILEGED) as terminal:
        terminal.expect(_QUESTION)
        rule.parent.chmod(0o555)
        terminal.type("y")
        code, out = terminal.end()

    assert code == 73, out
    assert "Permission denied" in out
    assert rule.read_text() == _RULE
    assert "DestinationPort: 24" in _kept(out).read_text()


@pytest.mark.usefixtures("store")
def test_an_empty_file_is_not_put_in_force(rule: Path, editor: Editor) -> None:
    """Whoever wants a rule away is told how that is done."""
    editor(": > $1")

    with Terminal("rules", "edit", "telnet") as terminal:
        code, out = terminal.end()

    assert code == 1
    assert "the file is empty" in out
    assert "detector rules disable" in out
    assert rule.read_text() == _RULE


@pytest.mark.usefixtures("store")
def test_a_shipped_rule_is_edited_as_a_copy(tmp_path: Path, editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is in the user's folder, with the same ids, and takes the place of what ships."""
    from detector import shipped

    own, ours = tmp_path / "own", shipped.folder("rules")
    monkeypatch.setenv("DETECTOR_RULES_FOLDERS", json.dumps([str(ours), str(own)]))
    own.mkdir()
    editor("sed -i 's/gte: 20$/gte: 30/' $1")
    before = (ours / "vertical_scan.yml").read_text()

    with Terminal("rules", "edit", "vertical_scan") as terminal:
        terminal.expect("ships with detector")
        seen = terminal.expect(_QUESTION)
        terminal.type("y")
        code, out = terminal.end()

    assert code == 0, out
    assert "was 0 alerts in 30 days, would be 0" in seen
    assert (ours / "vertical_scan.yml").read_text() == before
    assert (own / "vertical_scan.yml").read_text() == before.replace("gte: 20\n", "gte: 30\n")


@pytest.mark.usefixtures("store")
def test_what_another_program_has_changed_meanwhile_is_not_overwritten(rule: Path, editor: Editor) -> None:
    """Both texts are there afterwards."""
    editor("sed -i 's/23/24/' $1")

    with Terminal("rules", "edit", "telnet", "--no-test") as terminal:
        terminal.expect(_QUESTION)
        rule.write_text(_RULE + "# by hand\n")
        terminal.type("y")
        code, out = terminal.end()

    assert code == 73
    assert "was changed meanwhile" in out
    assert rule.read_text().endswith("# by hand\n")
    assert "DestinationPort: 24" in _kept(out).read_text()


def test_nobody_is_asked_without_a_terminal(call: Call, rule: Path) -> None:
    """A script is told what to do in its place."""
    result = call("rules", "edit", "telnet")

    assert result.code == 1
    assert "on a terminal" in result.err
    assert rule.read_text() == _RULE
