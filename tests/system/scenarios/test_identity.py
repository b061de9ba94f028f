"""Which program it was, however it hides, and whose."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.scenarios.namespaces import PATIENCE_SECONDS, TARGET
from tests.system.scenarios.rows import Row, program, seen
from tests.system.scenarios.sshd import ALICE, BOB
from tests.system.scenarios.target import PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.scenarios.namespaces import Network
    from tests.system.scenarios.watch import Watch

pytestmark = pytest.mark.kernel

_CONTAINER = "3f0a" * 16
_ROW = Row(executable=None, address=TARGET, port=7001, established=1)
_IN_BASH = f"exec 3<>/dev/tcp/{TARGET}/7001\n"
_IN_PYTHON = f"import socket\nsocket.create_connection(('{TARGET}', 7001))\n"

_SCRIPTS = {
    "bash": (f"#!/bin/bash\n{_IN_BASH}", replace(_ROW, executable=program("bash"), script="{script}")),
    "bash, in a subshell": (
        f"#!/bin/bash\n( {_IN_BASH.strip()} )\n:\n",
        replace(_ROW, executable=program("bash"), parent_executable=program("bash"), script="{script}"),
    ),
    "python": (f"#!{PYTHON}\n{_IN_PYTHON}", replace(_ROW, executable=program(PYTHON), script="{script}")),
    "python, with an option": (
        f"#!{PYTHON} -I\n{_IN_PYTHON}",
        replace(_ROW, executable=program(PYTHON), script="{script}"),
    ),
    "sh, which starts a program": (
        f"#!/bin/sh\nnc -z -w5 {TARGET} 7001\n:\n",
        replace(_ROW, executable=program("nc"), parent_executable=program("sh")),
    ),
    "sh, which becomes a program": (
        f"#!/bin/sh\nexec nc -z -w5 {TARGET} 7001\n",
        replace(_ROW, executable=program("nc")),
    ),
}


@pytest.fixture
def copy(network: Network) -> Path:
    """A copy of the static program, for the test to do with as it likes."""
    return Path(shutil.copy(network.folder / "sockets", network.folder / "copy"))


@pytest.mark.parametrize("name", _SCRIPTS)
def test_a_script_is_named_beside_its_interpreter(network: Network, watch: Watch, name: str) -> None:
    """And never beside a program that it starts."""
    content, row = _SCRIPTS[name]
    script = _script(network, content)
    said = network.run("bastion", script)
    assert watch.outbound(TARGET) == [replace(row, script=row.script and str(script))], said


def test_an_interpreter_that_was_given_a_file_runs_no_script_of_the_kernels(network: Network, watch: Watch) -> None:
    """`bash FILE` is bash: what it reads is its own affair."""
    said = network.run("bastion", "bash", _script(network, f"#!/bin/bash\n{_IN_BASH}"))
    assert watch.outbound(TARGET) == [replace(_ROW, executable=program("bash"))], said


def test_a_script_that_names_env_is_run_by_what_env_finds(network: Network, watch: Watch) -> None:
    """The interpreter is right; the script is right or unknown."""
    script = _script(network, f"#!/usr/bin/env -S {PYTHON}\n{_IN_PYTHON}")
    said = network.run("bastion", script)
    (row,) = watch.outbound(TARGET)
    assert row.script in (str(script), None)
    assert replace(row, script=None) == replace(_ROW, executable=program(PYTHON)), said


def _script(network: Network, content: str) -> Path:
    script = network.folder / "script"
    script.unlink(missing_ok=True)
    script.write_text(content, encoding="ascii")
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("replaced", [False, True])
def test_a_program_that_was_deleted_or_replaced_says_so(
    network: Network, watch: Watch, copy: Path, *, replaced: bool
) -> None:
    """Its path at the time it was started, and that the file there is another one, or none."""
    process = network.start("bastion", copy, "connect-when-told", "tcp", TARGET, "7001")
    assert process.stdout
    process.stdout.readline()
    if replaced:
        Path(shutil.copy(network.folder / "sockets", network.folder / "new")).replace(copy)
    else:
        copy.unlink()
    process.communicate("\n")
    assert watch.outbound(TARGET) == [replace(_ROW, executable=f"{copy} (deleted)")]


def test_a_program_from_memory_has_its_name_there(network: Network, watch: Watch) -> None:
    """memfd: no file at all."""
    hide = (PYTHON, network.folder / "from_memory.py", "hidden", network.folder / "sockets")
    said = network.run("bastion", *hide, "connect", "tcp", TARGET, "7001")
    assert watch.outbound(TARGET) == [replace(_ROW, executable="/memfd:hidden (deleted)")], said


def test_a_setuid_program_runs_as_its_owner(network: Network, watch: Watch, copy: Path) -> None:
    """The user is the one whose rights the process has, as `ps` shows it."""
    shutil.chown(copy, BOB, BOB)
    copy.chmod(0o4755)
    said = network.run("bastion", copy, "connect", "tcp", TARGET, "7001", user=ALICE)
    assert watch.outbound(TARGET) == [replace(_ROW, executable=str(copy), user=BOB)], said


def test_who_is_root_in_a_user_namespace_only_is_not_root(network: Network, watch: Watch) -> None:
    """The account is the host's."""
    said = network.run("bastion", "unshare", "--user", "--map-root-user", "nc", "-z", "-w5", TARGET, "7001", user=ALICE)
    assert watch.outbound(TARGET) == [replace(_ROW, executable=program("nc"), user=ALICE)], said


def test_a_container_has_its_number_and_paths_of_its_own(network: Network, watch: Watch, copy: Path) -> None:
    """A control group as Docker names it, with its own mounts, processes and network: the path is the container's."""
    root = network.folder / "root"
    root.mkdir()
    enter = (
        f"mount -t tmpfs none {root} && cp {copy} {root}/client && mkdir {root}/old && cd {root} && pivot_root . old "
        f"&& exec /client connect tcp {TARGET} 7001"
    )
    with _control_group(f"docker-{_CONTAINER}.scope") as group:
        subprocess.run(
            ["sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh", *network.inside("bastion"),
             "unshare", "--mount", "--pid", "--fork", "sh", "-c", enter],
            check=True, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        counts = watch.take()
    (count,) = [each for each in counts if str(each.key.remote_address) == TARGET]
    assert seen(count) == replace(_ROW, executable="/client")
    assert count.key.container == _CONTAINER[:12]


@contextmanager
def _control_group(name: str) -> Iterator[Path]:
    mounts = [line.split(" ") for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    root = next(where for _, where, kind, *_ in mounts if kind == "cgroup2")
    folder = Path(root) / f"detector-{os.getpid()}" / name
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        folder.rmdir()
        folder.parent.rmdir()
