"""Settings from one TOML file and the environment. A bad key or value is refused by name; nothing is guessed.

Each setting can be overridden by an environment variable: DETECTOR_<SECTION>_<KEY>, or DETECTOR_<KEY> for those
outside a section (DETECTOR_DATABASE_URL, DETECTOR_COLLECTOR_INTERVAL_SECONDS, DETECTOR_HOST).
"""

from __future__ import annotations

import os
import re
import socket
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import msgspec

from detector import shipped
from detector.config_alerts import Alerts, CoveredUpTo
from detector.config_digest import Digest, check_digest
from detector.config_escalations import Escalation, check_escalations
from detector.config_heartbeat import Heartbeat, check_heartbeat
from detector.config_log import Log
from detector.config_metrics import Metrics, check_metrics
from detector.config_routes import Route, check_routes
from detector.config_secrets import SOURCES, named_sources, read_address, read_secret
from detector.config_section import Section
from detector.config_texts import is_text, unfit
from detector.config_wording import CHANNEL_NAME, HOST, VARIABLE, example, expectation, nearest
from detector.domain import Severity
from detector.errors import ConfigError
from detector.log import Format, Level
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from enum import StrEnum

SYSTEM_FILE = Path("/etc/detector/detector.toml")
_SYSTEM_STATE = Path("/var/lib/detector")
LEAST_MEGABYTES = 100
"""Of a database that is kept small: one snapshot of a scan takes up to 30."""
_FILE_VARIABLE = "DETECTOR_CONFIG"
PREFIX = "DETECTOR_"
"""How the variables that stand for settings begin."""
_REASON_LIMIT = 200
_IN_MEMORY = ("sqlite://", "sqlite:///", "sqlite:///:memory:")


class Database(Section, frozen=True):
    """Where snapshots, alerts and models are kept."""

    url: str = ""
    """SQLAlchemy address. Empty: an SQLite file in the state folder. A password belongs into `url_file`."""
    url_file: str = ""
    """A file (mode 0600) that holds the address, in place of `url`."""


class Collector(Section, frozen=True):
    """Capture."""

    interval_seconds: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 10.0
    """Length of a snapshot."""
    map_entries: Annotated[int, msgspec.Meta(ge=64, le=4_194_304)] = 32_768
    """Distinct keys that one snapshot can hold; the rest is counted by process alone. Kernel memory is about 0.4 kB for
    each."""
    exclude_loopback: bool = False
    """Leave connections with 127.0.0.0/8 and ::1 out."""
    remembered_names: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 20_000
    """Addresses whose names, learnt from DNS answers, are kept in memory. 0: none is learnt."""
    country_file: str = ""
    """A MaxMind-format file that tells addresses' countries (GeoLite2-Country.mmdb). Empty: not wanted."""
    network_file: str = ""
    """A MaxMind-format file that tells who owns an address's network (GeoLite2-ASN.mmdb). Empty: not wanted."""
    spool_megabytes: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 256
    """What snapshots that wait for the database may take on disk. 0: none waits there."""
    cache_folder: str = "/var/cache/detector"
    """Where compiled kernel programs are kept for the next start. Empty: they are not."""


class Retention(Section, frozen=True):
    """How long what is stored is kept, and how much of it."""

    snapshot_days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] = 30
    """Snapshots with their counts and scores."""
    hourly_days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] = 180
    """What each key did in each hour; at least as long as snapshots."""
    daily_days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] = 1095
    """What each key did on each day, and the keys themselves; at least as long as hours."""
    alert_days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] = 1095
    """Alerts, with what was found and sent."""
    sqlite_megabytes: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 4000
    """The most that an SQLite file may take; beyond it the oldest goes, however young. 0: as much as comes."""
    postgres_megabytes: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)] = 0
    """The same of the tables in a Postgres database."""


