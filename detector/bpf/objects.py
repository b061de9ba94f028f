"""Compiled kernel programs as plain values, and where they are kept, so that a start needs no compiler."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from detector.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FORMAT = 1
# One for each kernel that the machine boots now and then, and some for other settings.
_KEPT = 8
_SUFFIX = ".programs"


@dataclass(frozen=True, slots=True, kw_only=True)
class MapDefinition:
    """What the kernel is asked for; `kind` and `flags` are those of bpf(2)."""

    kind: int
    key_bytes: int
    value_bytes: int
    entries: int
    flags: int
    inner: str = ""
    """Of a map of maps: one like those that it will hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelObject:
    """Everything that was compiled.

    Where an instruction of `functions` refers to a map, it holds the place of the map in `maps`.
    """

    maps: dict[str, MapDefinition]
    functions: dict[str, bytes]

    def dump(self) -> bytes:
        """As text that `load` reads."""
        maps = {name: asdict(definition) for name, definition in self.maps.items()}
        functions = {name: code.hex() for name, code in self.functions.items()}
        return json.dumps({"maps": maps, "functions": functions}).encode()

    @classmethod
    def load(cls, raw: bytes) -> KernelObject:
        """The inverse of `dump`.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        values = json.loads(raw)
        return cls(
            maps={name: MapDefinition(**definition) for name, definition in values["maps"].items()},
            functions={name: bytes.fromhex(code) for name, code in values["functions"].items()},
        )


class ObjectCache:
    """Compiled programs in a folder that nobody else may write to. What cannot be read is compiled again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: Sequence[str]) -> KernelObject | None:
        """What was kept under `key`: all that it was compiled from. None if there is nothing sound."""
        try:
            self._check_owner(self._folder.stat())
            descriptor = os.open(self._path(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:  # noqa: PTH123  a descriptor
                self._check_owner(os.fstat(descriptor))
                digest, _, raw = file.read().partition(b"\n")
        except (OSError, CaptureError):
            return None
        if digest != _digest(raw):
            return None
        try:
            return KernelObject.load(raw)
        except (ValueError, KeyError, TypeError):
            return None

    def put(self, key: Sequence[str], compiled: KernelObject) -> None:
        """Keeps it, and forgets what has not been written for longest.

        Raises:
            CaptureError: it cannot be kept there; nothing depends on that.
        """
        raw = compiled.dump()
        path = self._path(key)
        unfinished = path.with_suffix(f".{os.getpid()}")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_owner(self._folder.stat())
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor
                file.write(_digest(raw) + b"\n" + raw)
            unfinished.replace(path)
            for old in sorted(self._folder.glob(f"*{_SUFFIX}"), key=_written, reverse=True)[_KEPT:]:
                old.unlink(missing_ok=True)
        except OSError as fault:
            unfinished.unlink(missing_ok=True)
            raise CaptureError(f"{self._folder}: {fault.strerror}") from fault

    def _path(self, key: Sequence[str]) -> Path:
        name = blake2b("\x00".join((str(_FORMAT), *key)).encode(), digest_size=16).hexdigest()
        return self._folder / f"{name}{_SUFFIX}"

    def _check_owner(self, status: os.stat_result) -> None:
        """Whoever could write there could have any program loaded into the kernel."""
        if status.st_uid not in {0, os.geteuid()} or stat.S_IMODE(status.st_mode) & 0o022:
            raise CaptureError(f"{self._folder} can be written to by others")


def _digest(raw: bytes) -> bytes:
    return blake2b(raw, digest_size=16).hexdigest().encode()


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
