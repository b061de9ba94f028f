"""Configuration: files, and the variables of the environment."""

from __future__ import annotations

import io
import tomllib
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from detector import config
from detector.errors import ConfigError
from detector.notify.channels import open_channels
from detector.service.messages import read_templates
from detector.store.engine import open_store
from tests.fuzz.harness import FindingError, Surface

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DOCS = Path(__file__).resolve().parents[2] / "docs"
_MORE = """\
host = "bastion-1"
[database]
url = "postgresql://collector:p%40ss@db.example/detector"
[[channels]]
name = "mail"
url = "mailtos://user:password@smtp.example.org?from=a@example.org&to=b@example.org"
min_severity = "medium"
messages_per_minute = 3
[[channels]]
name = "chat"
url = "slack://T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"
[[channels]]
name = "file"
url_file = "/nonexistent"
[[routes]]
severity = ["high"]
rule = ["*scan*"]
login_user = ["alice"]
hours = "22:00-06:00"
weekdays = ["monday"]
time_zone = "Europe/Berlin"
continue = true
channels = ["mail", "chat"]
[[escalations]]
after_seconds = 900
channels = ["mail"]
[heartbeat]
url = "https://hc.example.org/uuid"
channels = ["mail"]
[digest]
channels = ["mail"]
[metrics]
listen = "127.0.0.1:9100"
"""
_ODD = (
    *(
        '""',
        '"x"',
        "-1",
        "0",
        "1e999",
        "nan",
        "9223372036854775807",
        "99999999999999999999",
        "true",
        "[]",
        "{}",
        "[[]]",
    ),
    *('"\\u0000"', '"\\u001b]0;x\\u0007<script>"', '"/dev/zero"', '"../../x"', '"[::1"', '"sqlite://"', '"slack://"'),
    *(
        '"mailto://"',
        '"json://[::1"',
        '"postgresql://a:b/c"',
        '"%zz"',
        '["x"]',
        '["\\u0000"]',
        "2026-01-01",
        '"10.0.0.1:99999"',
    ),
    *(
        '"unix:/x"',
        '"é"',
        '"' + "x" * 5000 + '"',
        '"+[]("',
        '["*[", "?"]',
        '"25:00-26:00"',
        '"Europe/../x"',
        "[" * 2000,
    ),
)
_TOKENS = (b"[channels]\n", b"[[channels]]\n", b"[[routes]]\n", b"[[", b"'''", b'"""', b"\\u0000", b" = ", b".", b"# ")


@lru_cache(maxsize=1)
def _seeds() -> Sequence[bytes]:
    """The documented file, one that sets much, and each of their keys with values that it does not expect.

    The first byte says what the rest is: a file, or variables.
    """
    commented = (_DOCS / "detector.toml").read_text(encoding="utf-8")
    seeds = [f"f{commented}", f"f{_MORE}"]
    for text in (commented, _MORE):
        lines = text.splitlines()
        for number, line in enumerate(lines):
            key, equals, _ = line.partition(" = ")
            if equals and key.isidentifier():
                changed = [[*lines[:number], f"{key} = {odd}", *lines[number + 1 :]] for odd in _ODD]
                seeds += ["f" + "\n".join(each) for each in changed]
    for section, values in tomllib.loads(commented).items():
        names = [f"{section}_{key}" for key in values] if isinstance(values, dict) else [section]
        seeds += [f"eDETECTOR_{name.upper()}={odd.strip(chr(34))}" for name in names for odd in _ODD]
    return [each.encode() for each in seeds]


def _variables(data: bytes) -> dict[str, str]:
    lines = data.decode("utf-8", "surrogateescape").replace("\0", "").splitlines()
    return {name: value for name, equals, value in (line.partition("=") for line in lines) if equals}


def _open(folder: Path) -> Callable[[bytes], None]:
    path = folder / "detector.toml"

    def load(data: bytes) -> None:
        is_file = data[:1] != b"e"
        path.write_bytes(data[1:] if is_file else b"")
        try:
            settings = config.load(path, {} if is_file else _variables(data[1:]))
        except ConfigError as fault:
            if str(path) not in fault.message and "environment" not in fault.message:
                raise FindingError(f"does not name the place: {fault.message}") from None
            return
        for use in (_store, _tell, _look):
            with suppress(ConfigError):
                use(settings)

    return load


def _store(settings: config.Settings) -> None:
    open_store(settings.database_url).dispose()


def _tell(settings: config.Settings) -> None:
    open_channels(settings, io.StringIO())
    _ = settings.heartbeat.address


def _look(settings: config.Settings) -> None:
    read_templates(settings.template_folder)
    for each in settings.rule_folders:
        each.exists()


SURFACE = Surface("configuration", _open, _seeds, _TOKENS)
