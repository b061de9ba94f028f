"""What is to be tortured: a service with an account, disks, a database, a mail server and a clock of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.store.engine import open_store, reading
from detector.store.migrating import upgrade
from tests.disks import small_disk
from tests.system.accounts import accounts, place
from tests.system.conftest import storm
from tests.system.island import HOLE, island
from tests.system.loads import serving
from tests.system.postgres import Postgres
from tests.torture.group import MemoryGroup
from tests.torture.inside import Inside
from tests.torture.mailbox import TIMEOUT_SECONDS, Mailbox
from tests.torture.stored import PORT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from tests.system.accounts import Place

HOST = "bastion-1"
MARK_RULE = "Torture: a mark was made"
"""The title of the rule that finds marks."""
MAP_ENTRIES = 4096
_STATE_MEGABYTES, _POSTGRES_MEGABYTES = 96, 512

_STEADY = Path(__file__).with_name("steady.py")
_START_SECONDS, _END_SECONDS = 60, 30
ROLES = ("collect", "detect")

_RULE = f"""title: '{MARK_RULE}'
id: 0f8f2d6e-6f3b-4b4e-9a60-6a1e0c7a5c11
description: The client that connects steadily makes one now and then.
logsource:
  category: network_connection
  product: linux
detection:
  selection:
    Command|startswith: mark-
    Initiated: true
  condition: selection
level: medium
x-detector:
  group_by: [Command]
"""

_CONFIG = """host = "{host}"
state_folder = "{folder}/state"
[database]
url = "{url}"
[collector]
interval_seconds = 1
map_entries = {entries}
spool_megabytes = 8
cache_folder = "{folder}/cache"
[models]
burn_in_hours = 0.02
train_every_hours = 0.03
[rules]
folders = ["{folder}/checkout/rules", "{folder}/rules"]
[notify]
console = false
retry_seconds = 1
timeout_seconds = {timeout}
[log]
format = "text"
level = "debug"
[[channels]]
name = "mail"
url = "{mail}"
min_severity = "informational"
messages_per_minute = 0
messages_per_hour = 0
"""


@dataclass
class World:
    """What there is. Paths are as the service sees them, and everybody else."""

    place: Place
    account: str
    state: Path
    inside: list[str]
    """Runs a command in the network in which connects are made."""
    mailbox: Mailbox
    within: Inside
    group: MemoryGroup
    postgres: Postgres | None
    """None: the database is an SQLite file in the state folder."""
    postgres_disk: Path | None
    service: subprocess.Popen[bytes] | None = None
    starts: int = 0
    """How often the service was started."""
    _output: list[Any] = field(default_factory=list)

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.place.folder / "detector.toml"

    @property
    def rules(self) -> Path:
        """The folder with the rule that finds marks."""
        return self.place.folder / "rules"

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.state / "detector.db"

    @property
    def output(self) -> Path:
        """What the service says."""
        return self.place.folder / "output"

    @property
    def ledger(self) -> Path:
        """What the client did that connects steadily."""
        return self.place.folder / "ledger"

    @property
    def text(self) -> str:
        """What the service said so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    @property
    def url(self) -> str:
        """The database's address."""
        return self.postgres.url if self.postgres else f"sqlite:///{self.database}"

    def start(self) -> None:
        """Starts the service, as whoever manages services does when it has ended; goes on at once."""
        assert self.service is None or self.service.poll() is not None
        self.starts += 1
        command = self.place.command("--config", str(self.config), "run", "--user", self.account)
        environment = {**self.place.environment, **self.within.environment}
        with self.output.open("ab") as output:
            self.service = subprocess.Popen(
                self.group.inside(command), env=environment, cwd="/", stdout=output, stderr=output
            )

    def revive(self) -> None:
        """Starts the service again if it has ended."""
        if self.service is not None and self.service.poll() is not None:
            self.start()

    def end(self) -> int:
        """Ends the service in order; its exit code."""
        assert self.service is not None
        self.service.terminate()
        return self.service.wait(_END_SECONDS)

    def role(self, name: str) -> int | None:
        """The process of a role; None: it is not there at this moment."""
        assert self.service is not None
        with suppress(FileNotFoundError, ProcessLookupError):
            pid = self.service.pid
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                with suppress(FileNotFoundError, ProcessLookupError):
                    if name.encode() in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                        return int(child)
        return None

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends a signal to a role, if it is there."""
        if (pid := self.role(name)) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def ask(self, *arguments: str) -> Any:
        """What `detector … --json` answers, with the clock as it is."""
        done = self.place.run("--config", str(self.config), *arguments, "--json", user=self.account)
        return json.loads(done.stdout)

    @contextmanager
    def store(self) -> Iterator[Engine]:
        """The database."""
        engine = open_store(self.url)
        try:
            yield engine
        finally:
            engine.dispose()

    def number(self, query: Any) -> int:
        """What a query counts."""
        with self.store() as engine, reading(engine) as connection:
            return int(connection.scalar(query) or 0)

    def own(self, path: Path) -> None:
        """Has a file or folder belong to the service's account."""
        shutil.chown(path, self.account, self.account)

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """Connects are made steadily, for as long."""
        command = [*self.inside, "python3", "-S", str(_STEADY), str(self.ledger), str(PORT), HOLE]
        with (
            serving(self.inside, "127.0.0.1", PORT),
            serving(self.inside, "::1", PORT),
            subprocess.Popen(command) as client,
        ):
            try:
                yield
            finally:
                client.terminate()
                client.wait(_END_SECONDS)

    def flood(self, addresses: int, ports: int) -> None:
        """Connects to so many addresses and ports, each once, from a process of another name."""
        subprocess.run(
            [*self.inside, *storm("sweep", "127.9.0.1", addresses, 20_000, ports)],
            check=True,
            stdout=subprocess.DEVNULL,
        )


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Waits for a condition.

    Raises:
        TimeoutError: it does not come true in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)  # waits for other processes, which have no other way to tell