class Models(Section, frozen=True):
    """What is normal, and how strange is strange."""

    burn_in_hours: Annotated[float, msgspec.Meta(ge=0, le=24 * 60)] = 24.0
    """Observed time before scores are given."""
    false_alerts_per_day: Annotated[float, msgspec.Meta(gt=0, le=24)] = 0.143
    """The most alerts that a host's benign traffic may raise by its scores; .143 is one a week."""
    most_alerts_per_day: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 5
    """The most alerts that the scores of a host may open in a day; what is beyond is held in one more."""
    train_every_hours: Annotated[float, msgspec.Meta(gt=0, le=24 * 30)] = 6.0
    """How often the isolation forest is trained anew, in observed time."""
    train_rows: Annotated[int, msgspec.Meta(ge=256, le=1_000_000)] = 20_000
    """The most rows that a training takes from the store."""


class Rules(Section, frozen=True):
    """Which rule files are in force."""

    folders: tuple[str, ...] = ()
    """Folders of Sigma rules (*.yml), a later one before an earlier one. Empty: the shipped ones, and
    /etc/detector/rules if it exists."""


class Channel(Section, frozen=True):
    """Somewhere to send alerts: an apprise address."""

    name: Annotated[str, msgspec.Meta(pattern=CHANNEL_NAME)]
    url: str = ""
    """The apprise address (slack://…, mailto://…). It is a secret: keep the file at mode 0600 or use `url_file`."""
    url_file: str = ""
    """A file (mode 0600) that holds the address, in place of `url`."""
    url_env: Annotated[str, msgspec.Meta(pattern=VARIABLE)] = ""
    """An environment variable that holds it."""
    url_credential: str = ""
    """The name of a systemd credential (LoadCredential=) that holds it."""
    min_severity: Severity = Severity.LOW
    """Alerts below this are not sent here."""
    messages_per_minute: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 20
    """The most messages; when more alerts wait, one message tells of several. 0: no limit."""
    messages_per_hour: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 200
    """The same."""

    @property
    def address(self) -> str:
        """The apprise address.

        Raises:
            ConfigError: the file, variable or credential that holds it cannot be read, or others can read it.
        """
        return read_address(self, f"channel {self.name!r}")


class Notify(Section, frozen=True):
    """Delivery."""

    retry_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 15.0
    """Wait after the first failed attempt; doubled after each further one, at most an hour."""
    give_up_hours: Annotated[float, msgspec.Meta(gt=0, le=24 * 30)] = 72.0
    """After this a notification is dead: kept and shown, not tried again."""
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=300)] = 15.0
    """The longest that one attempt may take to connect or to wait for an answer."""
    console: bool = True
    """Print alerts on the standard output of `detector detect`."""
    templates: str = ""
    """A folder of templates that messages are written with. Empty: /etc/detector/templates if it exists, and what ships
    for what is not there."""


class Settings(Section, frozen=True):
    """All settings; every one has a default."""

    host: Annotated[str, msgspec.Meta(pattern=HOST)] = ""
    """Name of this host in the store. Empty: the machine's own name."""
    state_folder: str = ""
    """Where local state is kept. Empty: /var/lib/detector, or .state in a source checkout."""
    database: Database = Database()
    collector: Collector = Collector()
    retention: Retention = Retention()
    models: Models = Models()
    rules: Rules = Rules()
    alerts: Alerts = Alerts()
    notify: Notify = Notify()
    heartbeat: Heartbeat = Heartbeat()
    digest: Digest = Digest()
    log: Log = Log()
    metrics: Metrics = Metrics()
    channels: tuple[Channel, ...] = ()
    routes: tuple[Route, ...] = ()
    """Which alerts go to which channels, the first that matches. Empty: all go to all channels that take them."""
    escalations: tuple[Escalation, ...] = ()
    """Who is told of alerts that nobody has acknowledged in time. Empty: nobody."""

    @property
    def host_name(self) -> str:
        """The configured name, or the machine's."""
        return self.host or socket.gethostname()

    @property
    def state(self) -> Path:
        """The folder for local state."""
        if self.state_folder:
            return Path(self.state_folder)
        checkout = shipped.checkout()
        return checkout / ".state" if checkout else _SYSTEM_STATE

    @property
    def database_url(self) -> str:
        """Address of the database.

        Raises:
            ConfigError: `url_file` cannot be read or is readable by others.
        """
        if self.database.url_file:
            return read_secret(Path(self.database.url_file), "database.url_file")
        if self.database.url in _IN_MEMORY:
            raise ConfigError("database.url names no file", hint="collect and detect meet in it: name one")
        return self.database.url or f"sqlite:///{self.state / 'detector.db'}"

    @property
    def channel_names(self) -> frozenset[str]:
        """What rules may name: the configured channels, and the console, whether or not that is switched on."""
        return frozenset((*(channel.name for channel in self.channels), "console"))

    @property
    def template_folder(self) -> Path | None:
        """The folder of the operator's own templates, which exists unless the configuration names it; None: none."""
        if self.notify.templates:
            return Path(self.notify.templates)
        local = SYSTEM_FILE.parent / "templates"
        return local if _exists(local) else None

    @property
    def rule_folders(self) -> tuple[Path, ...]:
        """The folders that rules are read from."""
        if self.rules.folders:
            return tuple(Path(folder) for folder in self.rules.folders)
        local = SYSTEM_FILE.parent / "rules"
        more = (local,) if _exists(local) else ()
        return (shipped.folder("rules"), *more)


