"""Who may read and write the files: configuration 0640, secrets 0600, state 0750, and rules that only root changes."""

from __future__ import annotations

import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from detector import shipped
from detector.account import SERVICE
from detector.cli.checks.check import bad, doubtful, good
from detector.config_secrets import SECRETS
from detector.ruleset.folders import FOLDER_MODE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.cli.checks.check import Check
    from detector.config import Settings

_CONFIGURATION, _SECRET, _SECRETS, _STATE, _DATABASE, _SHIPPED, _RULE = 0o640, 0o600, 0o700, 0o750, 0o640, 0o755, 0o644
_OTHERS = 0o007
# Who can write to it can put another file there; who may read it is up to what is in it.
_AROUND = 0o775
_RULE_FOLDER = "a folder of rules"
_WRITE = 0o022


def files(settings: Settings, configuration: Path | None) -> Iterator[Check]:
    """A line for each file or folder that is open to more than it should be, with the command that mends it; one if
    there is none.
    """
    found = [each for path, mode, what in _of(settings, configuration) for each in _looked_at(path, mode, what)]
    found += [each for path in _of_service(settings) for each in _owned(path)]
    if configuration is not None:
        found += _shared(settings, configuration)
    yield from found or [good("files", "none is open to more users than it should be")]


def _of(settings: Settings, configuration: Path | None) -> Iterator[tuple[Path, int, str]]:
    """Each path, the loosest mode that it should have, and what it is."""
    if configuration is not None:
        addresses = [settings.database.url, settings.heartbeat.url, *(each.url for each in settings.channels)]
        holds_secrets = any(addresses)
        yield configuration, _CONFIGURATION, f"the configuration{', with secrets in it' if holds_secrets else ''}"
        yield configuration.absolute().parent, _AROUND, "the folder of the configuration"
    secrets = [settings.database.url_file, settings.heartbeat.url_file, *(each.url_file for each in settings.channels)]
    yield from ((Path(name), _SECRET, "a secret") for name in dict.fromkeys(secrets) if name)
    # What systemd hands to the service.
    yield SECRETS, _SECRETS, "the folder of secrets"
    yield from ((path, _SECRET, "a secret") for path in sorted(SECRETS.glob("*")))
    yield settings.state, _STATE, "the state folder"
    if (path := _database_file(settings)) is not None:
        yield path, _DATABASE, "the database"
    for folder in settings.rule_folders:
        if folder.suffix == ".yml":
            yield folder, _RULE, "a rule"
            continue
        # What ships is public.
        loosest = _SHIPPED if folder == shipped.folder("rules") else FOLDER_MODE
        yield folder, loosest, _RULE_FOLDER
        # A link to elsewhere is as good as its target.
        yield from ((path, _RULE, "a rule") for path in sorted(folder.glob("*.yml")))


def _shared(settings: Settings, configuration: Path) -> Iterator[Check]:
    """Members of the group ask with this file, and read what it holds."""
    holding = [f"channel {each.name}" for each in settings.channels if each.url]
    holding += ["the heartbeat"] if settings.heartbeat.url else []
    with suppress(OSError):
        found = configuration.stat()
        if holding and found.st_gid and found.st_mode & stat.S_IRGRP:
            finding = f"{configuration} holds the address of {', '.join(holding)}, which members of its group may read"
            yield doubtful("files", finding, f"put it into a file of {SECRETS}, and name that: url_credential")


def _of_service(settings: Settings) -> Iterator[Path]:
    """What the service has to change, in folders that are its own."""
    if (path := _database_file(settings)) is not None:
        yield from (path, *(path.with_name(f"{path.name}-{more}") for more in ("wal", "shm")))
    yield settings.state / "spool"


def _owned(path: Path) -> Iterator[Check]:
    """A backup that root puts back is root's, and the service can do nothing with it."""
    with suppress(OSError):
        owner, around = path.stat().st_uid, path.parent.stat().st_uid
        if around not in (0, owner):
            finding = f"{path} belongs to {_name(owner)}, and its folder to {_name(around)}, who cannot change it"
            yield bad("files", finding, f"chown --reference={path.parent} {path}")


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _database_file(settings: Settings) -> Path | None:
    from detector.errors import ConfigError
    from detector.store.engine import parse_url

    try:
        url = parse_url(settings.database_url)
    except ConfigError:
        # Said where the database is looked at.
        return None
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def _looked_at(path: Path, loosest: int, what: str) -> Iterator[Check]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    except OSError as fault:
        yield doubtful("files", f"{path}: {fault.strerror}", "run this as root, or as the user that it belongs to")
        return
    mode = stat.S_IMODE(found.st_mode)
    too_much = mode & 0o777 & ~loosest
    if loosest == _AROUND and mode & stat.S_ISVTX:
        # As in /tmp: nobody can take away what is somebody else's.
        return
    if too_much:
        who = "everyone" if too_much & _OTHERS else "its group"
        may = "change" if too_much & _WRITE else "read"
        # Of what the group reads, an administrator may have thought; rules hold no secrets.
        verdict = bad if too_much & (_WRITE if what == _RULE_FOLDER else _OTHERS | _WRITE) else doubtful
        remedy = f"chmod {mode & loosest:04o} {path}"
        if what == _RULE_FOLDER and not _service_reads(found):
            # Without others' right the service would be locked out.
            remedy = f"chgrp {SERVICE} {path} && {remedy}"
        yield verdict("files", f"{what}: {who} may {may} {path} (mode {mode:04o})", remedy)
    if found.st_uid not in (0, os.geteuid()) and what.startswith(("the configuration", "a rule")) and os.geteuid() == 0:
        yield doubtful(
            "files",
            f"{what}: {path} belongs to user {found.st_uid}, who may change what root reads",
            f"chown root {path}",
        )


def _service_reads(found: os.stat_result) -> bool:
    """Whether the account that the package makes can read a folder by its group, or as its owner, or is not there."""
    try:
        account = pwd.getpwnam(SERVICE)
    except KeyError:
        return True
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    return found.st_uid == account.pw_uid or found.st_gid in groups
