"""What a folder of labelled logs holds: which files are a host's ordinary traffic, and which of their rows an attack.

    {"hosts":   {"web-1": {"files": ["web-1/conn.*.gz"], "src": "10.0.4.12", "drop_label": "Malicious"}},
     "attacks": {"beacon": {"files": ["njrat/conn.log"], "label": "Malicious"},
                 "guessing": {"files": ["web-1/conn.*.gz"], "dst": "10.0.4.12", "src": "45.1.2.3", "flip": true}}}

Without a manifest each sub-folder with logs is a host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from detector.errors import DetectorError

if TYPE_CHECKING:
    from pathlib import Path

NAME = "manifest.json"
LOGS = ("*conn*.log*", "*.jsonl", "*.jsonl.gz")
"""What is taken for a log where no manifest says which files are."""

_Files = Annotated[list[str], msgspec.Meta(min_length=1)]


class HostEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A host with ordinary traffic."""

    files: _Files
    """Patterns, relative to the folder; read as one log."""
    src: str | None = None
    """Its address, or its name where the logs are rows of `detector query --json`; None: the only one there is."""
    drop_label: str | None = None
    """Rows with this label are left out."""


class AttackEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An attack: the rows of the files that are all that is said here."""

    files: _Files
    src: str | None = None
    dst: str | None = None
    label: str | None = None
    detailed_label: str | None = None
    flip: bool = False
    """It came from outside, and is turned round: as if the host did the same to 203.0.113.10."""
    known_dst: bool = False
    """It is played against the third most used address and port of each host."""


class Manifest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Hosts and attacks by name."""

    hosts: dict[str, HostEntry]
    attacks: dict[str, AttackEntry] = {}


class ManifestError(DetectorError):
    """A folder, or what describes it, is not what it should be."""

    exit_code = 65  # EX_DATAERR


def read(folder: Path, file: Path | None) -> Manifest:
    """What `file` says, else `manifest.json` in the folder, else that each sub-folder is a host.

    Raises:
        ManifestError: it cannot be read or understood, or there is nothing in the folder.
    """
    if file is None and not (folder / NAME).is_file():
        return _guessed(folder)
    file = file or folder / NAME
    try:
        manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
    except OSError as fault:
        raise ManifestError(f"{file}: {fault.strerror}", hint="name a manifest that can be read") from None
    except msgspec.DecodeError as fault:
        raise ManifestError(
            f"{file}: {fault}",
            hint='write {"hosts": {NAME: {"files": [PATTERN], "src": ADDRESS}}, "attacks": {NAME: {"files": […]}}}',
        ) from None
    if not manifest.hosts:
        raise ManifestError(f"{file}: no hosts", hint="name at least one host, with its files")
    return manifest


def _guessed(folder: Path) -> Manifest:
    if not folder.is_dir():
        raise ManifestError(f"{folder} is not a folder", hint="name the folder that the logs are in")
    hosts = {}
    for place in (folder, *sorted(each for each in folder.iterdir() if each.is_dir())):
        patterns = [pattern for pattern in LOGS if any(place.glob(pattern))]
        if patterns:
            where = "" if place == folder else f"{place.name}/"
            hosts[place.resolve().name] = HostEntry(files=[f"{where}{pattern}" for pattern in patterns])
    if not hosts:
        raise ManifestError(
            f"{folder} holds no logs ({', '.join(LOGS)}), nor do its sub-folders",
            hint=f"put each host's logs into a folder of its own, or describe them in {folder / NAME}",
        )
    return Manifest(hosts=hosts)


def files_of(folder: Path, patterns: list[str]) -> list[Path]:
    """The files that match, in the order of the patterns and of their names.

    Raises:
        ManifestError: none does.
    """
    found = [path for pattern in patterns for path in _matching(folder, pattern)]
    if not found:
        raise ManifestError(f"no file in {folder} matches {', '.join(patterns)}", hint="mend files in the manifest")
    return list(dict.fromkeys(found))


def _matching(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(path for path in folder.glob(pattern) if path.is_file())
    except (NotImplementedError, ValueError) as fault:
        raise ManifestError(f"{pattern} is not a pattern below {folder}: {fault}", hint="write it relative") from None