def default_file(environ: Mapping[str, str]) -> Path | None:
    """The configuration file in use when none is named: $DETECTOR_CONFIG, else the system's if it exists.

    Raises:
        ConfigError: this user may not look.
    """
    if named := environ.get(_FILE_VARIABLE):
        return Path(named)
    return SYSTEM_FILE if _exists(SYSTEM_FILE) else None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as fault:
        # Neither present nor absent: to go on without it would turn a configuration into defaults, silently.
        raise ConfigError(
            f"{path}: {fault.strerror}", hint="let this user read it, or name another file with --config"
        ) from None


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Reads `path` (default: see `default_file`) and applies the environment.

    Raises:
        ConfigError: naming the file or variable, the key, and what is expected there.
    """
    environ = os.environ if environ is None else environ
    path = path or default_file(environ)
    values = _read(path) if path else {}
    source = str(path) if path else "environment"
    overridden = dict(_overrides(environ))
    for (section, key), (variable, text) in overridden.items():
        place = values.setdefault(section, {}) if section else values
        if not isinstance(place, dict):
            raise ConfigError(f"{source}: {section} must be a table", hint=f"write it as [{section}]")
        if not is_text(text):
            raise ConfigError(f"environment: {variable} is no text in UTF-8", hint="see what sets it")
        place[key] = _parsed(section, key, text, variable)
        if section == "database":
            # The two name the same thing: the environment's word counts, whichever of them the file has.
            for other in {"url", "url_file"} - {name for part, name in overridden if part == section}:
                place.pop(other, None)
    for key in unfit(values):
        raise ConfigError(f"{source}: {key} holds a character with the number 0", hint="write it without")
    try:
        settings = msgspec.convert(values, Settings, strict=True)
    except msgspec.ValidationError as fault:
        raise _explained(str(fault), source, overridden) from None
    _check(settings, source)
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as fault:
        raise ConfigError(f"{path}: {fault.strerror}", hint="name another file with --config") from None
    except (ValueError, RecursionError) as fault:
        # Also what is no text, a number with thousands of digits, and brackets in thousands.
        message = f"{path}: not valid TOML: {visible(str(fault), _REASON_LIMIT)}"
        raise ConfigError(message, hint="mend it there; docs/detector.toml is an example with all settings") from None


_LISTED: dict[str, type[Section]] = {"channels": Channel, "routes": Route, "escalations": Escalation}
"""What there may be any number of."""


_CHOICES: dict[str, type[StrEnum]] = {
    "log.format": Format,
    "log.level": Level,
    "alerts.covered_up_to": CoveredUpTo,
}
"""The words that keys other than a severity may have."""


def _sections() -> dict[str, type[Section]]:
    hints = get_type_hints(Settings)
    return {name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, Section)}


def _overrides(environ: Mapping[str, str]) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    known = {
        **{f"{PREFIX}{key}".upper(): ("", key) for key in ("host", "state_folder")},
        **{
            f"{PREFIX}{section}_{key}".upper(): (section, key)
            for section, kind in _sections().items()
            for key in kind.__struct_fields__
        },
    }
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable == _FILE_VARIABLE:
            continue
        if variable not in known:
            raise ConfigError(f"environment: {variable} is not a setting", hint=nearest(variable, known))
        yield known[variable], (variable, text)


def _parsed(section: str, key: str, text: str, variable: str) -> Any:
    owner: type[Section] = _sections()[section] if section else Settings
    hint = get_type_hints(owner)[key]
    if isinstance(hint, type) and issubclass(hint, str):
        return text
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        parsed = {}
    if parsed.keys() != {"value"}:
        hint = f"write it as in TOML: {example(getattr(owner(), key))}"
        raise ConfigError(f"environment: {variable}={text!r} is not understood", hint=hint)
    return parsed["value"]


def _explained(message: str, source: str, overridden: Mapping[tuple[str, str], tuple[str, str]]) -> ConfigError:
    # msgspec says: "Object contains unknown field `intervall` - at `$.collector`"
    what, _, where = message.partition(" - at ")
    where = where.strip("`").removeprefix("$").removeprefix(".")
    if unknown := re.search(r"unknown field `(.*)`", what):
        name = unknown.group(1)
        key = f"{where}.{name}" if where else name
        section = _sections().get(where) or _LISTED.get(where.partition("[")[0], Settings)
        return ConfigError(f"{source}: unknown key {key}", hint=nearest(name, section.__struct_fields__))
    if missing := re.search(r"missing required field `(.*)`", what):
        return ConfigError(f"{source}: {where} has no {missing.group(1)}")
    section_name, _, key = where.partition(".")
    if (section_name, key) in overridden:
        source = f"environment, {overridden[section_name, key][0]}"
    hint = f"one of: {', '.join(_CHOICES.get(where, Severity))}" if "enum" in what else ""
    if where in _LISTED:
        hint = f"write each {where[:-1]} as a table of its own, under [[{where}]]"
    return ConfigError(f"{source}: {where}: {expectation(what)}", hint=hint)


def _check(settings: Settings, source: str) -> None:
    if settings.database.url and settings.database.url_file:
        raise ConfigError(f"{source}: database has both url and url_file", hint="remove one of them")
    _check_retention(settings.retention, source)
    seen: set[str] = set()
    for channel in settings.channels:
        if channel.name in seen:
            raise ConfigError(f"{source}: two channels are named {channel.name!r}", hint="give each its own name")
        if channel.name == "console":
            raise ConfigError(f"{source}: the channel name 'console' is taken", hint="see notify.console")
        if len(named_sources(channel)) != 1:
            raise ConfigError(
                f"{source}: channel {channel.name!r} needs either {' or '.join(SOURCES)}", hint="name exactly one"
            )
        if channel.url_env.startswith(PREFIX):
            raise ConfigError(
                f"{source}: channel {channel.name!r}: url_env begins with {PREFIX}, as settings do",
                hint="choose another name",
            )
        seen.add(channel.name)
    channels = {each.name: each.min_severity for each in settings.channels}
    check_heartbeat(settings.heartbeat, channels, source)
    check_digest(settings.digest, seen, source, console=settings.notify.console)
    check_metrics(settings.metrics, source)
    elsewhere = {*settings.digest.channels, *settings.heartbeat.channels}
    elsewhere |= {name for each in settings.escalations for name in each.channels}
    check_routes(settings.routes, channels, source, elsewhere=elsewhere)
    check_escalations(settings.escalations, channels, source)


def _check_retention(kept: Retention, source: str) -> None:
    """What is added up from snapshots outlasts them; and less than a few snapshots cannot be kept."""
    for shorter, longer in (("snapshot_days", "hourly_days"), ("hourly_days", "daily_days")):
        least = getattr(kept, shorter)
        if getattr(kept, longer) < least:
            raise ConfigError(
                f"{source}: retention.{longer} is less than retention.{shorter}", hint=f"write at least {least}"
            )
    for key in ("sqlite_megabytes", "postgres_megabytes"):
        if 0 < getattr(kept, key) < LEAST_MEGABYTES:
            raise ConfigError(
                f"{source}: retention.{key} is too little to detect anything in",
                hint=f"write at least {LEAST_MEGABYTES}, or 0 for no limit",
            )
