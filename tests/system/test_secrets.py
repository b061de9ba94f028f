"""The addresses of channels and of the heartbeat are in no output, process list or database, whatever goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from detector.store.engine import open_store
from detector.store.migrating import upgrade
from tests.notify.samples import enqueue
from tests.notify.servers import free_port

_DETECTOR = [sys.executable, "-X", "faulthandler", "-m", "detector"]
SECRETS = {"plain": "plA1nW0rd", "filed": "f1leDw0rd", "variable": "env1r0nW0rd", "credential": "cr3dentW0rd"}
HEARTBEAT = "h3artb3atW0rd"


def _configure(folder: Path, port: int) -> tuple[Path, dict[str, str]]:
    """A configuration with a secret from each place, all of which lead nowhere, and the environment for it."""
    address = f"json://user:{{}}@127.0.0.1:{port}/{{}}/hook?-token={{}}"
    urls = {name: address.format(word, word, word) for name, word in SECRETS.items()}
    credentials = folder / "credentials"
    credentials.mkdir(mode=0o700)
    for path, text in (
        (folder / "filed.url", urls["filed"]),
        (credentials / "hook", urls["credential"]),
        (folder / "heartbeat.url", f"http://127.0.0.1:{port}/{HEARTBEAT}"),
    ):
        path.write_text(text)
        path.chmod(0o600)
    sources = {
        "plain": f'url = "{urls["plain"]}"',
        "filed": f'url_file = "{folder}/filed.url"',
        "variable": 'url_env = "HOOK_OF_TEST"',
        "credential": 'url_credential = "hook"',
    }
    config = folder / "detector.toml"
    config.write_text(
        f'host = "bastion-1"\nstate_folder = "{folder}"\n[notify]\nretry_seconds = 0.2\ntimeout_seconds = 1\n'
        f'[heartbeat]\nurl_file = "{folder}/heartbeat.url"\ninterval_seconds = 10\n'
        + "".join(f'[[channels]]\nname = "{name}"\n{source}\n' for name, source in sources.items())
    )
    config.chmod(0o600)
    environment = {**os.environ, "HOOK_OF_TEST": urls["variable"], "CREDENTIALS_DIRECTORY": str(credentials)}
    return config, environment


def _processes(root: int) -> list[int]:
    """A process and all that it has started."""
    found = [root]
    for process in found:
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def _said(config: Path, environment: dict[str, str], *command: str) -> str:
    """All that a command says."""
    words = [*_DETECTOR, "--config", str(config), *command]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_no_secret_is_shown_or_stored(tmp_path: Path) -> None:
    """Delivery and heartbeat fail, are asked about, tried and killed: nothing that anybody reads holds a secret."""
    config, environment = _configure(tmp_path, free_port())
    engine = open_store(f"sqlite:///{tmp_path}/detector.db")
    upgrade(engine)
    enqueue(engine, channels=tuple(SECRETS))
    said: list[str] = []
    for end in (signal.SIGTERM, signal.SIGABRT):
        log = tmp_path / f"{end.name}.log"
        with (
            log.open("w") as output,
            subprocess.Popen(
                [*_DETECTOR, "--config", str(config), "detect"], env=environment, stdout=output, stderr=output
            ) as role,
        ):
            deadline = time.monotonic() + 60
            while not all(f"could not be sent to {name}" in log.read_text() for name in SECRETS):
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)  # waits for another process, which has no other way to tell
            for process in _processes(role.pid):
                said.append(Path(f"/proc/{process}/cmdline").read_text())
                if process != role.pid:
                    said.append(Path(f"/proc/{process}/environ").read_text().replace(environment["HOOK_OF_TEST"], ""))
            role.send_signal(end)
            role.wait(30)
        said.append(log.read_text())
    assert "File " in said[-1], "no traceback"
    commands = (
        ["notify", "test"],
        ["notify", "status"],
        ["notify", "status", "--json"],
        ["alerts", "show", "1", "--json"],
        ["notify", "resend"],
        ["doctor"],
    )
    said += [_said(config, environment, *command) for command in commands]
    del environment["HOOK_OF_TEST"]
    said.append(_said(config, environment, "detect"))
    assert "the environment variable HOOK_OF_TEST is not set" in said[-1]
    engine.dispose()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("detector.db*"))
    for word in (*SECRETS.values(), HEARTBEAT):
        assert not any(word in text for text in said), word
        assert word.encode() not in stored, word


def test_what_others_can_read_is_refused(tmp_path: Path) -> None:
    """With the command that mends it, and without the secret; also for the heartbeat."""
    config, environment = _configure(tmp_path, free_port())
    engine = open_store(f"sqlite:///{tmp_path}/detector.db")
    upgrade(engine)
    engine.dispose()
    for name in ("filed.url", "heartbeat.url"):
        (tmp_path / name).chmod(0o644)
        said = _said(config, environment, "detect")
        (tmp_path / name).chmod(0o600)
        assert f"{tmp_path / name} can be read by everyone" in said
        assert f"chmod 0600 {tmp_path / name}" in said
        assert not any(word in said for word in (*SECRETS.values(), HEARTBEAT))
