"""What capture needs of a machine, and what it only misses."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from detector.bpf import preflight

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kernel

_EXAMINE = """
import json
from detector.bpf import preflight
print(json.dumps([preflight.faults(), preflight.doubts()]))
"""
_TRACEFS = "/sys/kernel/tracing"

Found = tuple[list[tuple[str, str]], list[tuple[str, str]]]


def _examined(*prefix: str, hidden: str = "", modules: Path | None = None) -> Found:
    """Faults and doubts of a process that `prefix` starts, where the folder `hidden` is empty."""
    environment = [f"PYTHONPATH={modules}"] if modules else []
    command = ["env", *environment, *prefix, sys.executable, "-P", "-c", _EXAMINE]
    if hidden:
        command = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {hidden} && exec "$@"', "sh", *command]
    faults, doubts = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return faults, doubts


def test_a_sound_machine_has_no_faults_and_leaves_no_doubts() -> None:
    """As root."""
    assert _examined() == ([], [])


def test_what_counting_cannot_do_without_is_a_fault_with_its_remedy(tmp_path: Path) -> None:
    """One each: the tracepoint, tracefs, the module, the kernel."""
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc" / "__init__.py").touch()
    for found, fault, remedy in (
        (_examined(hidden=f"{_TRACEFS}/events/sock"), "no tracepoint sock:inet_sock_set_state", "boot Linux 4.16"),
        (_examined(hidden=_TRACEFS), "tracefs is not mounted", f"mount -t tracefs tracefs {_TRACEFS}"),
        (_examined(modules=tmp_path), "is an unrelated one", "pip uninstall bcc"),
        (_examined(hidden="/usr/lib/python3/dist-packages/bcc"), "bcc", "apt-get install python3-bpfcc"),
        (_examined("setarch", "--uname-2.6"), "is older than 5.8", "boot Linux 5.8 or newer"),
    ):
        (((said, mend),), doubts) = found
        assert fault in said
        assert remedy in mend
        assert doubts == []


def test_a_kernel_that_does_not_describe_itself_is_a_doubt() -> None:
    """Counting goes on without type information; what is unknown then is said."""
    faults, ((doubt, remedy),) = _examined(hidden="/sys/kernel/btf")
    assert faults == []
    assert doubt.startswith("/sys/kernel/btf/vmlinux is missing: executables, logins and why connects fail are unknown")
    assert "CONFIG_DEBUG_INFO_BTF=y" in remedy


def test_a_kernel_that_shows_programs_no_types_is_a_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of an age between the oldest that will do and the oldest that shows all."""
    monkeypatch.setattr(preflight, "OLDEST_TYPED_KERNEL", (99, 1))
    ((doubt, remedy),) = preflight.doubts()
    assert "is older than 99.1: executables, logins and why connects fail are unknown" in doubt
    assert remedy == "boot Linux 99.1 or newer"


def test_a_tracepoint_that_is_not_needed_for_counting_is_no_fault() -> None:
    """What cannot be seen without it is said by who tries it."""
    for folder in ("syscalls", "sched", "io_uring"):
        assert _examined(hidden=f"{_TRACEFS}/events/{folder}") == ([], [])


def test_privileges_that_loading_takes_are_faults_and_those_that_naming_takes_are_doubts() -> None:
    """Root without some of its capabilities."""
    ((lacks, remedy),), _ = _examined("setpriv", "--bounding-set", "-bpf,-perfmon,-sys_admin")
    assert lacks == "this process (user 0) lacks CAP_PERFMON, CAP_BPF"
    assert "give the service those capabilities" in remedy
    faults, doubts = _examined("setpriv", "--bounding-set", "-dac_read_search,-sys_ptrace")
    assert faults == []
    assert [doubt.split()[:2] for doubt, _ in doubts] == [
        ["without", "CAP_DAC_READ_SEARCH"],
        ["without", "CAP_SYS_PTRACE"],
    ]


def test_the_old_privilege_that_held_the_new_ones_is_enough() -> None:
    """CAP_SYS_ADMIN, of which CAP_BPF and CAP_PERFMON were a part."""
    faults, _ = _examined("setpriv", "--bounding-set", "-bpf,-perfmon")
    assert faults == []


def test_tracefs_that_may_not_be_read_is_told_from_one_that_is_missing() -> None:
    """Only root may look into it."""
    as_nobody = ("setpriv", "--reuid", "65534", "--clear-groups", "--inh-caps", "-all", "--ambient-caps", "-all")
    faults, doubts = _examined(*as_nobody)
    assert [fault for fault, _ in faults] == [
        "/sys/kernel/tracing cannot be read by this user",
        "this process (user 65534) lacks CAP_PERFMON, CAP_BPF",
    ]
    assert doubts == []