@contextmanager
def world(*, on_postgres: bool) -> Iterator[World]:
    """Makes it, with the service at work and connects being made. Takes all of it away in the end."""
    with ExitStack() as stack:
        made = stack.enter_context(place())
        (account,) = stack.enter_context(accounts("torture"))
        state = stack.enter_context(small_disk(made.folder / "state", f"{_STATE_MEGABYTES}m"))
        state.chmod(0o750)
        shutil.chown(state, account, account)
        server, disk = None, None
        if on_postgres:
            disk = stack.enter_context(small_disk(made.folder / "postgres", f"{_POSTGRES_MEGABYTES}m"))
            server = Postgres(disk)
            stack.callback(server.remove)
            server.start()
            engine = open_store(server.url)
            upgrade(engine)
            engine.dispose()
        mailbox = Mailbox()
        mailbox.start()
        stack.callback(mailbox.close)
        group = MemoryGroup(f"detector-torture-{os.getpid()}")
        stack.callback(group.remove)
        tortured = World(
            place=made, account=account, state=state, mailbox=mailbox, within=Inside(made.folder), group=group,
            inside=stack.enter_context(island("torture")), postgres=server, postgres_disk=disk,
        )  # fmt: skip
        _configure(tortured)
        tortured.start()
        until(lambda: "snapshot" in tortured.text, _START_SECONDS, "the first snapshot")
        yield tortured


def _configure(tortured: World) -> None:
    folder = tortured.place.folder
    tortured.rules.mkdir()
    (tortured.rules / "mark.yml").write_text(_RULE)
    tortured.config.write_text(
        _CONFIG.format(
            host=HOST, folder=folder, url=tortured.url if tortured.postgres else "", entries=MAP_ENTRIES,
            timeout=TIMEOUT_SECONDS, mail=tortured.mailbox.url,
        )
    )  # fmt: skip
    tortured.config.chmod(0o600)
    tortured.own(tortured.config)
