"""Who else can tell of each connect, run as people run them: what `connect_rate` compares detector with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.nothing import attach_nothing
from tests.system.conftest import storm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Watcher = Callable[[list[str], Path], AbstractContextManager[None]]
    """Watches, from when it is entered, what happens in a network (given by a command prefix); writes into a folder."""

PORT = 7003
"""Of the server in that network."""

_PRINT_EACH = 'tracepoint:sock:inet_sock_set_state /args->newstate == 2/ { printf("%s %d\\n", comm, args->dport); }'
_SYNS = "tcp[tcpflags] & tcp-syn != 0"
_AUDIT_CONFIGURATION = Path("/etc/audit/auditd.conf")
_AUDIT_CONNECTS = ("always,exit", "-F", "arch=b64", "-S", "connect")
_NO_AUDIT = ("never,task",)
# What Debian's own rules set: with the kernel's default of 64 events, programs would wait for auditd.
_AUDIT_BACKLOG = "8192"
_PATIENCE_SECONDS = 30.0


@contextmanager
def detector(inside: list[str], folder: Path) -> Iterator[None]:
    """`detector collect` as it comes: with all it has, and a snapshot each ten seconds."""
    environment = {**os.environ, "DETECTOR_STATE_FOLDER": str(folder)}
    command = [sys.executable, "-m", "detector"]
    subprocess.run([*command, "db", "upgrade"], check=True, env=environment, capture_output=True)
    with (
        subprocess.Popen([*command, "collect"], env=environment, stdout=subprocess.PIPE) as process,
        _ending(process),
    ):
        _wait(lambda: _is_attached(process.pid), "detector", inside)
        yield


def _is_attached(pid: int) -> bool:
    """Whether the process has its programs attached: all of them come together, as descriptors."""
    links = (descriptor.readlink().name for descriptor in Path(f"/proc/{pid}/fd").iterdir() if descriptor.is_symlink())
    return any(name == "anon_inode:bpf_link" for name in links)


@contextmanager
def empty_program(inside: list[str], folder: Path) -> Iterator[None]:  # noqa: ARG001  it sees all networks
    """A program that does nothing, run at each change of a socket's state: what it takes to look there at all."""
    descriptors = attach_nothing()
    try:
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@contextmanager
def bpftrace(inside: list[str], folder: Path) -> Iterator[None]:
    """A one-liner that prints each connect."""
    output = folder / "bpftrace"
    with (
        output.open("wb") as file,
        subprocess.Popen(["bpftrace", "-e", _PRINT_EACH], stdout=file, stderr=subprocess.DEVNULL) as process,
        _ending(process),
    ):
        # It says "Attaching 1 probe..." before it has; its first line of output comes when it has.
        _wait(lambda: output.read_bytes().count(b"\n") >= 2, "bpftrace", inside)
        yield


@contextmanager
def tcpdump(inside: list[str], folder: Path) -> Iterator[None]:
    """Prints a line for each SYN and SYN-ACK, into a file."""
    errors = folder / "tcpdump.errors"
    with (
        (folder / "tcpdump").open("wb") as output,
        errors.open("wb") as said,
        subprocess.Popen([*inside, "tcpdump", "-n", "-i", "lo", _SYNS], stdout=output, stderr=said) as process,
        _ending(process),
    ):
        _wait(lambda: b"listening on" in errors.read_bytes(), "tcpdump", inside)
        yield


@contextmanager
def auditd(inside: list[str], folder: Path) -> Iterator[None]:
    """Debian's configuration, with a rule for connect(); the log is in the folder."""
    log = folder / "audit.log"
    changed = {"log_file": log, "plugin_dir": folder / "plugins"}
    (folder / "plugins").mkdir(exist_ok=True)
    configuration = _AUDIT_CONFIGURATION.read_text(encoding="utf-8")
    for key, value in changed.items():
        configuration = re.sub(rf"(?m)^{key}\s*=.*$", f"{key} = {value}", configuration)
    (folder / "auditd.conf").write_text(configuration, encoding="utf-8")
    before = _audit_status()
    with ExitStack() as undoing:
        _auditctl("-d", *_NO_AUDIT)
        undoing.callback(_auditctl, "-a", *_NO_AUDIT)
        undoing.callback(_auditctl, "-e", before["enabled"])
        daemon = undoing.enter_context(subprocess.Popen(["auditd", "-n", "-c", str(folder)], stdout=subprocess.DEVNULL))
        undoing.enter_context(_ending(daemon))
        _wait(lambda: _audit_status()["pid"] == str(daemon.pid), "auditd", inside)
        _auditctl("-b", _AUDIT_BACKLOG)
        undoing.callback(_auditctl, "-b", before["backlog_limit"])
        _auditctl("-a", *_AUDIT_CONNECTS)
        undoing.callback(_auditctl, "-d", *_AUDIT_CONNECTS)
        _wait(lambda: log.exists() and b"type=SYSCALL" in log.read_bytes(), "auditd", inside)
        yield


@contextmanager
def unaudited() -> Iterator[None]:
    """Programs that start meanwhile are not audited: once auditing was on, all others are slowed until the next boot.

    Raises:
        RuntimeError: somebody else's auditd is running, or the kernel audits nothing.
    """
    if _audit_status().get("pid") != "0":
        raise RuntimeError("auditd is running, or the kernel has no audit: see auditctl -s")
    if ",".join(_NO_AUDIT) in _auditctl("-l"):
        yield
        return
    _auditctl("-a", *_NO_AUDIT)
    try:
        yield
    finally:
        _auditctl("-d", *_NO_AUDIT)


def _auditctl(*arguments: str) -> str:
    return subprocess.run(["auditctl", *arguments], check=True, capture_output=True, text=True).stdout


def _audit_status() -> dict[str, str]:
    return dict(re.findall(r"(?m)^(\w+) (\S+)$", _auditctl("-s")))


@contextmanager
def _ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.communicate(timeout=_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait(ready: Callable[[], bool], name: str, inside: list[str]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not ready():
        assert time.monotonic() < deadline, f"{name} did not start"
        subprocess.run([*inside, *storm("connect", "127.0.0.1", PORT, 1)], check=True, stdout=subprocess.DEVNULL)


WATCHERS: dict[str, Watcher] = {
    "detector collect": detector,
    "an empty program": empty_program,
    "bpftrace, a line each": bpftrace,
    "tcpdump of SYNs": tcpdump,
    "auditd of connect": auditd,
}
