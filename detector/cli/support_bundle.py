"""`detector support-bundle`: what whoever is to help needs to know, without what is none of their business."""

from __future__ import annotations

import io
import json
import os
import pwd
import socket
import sys
import tarfile
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from detector.cli.bundle_contents import parts
from detector.cli.bundle_secrets import written_addresses
from detector.cli.doctor import configuration_file
from detector.cli.terminal import as_json, note, print_json, say
from detector.errors import ConfigError, DetectorError
from detector.masking import Masker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from detector.config import Settings

_MANIFEST = "README.txt"
# Of people, as Linux distributions number accounts; those below are the system's, and the same everywhere.
_PEOPLE, _NOBODY = 1000, 65_534


class BundleError(DetectorError):
    """The file cannot be written."""

    exit_code = os.EX_CANTCREAT


@click.command("support-bundle")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write this file, a .tar.gz."
)
@click.option(
    "--log",
    "logs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Take the end of this log, where the service does not write to the journal. May be repeated.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--json", "as_object", is_flag=True, help="Print JSON: the file, and what is in it.")
@click.pass_context
def support_bundle(ctx: click.Context, *, out: Path | None, logs: Sequence[Path], force: bool, as_object: bool) -> None:
    """Write what whoever is to help needs to know into one file.

    Holds what `detector doctor` says, versions, settings, rules, sizes, losses, channels and the end of the log.
    Secrets are left out. Addresses, host names, user names, mail addresses and URLs are masked, the same one always by
    the same mask, so that "address-3" can be followed through all of it. The file is readable by you alone: look into
    it before you send it to anybody.

    \b
    Examples:
      detector support-bundle
      detector support-bundle --out /tmp/bundle.tar.gz --log /var/log/detector.log
      tar -xzOf detector-support-*.tar.gz detector-support/README.txt
    """
    settings: Settings | ConfigError = ctx.obj
    out = out or Path(f"detector-support-{datetime.now().astimezone():%Y%m%d-%H%M%S}.tar.gz")
    masker = Masker()
    path = configuration_file(ctx)
    unknown = list(_teach(masker, settings, path))
    files: dict[str, tuple[str, bytes]] = {}
    for part in parts(settings, path, logs):
        if sys.stderr.isatty():
            note(f"gathering {part.name} …")
        files[part.name] = (part.about, _content(masker, part.gather))
    manifest = _manifest(masker, files, unknown)
    _write(out, {_MANIFEST: manifest, **{name: content for name, (_, content) in files.items()}}, force=force)
    if as_object:
        listed = [{"name": name, "about": about, "bytes": len(content)} for name, (about, content) in files.items()]
        print_json({"file": str(out), "files": listed, "masked": masker.numbers, "not_masked": unknown})
        return
    for name, (about, content) in files.items():
        say(f"{name:<20} {len(content):>9,} bytes  {about}")
    say("masked: " + (", ".join(f"{number:,} {kind}" for kind, number in masker.numbers.items()) or "nothing"))
    for each in unknown:
        note(each)
    say(f"{out} is written; look into it before you send it")


def _teach(masker: Masker, settings: Settings | ConfigError, path: Path | None) -> Iterator[str]:
    """Tells the masker what it is to find, and gives what could not be learnt."""
    masker.know("host", {socket.gethostname(), socket.gethostname().partition(".")[0]})
    masker.know("user", (each.pw_name for each in pwd.getpwall() if _PEOPLE <= each.pw_uid < _NOBODY))
    # As they stand: of a configuration that is refused, too.
    for address in written_addresses(path):
        _teach_address(masker, address)
    if isinstance(settings, ConfigError):
        yield "names in the database were not learnt, since the configuration is refused"
        return
    masker.know("host", [settings.host_name, *(name for route in settings.routes for name in route.host)])
    masker.know("user", (name for route in settings.routes for name in (*route.user, *route.login_user)))
    readers: list[Callable[[], str]] = [lambda: settings.database_url]
    readers += [partial(getattr, section, "address") for section in (*settings.channels, settings.heartbeat)]
    for read in readers:
        try:
            _teach_address(masker, read())
        except ConfigError as fault:
            yield f"what an address holds was not learnt: {fault.message}"
    from detector.cli.store import stored
    from detector.store.named import stored_names

    try:
        with stored(settings) as connection:
            for kind, names in stored_names(connection).items():
                masker.know(kind, names)
    except DetectorError as fault:
        yield f"names in the database were not learnt: {fault.message}"


def _teach_address(masker: Masker, address: str) -> None:
    """A path to a file is no secret; of anything else the host is known as such, and all the rest is one."""
    if not address or address.startswith("sqlite"):
        return
    try:
        host = urlsplit(address).hostname
    except ValueError:
        host = None
    if host:
        masker.know("host", [host])
    masker.know_secret(address)


def _content(masker: Masker, gather: Any) -> bytes:
    try:
        found = gather()
    except (DetectorError, OSError, ValueError) as fault:
        found = f"could not be gathered: {fault}\n"
    if isinstance(found, str):
        return masker.text(found).encode("utf-8", "backslashreplace")
    plain = json.loads(json.dumps(found, default=as_json))
    return f"{json.dumps(masker.value(plain), indent=2)}\n".encode()


def _manifest(masker: Masker, files: dict[str, tuple[str, bytes]], unknown: Sequence[str]) -> bytes:
    lines = [
        f"Made by detector support-bundle at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC.",
        "",
        *(f"{name:<20} {about}" for name, (about, _) in files.items()),
        "",
        "Secrets are left out. The same thing has the same mask in all files. Masked, by kind:",
        *(f"  {kind}: {number:,}" for kind, number in masker.numbers.items()),
        *(masker.text(each) for each in unknown),
        "",
    ]
    return "\n".join(lines).encode()


def _write(out: Path, files: dict[str, bytes], *, force: bool) -> None:
    """All of it, or nothing: what is interrupted leaves no file behind."""
    if out.exists() and not force:
        raise BundleError(f"{out} is there already", hint="name another file with --out, or add --force")
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as raw:  # noqa: PTH123
            with tarfile.open(fileobj=raw, mode="w:gz") as bundle:
                for name, content in files.items():
                    entry = tarfile.TarInfo(f"detector-support/{name}")
                    entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
                    bundle.addfile(entry, io.BytesIO(content))
            raw.flush()
            os.fsync(raw.fileno())
        unfinished.replace(out)
    except OSError as fault:
        raise BundleError(f"{out}: {fault.strerror}", hint="name another file with --out") from fault
    finally:
        unfinished.unlink(missing_ok=True)
