"""Takes secrets, addresses and names of people and machines out of text, each always by the same mask.

What is known is masked wherever it stands; what only looks like an address, a host, a mail address or a URL is too.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

SECRET = "(secret)"  # noqa: S105  what stands in its place
# Shorter ones would take whole texts apart.
_LEAST_SECRET, _LEAST_NAME = 4, 2
_KEPT_ADDRESSES = frozenset({"127.0.0.1", "::1", "0.0.0.0", "::"})  # noqa: S104  text
_KEPT_NAMES = frozenset({"localhost", "detector", "root", "nobody", "console", "collect", "detect", "run", "python3"})
_URL = re.compile(r"\b(?!sqlite:)[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_MAIL = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+")
_MAC = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}(?![\w:])")
_V4 = r"\d{1,3}(?:\.\d{1,3}){3}"
_IPV6 = re.compile(rf"(?<![\w:.])(?:[0-9A-Fa-f]{{0,4}}:){{2,7}}(?:{_V4}|[0-9A-Fa-f]{{0,4}})(?![\w:])")
_IPV4 = re.compile(rf"(?<![\w.]){_V4}(?!\w|\.\d)")
# As tools and libraries write them: password=…, PGPASSWORD: …, "token": "…", Authorization: Bearer … A sentence may
# begin with "a secret: ".
_SAID_TO_BE_SECRET = re.compile(
    r"""(?ix)
    ( (?: (?:password|passwd|passphrase|api_?key|authorization) ["']? \s* [=:]
        | (?:secret|token) (?: ["']? \s* = | ["'] \s* : ) ) \s* ["']? (?:bearer\s+|basic\s+)? )
    (?!\(secret\)) [^\s"',;&]+"""
)
_QUERY_NAME = re.compile(r"(?<=[?&])[^=&]*=")
_HOME = re.compile(r"(?<=/home/)[^/\s'\":,;)]+")
_DOMAIN = re.compile(
    r"(?<![\w./-])(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)+([A-Za-z]{2,24})(?![\w-]|\.\w)"
)
# Ends of files' and units' names that are ends of domains as well, or look like it.
_NO_DOMAINS = frozenset({
    "bpf", "cfg", "conf", "crt", "css", "db", "deb", "exe", "gz", "html", "ini", "js", "json", "key", "lock", "log",
    "lost", "md", "mmdb", "pem", "png", "py", "pyc", "service", "sh", "shm", "slice", "snapshot", "so", "sock",
    "socket", "sqlite", "svg", "tar", "target", "timer", "toml", "txt", "wal", "yaml", "yml", "zip",
})  # fmt: skip
# What names of modules and of settings begin with.
_NO_HOSTS = frozenset({
    "alembic", "alerts", "apprise", "bcc", "channels", "click", "collector", "database", "detector", "digest",
    "heartbeat", "log", "metrics", "models", "msgspec", "notify", "numpy", "psycopg", "retention", "routes",
    "rules", "sigma", "sklearn", "sqlalchemy", "sqlite3",
})  # fmt: skip


class Masker:
    """Knows what is to be masked, and which mask each thing has."""

    def __init__(self) -> None:
        self._masks: dict[tuple[str, str], str] = {}
        self._numbers: dict[str, int] = {}
        self._known: dict[str, str] = {}
        """By the name in small letters."""
        self._names: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def know_secret(self, secret: str) -> None:
        """Has a secret, and each part of an address that may be one, masked wherever it stands; not our own name, by
        which we log in at many a mail server.
        """
        # What its parameters are called is in many a sentence: from, to, format.
        plain = _QUERY_NAME.sub("", secret)
        parts = {secret, *re.split(r"[/@:?&=,]+", plain)} - _KEPT_NAMES if "://" in secret else {secret}
        for part in parts:
            # The scheme is none, and hosts are known as such.
            if len(part) >= _LEAST_SECRET and not secret.startswith(f"{part}://"):
                self._know(part, SECRET)

    def know(self, kind: str, names: Iterable[str]) -> None:
        """Has names masked wherever they stand as words: `kind` and a number."""
        for name in names:
            if len(name) >= _LEAST_NAME and name.casefold() not in _KEPT_NAMES:
                mask = self._mask(kind, name.casefold())
                self._know(name, mask)
                self._know(visible(name), mask)

    def text(self, text: str) -> str:
        """`text` without any of it."""
        text = self._known_in(text)
        text = _SAID_TO_BE_SECRET.sub(rf"\1{SECRET}", text)
        text = _URL.sub(lambda found: self._mask("url", found.group()), text)
        text = _MAIL.sub(lambda found: self._mask("mail", found.group().casefold()), text)
        text = _MAC.sub(lambda found: self._mask("mac", found.group().casefold()), text)
        text = _IPV6.sub(lambda found: self._address(found.group()), text)
        text = _IPV4.sub(lambda found: self._address(found.group()), text)
        text = _HOME.sub(lambda found: self._home(found.group()), text)
        return _DOMAIN.sub(self._domain, text)

    def value(self, value: Any) -> Any:
        """The same of all text in lists and objects, names of fields that are known words included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self._known_in(str(key)): self.value(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(each) for each in value]
        return value

    @property
    def numbers(self) -> dict[str, int]:
        """How many different things of each kind were masked."""
        return dict(sorted(self._numbers.items()))

    def _know(self, name: str, mask: str) -> None:
        self._known.setdefault(name.casefold(), mask)
        self._names.add(name)
        self._pattern = None

    def _known_in(self, text: str) -> str:
        if not self._known:
            return text
        if self._pattern is None:
            # The longest first: a name may be part of another one.
            names = sorted(self._names, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(_word, names)), re.IGNORECASE)
        return self._pattern.sub(lambda found: self._known.get(found.group().casefold(), SECRET), text)

    def _mask(self, kind: str, what: str) -> str:
        if (known := self._masks.get((kind, what))) is None:
            self._numbers[kind] = self._numbers.get(kind, 0) + 1
            known = self._masks[kind, what] = f"{kind}-{self._numbers[kind]}"
        return known

    def _address(self, text: str) -> str:
        try:
            address = ip_address(text)
        except ValueError:
            # Neither a time of day nor a number of a version in four parts that no address could be.
            return text
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return text if str(address) in _KEPT_ADDRESSES else self._mask("address", str(address))

    def _home(self, name: str) -> str:
        return name if re.fullmatch(r"user-\d+", name) else self._mask("user", name.casefold())

    def _domain(self, found: re.Match[str]) -> str:
        name = found.group()
        ours = found.group(1) in _NO_DOMAINS or name.partition(".")[0] in _NO_HOSTS
        return name if ours else self._mask("host", name.casefold())


def _word(name: str) -> str:
    """A pattern that finds a name as a word, where it begins or ends like one."""
    before = r"(?<!\w)" if re.match(r"\w", name[0]) else ""
    after = r"(?!\w)" if re.match(r"\w", name[-1]) else ""
    return f"{before}{re.escape(name)}{after}"
