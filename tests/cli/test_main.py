"""The program as a whole: help, versions, faults, and what it loads."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from detector.cli.program import Program, program
from detector.errors import PreflightError
from detector.store.engine import open_store
from tests.builders import Recorder, count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Call

_PROGRAM = Path(sys.executable).with_name("detector")
_ROOT = Path(__file__).parent.parent.parent


def verbs() -> Iterator[tuple[list[str], click.Command]]:
    """Every verb with its words: ["alerts", "show"]."""
    with click.Context(program) as ctx:
        for name in program.list_commands(ctx):
            command = program.get_command(ctx, name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from (([name, below], each) for below, each in command.commands.items())
            else:
                yield [name], command


def test_the_program_explains_itself(call: Call) -> None:
    """`detector` and `detector --help` list the verbs and how a shell learns them."""
    result = call("--help")

    assert result.code == 0
    for name in Program.verbs:
        assert f"\n  {name} " in result.out
    assert "_DETECTOR_COMPLETE=bash_source detector" in result.out
    assert call("-h").out == result.out


def test_no_verb_is_explained_by_half_a_sentence(call: Call) -> None:
    """The help of a group says what each of its verbs does."""
    groups = [name for name, verb in Program.verbs.items() if isinstance(verb.load(), click.Group)]
    assert "alerts" in groups
    for words in (*([name] for name in groups), ["model", "feedback"]):
        commands = call(*words, "--help").out.split("Commands:")[1]
        assert "..." not in commands
    shown = " ".join(call("alerts", "--help").out.split())
    assert "benign Say that what an alert is about is meant to be, and have its rule pass it over." in shown


def test_no_verb_is_a_request_for_help(call: Call) -> None:
    """Without a verb the help is shown, and the exit code says that nothing was done."""
    result = call()

    assert result.code == 2
    assert "Commands:" in result.err


@pytest.mark.parametrize(("words", "command"), [pytest.param(*each, id=" ".join(each[0])) for each in verbs()])
def test_every_verb_teaches(call: Call, words: list[str], command: click.Command) -> None:
    """The help of each verb begins with one line, and has an example of itself."""
    result = call(*words, "--help")

    assert result.code == 0
    assert result.out.startswith(f"Usage: detector {' '.join(words)}")
    assert command.help
    summary, _, rest = command.help.partition("\n\n")
    assert summary.replace("\n", " ").endswith(".") or ":" in summary
    assert rest
    assert "Examples:" in result.out
    assert f"detector {' '.join(words)}" in result.out.split("Examples:")[1]
    assert all(
        isinstance(each, click.Argument) or getattr(each, "help", None) or getattr(each, "hidden", False)
        for each in command.params
    )


def test_every_verb_is_documented() -> None:
    """README.md and docs/ name each verb."""
    text = "\n".join(path.read_text() for path in (_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md"))))

    for words, _ in verbs():
        assert f"detector {' '.join(words)}" in text


def test_every_option_of_query_is_documented() -> None:
    """docs/commands.md or the examples in it mention each criterion."""
    text = (_ROOT / "docs" / "commands.md").read_text()
    (query,) = [command for words, command in verbs() if words == ["query"]]

    for parameter in query.params:
        assert any(option in text for option in parameter.opts), parameter.opts


def test_the_version_is_that_of_the_package(call: Call) -> None:
    """`--version` names the program and the installed version."""
    assert call("--version").out == f"detector {version('detector')}\n"


def test_a_misspelt_verb_is_refused(call: Call) -> None:
    """An unknown verb is named, with exit code 2."""
    result = call("qury")

    assert result.code == 2
    assert "'qury'" in result.err


def test_a_bad_configuration_is_one_message(call: Call, tmp_path: Path) -> None:
    """A fault of the configuration ends any verb with its name, the remedy and exit code 78."""
    file = tmp_path / "detector.toml"
    file.write_text("[collector]\nintervall = 5\n")

    for words in (["query"], ["alerts", "list"], ["collect"], ["run"], ["db", "upgrade"]):
        result = call("--config", file, *words)

        assert result.code == 78
        assert result.out == ""
        assert result.err == (f"detector: {file}: unknown key collector.intervall\n  did you mean interval_seconds?\n")


def test_help_does_not_need_a_configuration(call: Call, tmp_path: Path) -> None:
    """A broken configuration does not stand between a person and the help."""
    for words in (["query", "--help"], ["alerts", "show", "-h"], ["--help"], ["--version"]):
        assert call("--config", tmp_path / "none.toml", *words).code == 0


def test_the_configuration_is_the_named_one(call: Call, tmp_path: Path) -> None:
    """`--config` comes before $DETECTOR_CONFIG."""
    file = tmp_path / "detector.toml"
    file.write_text(f'[database]\nurl = "sqlite:///{tmp_path}/here.db"\n')

    assert call("--config", file, "db", "upgrade").code == 0
    assert (tmp_path / "here.db").exists()


def test_untrusted_text_in_a_fault_is_made_visible(call: Call, tmp_path: Path) -> None:
    """Escape sequences in what is repeated do not reach the terminal."""
    result = call("--config", tmp_path / "a\x1b[31m\u202eb.toml", "query")

    assert "\x1b" not in result.err
    assert r"a\x1b[31m\u202eb.toml" in result.err


def test_untrusted_text_in_arguments_is_made_visible(call: Call) -> None:
    """What a script was handed is repeated without what does not print, in the lines of the complaint."""
    result = call("query", "\x1b]0;x\x07")
    assert result.code == 2
    assert result.err.splitlines()[0] == "Usage: detector query [OPTIONS]"
    assert r"\x1b]0;x\x07" in result.err.splitlines()[-1]
    assert result.err.replace("\n", "").isprintable()


def test_all_faults_and_remedies_are_lines(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of several lines keeps them."""

    def fail() -> None:
        raise PreflightError((("no BTF", "boot another kernel"), ("no bcc", "apt-get install python3-bpfcc")))

    monkeypatch.setattr("detector.bpf.preflight.require", fail)

    result = call("run")

    assert result.code == 69
    assert result.err.splitlines() == [
        "detector: connects cannot be captured on this machine:",
        "- no BTF",
        "  remedy: boot another kernel",
        "- no bcc",
        "  remedy: apt-get install python3-bpfcc",
    ]


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["collect", "--help"], ["query", "--help"], ["alerts", "list", "--help"]],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """Asking for help, and being `collect`, loads no table printer, model, rule engine or messenger."""
    script = (
        "import sys\nfrom detector.cli import main\n"
        f"code = main({arguments!r})\n"
        "heavy = {'rich', 'sklearn', 'skops', 'numpy', 'sigma', 'apprise', 'alembic', 'bcc', 'sqlalchemy'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )

    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert out.endswith("LOADED []\n")


def test_a_reader_that_has_seen_enough_is_no_fault(store: str) -> None:
    """`detector query | head -1` ends without a word on standard error."""
    engine = open_store(store)
    Recorder(engine).snapshot(*(count(port=port) for port in range(1, 3000)))
    engine.dispose()

    for options in ("--json", ""):
        result = subprocess.run(
            ["bash", "-c", f"'{_PROGRAM}' query --limit 5000 {options} | head -1"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert len(result.stdout.splitlines()) == 1
        assert result.stderr == ""


def test_no_reader_at_all_is_no_fault(store: str) -> None:
    """Output that nobody reads, and that is written only when the program ends, does not end in a traceback."""
    assert store
    result = subprocess.run(
        ["bash", "-c", f"'{_PROGRAM}' query --json | true; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stderr == ""
    assert result.stdout in {"0\n", "1\n"}


def _opened_for_writing(fifo: Path) -> int:
    deadline = time.monotonic() + 60
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert time.monotonic() < deadline, "nobody reads"
            time.sleep(0.02)


def test_ctrl_c_ends_quietly(tmp_path: Path) -> None:
    """An interrupted verb ends with 130 and without a traceback."""
    fifo = tmp_path / "config.toml"
    os.mkfifo(fifo)
    with subprocess.Popen([_PROGRAM, "--config", fifo, "query"], stderr=subprocess.PIPE, text=True) as process:
        # Once there is a reader, the program waits for its configuration. A signal between its last look for signals
        # and that wait is seen by the interpreter only when the wait ends: a person presses again.
        writer = _opened_for_writing(fifo)
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
        _, err = process.communicate()
        os.close(writer)

    assert process.returncode == 130
    assert err.strip() == ""


def test_a_terminal_that_knows_no_such_letters_gets_the_rest(store: str) -> None:
    """Names that the terminal's encoding lacks are written out, not a reason to fail."""
    engine = open_store(store)
    Recorder(engine).snapshot(count(executable="/opt/größe/日本"))
    engine.dispose()

    result = subprocess.run(
        [_PROGRAM, "query"],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
    )

    assert "/opt/größe/\\u65e5\\u672c" in result.stdout.decode("latin-1")


def test_a_shell_can_complete_verbs_and_options() -> None:
    """What the shell asks for on the tab key is answered."""
    for words, word, expected in (("detector ", "1", "query"), ("detector query --si", "2", "--since")):
        out = subprocess.run(
            [_PROGRAM],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "_DETECTOR_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": word},
        ).stdout
        assert f"plain,{expected}" in out.splitlines()


def test_the_module_is_the_program() -> None:
    """`python -m detector` is the same program."""
    out = subprocess.run([sys.executable, "-m", "detector", "--version"], capture_output=True, text=True, check=True)

    assert out.stdout == f"detector {version('detector')}\n"
