"""Users of the test's own making, and a real sshd that lets them in."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.system.scenarios.namespaces import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.scenarios.namespaces import Network

ALICE, BOB = f"alice-{os.getpid()}", f"bob-{os.getpid()}"
"""Alice may become anybody through sudo; Bob has a password."""
BOBS_PASSWORD = "correct horse battery staple"

_SEPARATION = Path("/run/sshd")


class Login:
    """Logs Alice in, from the client."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._config = network.folder / "ssh_config"
        self._key = network.folder / "key"

    def command(self, *arguments: str) -> list[str | Path]:
        """The `ssh` command with these arguments, which say where to and what to run there."""
        return ["ssh", "-F", self._config, *arguments]

    def run(self, *arguments: str, text: str = "") -> str:
        """Runs `ssh` on the client to its end; gives what was printed."""
        return self._network.run("client", *self.command(*arguments), text=text)

    def prepare(self) -> None:
        """Makes the client's key and configuration."""
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._key], check=True)
        self._config.write_text(
            f"Host *\n  User {ALICE}\n  IdentityFile {self._key}\n  IdentitiesOnly yes\n  BatchMode yes\n"
            "  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n",
            encoding="ascii",
        )

    def allow(self, user: str) -> None:
        """Lets the key in as `user`."""
        folder = self._network.folder / user / ".ssh"
        folder.mkdir(mode=0o700)
        shutil.copy(self._key.with_suffix(".pub"), folder / "authorized_keys")
        for path in (folder, folder / "authorized_keys"):
            shutil.chown(path, user, user)


@contextmanager
def accounts(network: Network) -> Iterator[None]:
    """Alice and Bob, with homes in the network's folder."""
    rule = Path("/etc/sudoers.d") / f"detector-{os.getpid()}"
    with ExitStack() as ending:
        for user in (ALICE, BOB):
            home = network.folder / user
            subprocess.run(["useradd", "-m", "-d", home, "-s", "/bin/bash", user], check=True)
            ending.callback(subprocess.run, ["userdel", "--force", user], check=True, capture_output=True)
        subprocess.run(["chpasswd"], input=f"{BOB}:{BOBS_PASSWORD}", text=True, check=True)
        rule.touch(mode=0o440)
        ending.callback(rule.unlink)
        rule.write_text(f"{ALICE} ALL=(ALL:ALL) NOPASSWD: ALL\n", encoding="ascii")
        yield


@contextmanager
def sshd(network: Network) -> Iterator[Login]:
    """Servers on port 22 of the bastion and the target, for the accounts of the tests."""
    login = Login(network)
    login.prepare()
    for user in (ALICE, BOB):
        login.allow(user)
    host_key = network.folder / "host_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host_key], check=True)
    config = network.folder / "sshd_config"
    config.write_text(
        f"HostKey {host_key}\nPidFile none\nUsePAM yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"PrintMotd no\nAllowUsers {ALICE} {BOB}\n",
        encoding="ascii",
    )
    with ExitStack() as ending:
        if not _SEPARATION.exists():
            _SEPARATION.mkdir(mode=0o755)
            ending.callback(_SEPARATION.rmdir)
        for host in ("bastion", "target"):
            log = network.folder / f"sshd-{host}.log"
            network.start(host, "/usr/sbin/sshd", "-D", "-f", config, "-E", log)
            until(partial(_listens, log))
        yield login


def _listens(log: Path) -> bool:
    return log.exists() and "listening on ::" in log.read_text(encoding="utf-8")
