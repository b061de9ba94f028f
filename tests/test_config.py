"""Settings: what is read, what is refused and how that is said, and that secrets stay secret."""

from __future__ import annotations

import os
import re
import socket
import tomllib
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest

from detector import config
from detector.config import Channel, Settings, load
from detector.config_alerts import Alerts
from detector.config_escalations import Escalation
from detector.config_routes import Route
from detector.domain import Severity
from detector.errors import ConfigError

_DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a test writes its configuration; the machine's own plays no part."""
    monkeypatch.setattr(config, "SYSTEM_FILE", tmp_path / "etc" / "detector.toml")
    return tmp_path / "detector.toml"


def _load(file: Path, text: str, **environ: str) -> Settings:
    file.write_text(text)
    return load(file, environ)


def _keys(kind: type[msgspec.Struct], prefix: str = "") -> dict[str, Any]:
    """Every key with its default: "collector.interval_seconds": 10.0."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        hint = get_type_hints(kind)[field.name]
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            found |= _keys(hint, f"{field.name}.")
        elif field.name == "channels" and not prefix:
            found |= _keys(Channel, "channels.")
        elif field.name == "routes":
            found |= _keys(Route, "routes.")
        elif field.name == "escalations":
            found |= _keys(Escalation, "escalations.")
        else:
            found[prefix + field.encode_name] = field.default
    return found


# --- what is read ----------------------------------------------------------------------------------------------------


def test_nothing_need_be_configured(file: Path) -> None:
    """An empty file means all defaults."""
    assert _load(file, "") == Settings()


def test_what_is_written_is_read(file: Path) -> None:
    """Values of all kinds arrive; a whole number is good where a number is asked for."""
    settings = _load(
        file,
        """
        host = "bastion-1"
        state_folder = "/srv/detector"
        [collector]
        interval_seconds = 5
        map_entries = 1024
        exclude_loopback = true
        [rules]
        folders = ["/etc/rules", "/srv/rules"]
        [[channels]]
        name = "mail"
        url = "mailto://example.org"
        min_severity = "high"
        """,
    )

    assert settings.host_name == "bastion-1"
    assert settings.collector.interval_seconds == 5.0
    assert settings.collector.map_entries == 1024
    assert settings.collector.exclude_loopback
    assert settings.database_url == "sqlite:////srv/detector/detector.db"
    assert settings.rule_folders == (Path("/etc/rules"), Path("/srv/rules"))
    assert settings.channels == (Channel(name="mail", url="mailto://example.org", min_severity=Severity.HIGH),)


def test_the_environment_overrides_the_file(file: Path) -> None:
    """Text is taken as it is, everything else is written as in TOML."""
    settings = _load(
        file,
        'host = "file"\n[collector]\ninterval_seconds = 5\nmap_entries = 1024',
        DETECTOR_HOST="true",
        DETECTOR_COLLECTOR_INTERVAL_SECONDS="2.5",
        DETECTOR_NOTIFY_CONSOLE="false",
        DETECTOR_RULES_FOLDERS='["/srv/rules"]',
        PATH="/usr/bin",
        DETECTORS="not ours",
    )

    assert settings.host == "true"
    assert settings.collector.interval_seconds == 2.5
    assert settings.collector.map_entries == 1024
    assert not settings.notify.console
    assert settings.rules.folders == ("/srv/rules",)


def test_the_environment_names_another_database(file: Path, tmp_path: Path) -> None:
    """A database named by the environment counts, whichever of the two ways the file names one."""
    secret = tmp_path / "database"
    secret.write_text("postgresql://elsewhere/detector\n")
    secret.chmod(0o600)

    by_url = _load(file, '[database]\nurl_file = "/nowhere"', DETECTOR_DATABASE_URL="sqlite:///here.db")
    by_file = _load(file, '[database]\nurl = "sqlite:///there.db"', DETECTOR_DATABASE_URL_FILE=str(secret))

    assert by_url.database_url == "sqlite:///here.db"
    assert by_file.database_url == "postgresql://elsewhere/detector"


def test_the_machine_names_the_host() -> None:
    """Without a name the host is called what the machine is called."""
    assert Settings().host_name == socket.gethostname()


def test_a_checkout_keeps_its_state_to_itself() -> None:
    """Run from a source checkout, state stays in it."""
    assert Settings().state == _DOCS.parent / ".state"
    assert Settings().database_url == f"sqlite:///{_DOCS.parent / '.state' / 'detector.db'}"


def test_the_system_file_is_read_when_none_is_named(file: Path) -> None:
    """$DETECTOR_CONFIG comes before the system's file, which is read if it exists."""
    assert config.default_file({}) is None
    config.SYSTEM_FILE.parent.mkdir()
    config.SYSTEM_FILE.write_text('host = "system"')
    file.write_text('host = "named"')

    assert load(None, {}).host == "system"
    assert load(None, {"DETECTOR_CONFIG": str(file)}).host == "named"
    assert load(config.SYSTEM_FILE, {"DETECTOR_CONFIG": str(file)}).host == "system"


@pytest.mark.usefixtures("file")
def test_local_rules_join_the_shipped_ones() -> None:
    """The shipped rules are in force, and those of the system's folder once it exists."""
    shipped = Settings().rule_folders
    (config.SYSTEM_FILE.parent / "rules").mkdir(parents=True)

    assert shipped == (_DOCS.parent / "rules",)
    assert Settings().rule_folders == (*shipped, config.SYSTEM_FILE.parent / "rules")


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("colector = 5", "unknown key colector", "did you mean collector?"),
        ("[collector]\nintervall = 5", "unknown key collector.intervall", "did you mean interval_seconds?"),
        (
            "[alerts]\nx = 5",
            "unknown key alerts.x",
            f"known here: {', '.join(sorted(Alerts.__struct_fields__))}",
        ),
        ("[database.url]\nx = 5", "database.url: expected text, got a table", ""),
        ("collector = 5", "collector: expected a table, got a whole number", ""),
        ("[collector]\ninterval_seconds = 0.5", "collector.interval_seconds: expected a number >= 1.0", ""),
        ("[collector]\ninterval_seconds = 3601", "collector.interval_seconds: expected a number <= 3600.0", ""),
        ("[collector]\ninterval_seconds = nan", "collector.interval_seconds: expected a number >= 1.0", ""),
        ("[collector]\ninterval_seconds = inf", "collector.interval_seconds: expected a number <= 3600.0", ""),
        ("[collector]\ninterval_seconds = '5'", "collector.interval_seconds: expected a number, got text", ""),
        ("[collector]\nmap_entries = 1e5", "collector.map_entries: expected a whole number, got a number", ""),
        ("[collector]\nmap_entries = 63", "collector.map_entries: expected a whole number >= 64", ""),
        ("[notify]\nconsole = 1", "notify.console: expected true or false, got a whole number", ""),
        ("[notify]\nretry_seconds = 0", "notify.retry_seconds: expected a number > 0.0", ""),
        ("[rules]\nfolders = 'x'", "rules.folders: expected a list, got text", ""),
        ("[rules]\nfolders = [5]", "rules.folders[0]: expected text, got a whole number", ""),
        ("host = 5", "host: expected text, got a whole number", ""),
        (
            'host = "a\\nb"',
            "host: expected text of at most 253 characters, none of them a space or control character",
            "",
        ),
        (
            'host = "a\\n"',
            "host: expected text of at most 253 characters, none of them a space or control character",
            "",
        ),
        ("[database]\nurl = 'a'\nurl_file = 'b'", "database has both url and url_file", "remove one of them"),
        (
            "channels = 5",
            "channels: expected a list, got a whole number",
            "write each channel as a table of its own, under [[channels]]",
        ),
        (
            "[channels]\nname = 'a'",
            "channels: expected a list, got a table",
            "write each channel as a table of its own, under [[channels]]",
        ),
        ("[[channels]]\nurl = 'json://x'", "channels[0] has no name", ""),
        (
            "[[channels]]\nname = 'My Mail'\nurl = 'json://x'",
            "channels[0].name: expected text of at most 32 of a-z, 0-9, - and _",
            "",
        ),
        (
            '[[channels]]\nname = "mail\\n"\nurl = "json://x"',
            "channels[0].name: expected text of at most 32 of a-z, 0-9, - and _",
            "",
        ),
        (
            "[[channels]]\nname = 'a'\nurl = 'json://x'\nmin_severity = 'urgent'",
            "channels[0].min_severity: invalid enum value 'urgent'",
            "one of: informational, low, medium, high, critical",
        ),
        (
            "[[channels]]\nname = 'a'\nurl = 'json://x'\nseverity = 'low'",
            "unknown key channels[0].severity",
            "did you mean min_severity?",
        ),
        (
            "[[channels]]\nname = 'a'",
            "channel 'a' needs either url or url_file or url_env or url_credential",
            "name exactly one",
        ),
        (
            "[[channels]]\nname = 'a'\nurl = 'json://x'\nurl_file = '/x'",
            "channel 'a' needs either url or url_file or url_env or url_credential",
            "name exactly one",
        ),
        (
            "[[channels]]\nname = 'a'\nurl = 'json://x'\n[[channels]]\nname = 'a'\nurl = 'json://y'",
            "two channels are named 'a'",
            "give each its own name",
        ),
        (
            '[[channels]]\nname = "a"\nurl_file = "/\\u0000"',
            "channels[0].url_file holds a character with the number 0",
            "write it without",
        ),
        (
            "[[channels]]\nname = 'console'\nurl = 'json://x'",
            "the channel name 'console' is taken",
            "see notify.console",
        ),
    ],
)
def test_a_bad_file_is_refused_by_name(file: Path, text: str, message: str, hint: str) -> None:
    """Each fault names the file, the key and what is expected there."""
    with pytest.raises(ConfigError) as fault:
        _load(file, text)

    assert fault.value.message == f"{file}: {message}"
    assert fault.value.hint == hint
    assert fault.value.exit_code == 78


@pytest.mark.parametrize(
    ("variable", "value", "message", "hint"),
    [
        (
            "DETECTOR_COLLECTOR_INTERVAL",
            "5",
            "environment: DETECTOR_COLLECTOR_INTERVAL is not a setting",
            "did you mean DETECTOR_COLLECTOR_INTERVAL_SECONDS?",
        ),
        (
            "DETECTOR_COLLECTOR_INTERVAL_SECONDS",
            "0.5",
            "environment, DETECTOR_COLLECTOR_INTERVAL_SECONDS: collector.interval_seconds: expected a number >= 1.0",
            "",
        ),
        (
            "DETECTOR_COLLECTOR_INTERVAL_SECONDS",
            "ten",
            "environment: DETECTOR_COLLECTOR_INTERVAL_SECONDS='ten' is not understood",
            "write it as in TOML: 10.0",
        ),
        (
            "DETECTOR_COLLECTOR_INTERVAL_SECONDS",
            "5\nmap_entries = 64",
            "environment: DETECTOR_COLLECTOR_INTERVAL_SECONDS='5\\nmap_entries = 64' is not understood",
            "write it as in TOML: 10.0",
        ),
        (
            "DETECTOR_NOTIFY_CONSOLE",
            "yes",
            "environment: DETECTOR_NOTIFY_CONSOLE='yes' is not understood",
            "write it as in TOML: true or false",
        ),
        (
            "DETECTOR_RULES_FOLDERS",
            "/srv/rules",
            "environment: DETECTOR_RULES_FOLDERS='/srv/rules' is not understood",
            'write it as in TOML: ["one", "two"]',
        ),
        (
            "DETECTOR_MODELS_BURN_IN_HOURS",
            "[" * 5000,
            f"environment: DETECTOR_MODELS_BURN_IN_HOURS={'[' * 5000!r} is not understood",
            "write it as in TOML: 24.0",
        ),
        ("DETECTOR_HOST", "b\udcff", "environment: DETECTOR_HOST is no text in UTF-8", "see what sets it"),
    ],
)
def test_a_bad_variable_is_refused_by_name(file: Path, variable: str, value: str, message: str, hint: str) -> None:
    """Each fault names the variable and what is expected there."""
    with pytest.raises(ConfigError) as fault:
        _load(file, "", **{variable: value})

    assert fault.value.message == message
    assert fault.value.hint == hint


def test_a_section_that_is_none_is_refused_when_overridden_too(file: Path) -> None:
    """A variable does not paper over a section that the file has wrong."""
    with pytest.raises(ConfigError, match="collector must be a table"):
        _load(file, "collector = 5", DETECTOR_COLLECTOR_INTERVAL_SECONDS="5")


def test_a_missing_file_is_named(file: Path) -> None:
    """A file that is named must be there."""
    with pytest.raises(ConfigError, match=re.escape(f"{file}: No such file or directory")):
        load(file, {})


@pytest.mark.parametrize(
    "content",
    [b"host = ", b"host = 'a'\nhost = 'b'", b"\xff\xfe\x00", b"host = " + b"[" * 5000, b"host = " + b"9" * 5000],
)
def test_a_file_of_something_else_is_named(file: Path, content: bytes) -> None:
    """What is not TOML is refused as what it is not; a key that is written twice is not either."""
    file.write_bytes(content)

    with pytest.raises(ConfigError, match=re.escape(f"{file}: not valid TOML: ")):
        load(file, {})


def test_a_file_that_may_not_be_seen_is_not_taken_for_missing(file: Path) -> None:
    """When the system's folder is closed to this user, that is said: defaults in its place could be wrong."""
    config.SYSTEM_FILE.parent.mkdir()
    config.SYSTEM_FILE.write_text("")
    config.SYSTEM_FILE.parent.chmod(0)
    user = os.geteuid()
    os.seteuid(65_534 if user == 0 else user)
    try:
        for look in (lambda: load(None, {}), lambda: Settings().rule_folders):
            with pytest.raises(ConfigError, match="Permission denied"):
                look()
    finally:
        os.seteuid(user)
        config.SYSTEM_FILE.parent.chmod(0o700)
    assert not file.exists()


# --- secrets ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file with an address in it, for its owner alone."""
    path = tmp_path / "address"
    path.write_text("json://s3cret@example.org\n")
    path.chmod(0o600)
    return path


def test_an_address_can_be_kept_in_a_file(file: Path, secret: Path) -> None:
    """The content of `url_file`, without the line end, is the address."""
    settings = _load(file, f'[database]\nurl_file = "{secret}"\n[[channels]]\nname = "a"\nurl_file = "{secret}"')

    assert settings.database_url == "json://s3cret@example.org"
    assert settings.channels[0].address == "json://s3cret@example.org"
    assert Channel(name="a", url="json://x").address == "json://x"


@pytest.mark.parametrize(
    ("mode", "content", "reason"),
    [
        (0o604, "json://s3cret", "can be read by everyone"),
        (0o602, "json://s3cret", "can be read by everyone"),
        (0o600, " \n", "is empty"),
        (0o600, "\udcff", "it is not text"),
        (0o600, "json://\0", "is no text"),
        (0o600, "json://s3cret" + "x" * 65_536, "is longer than 65,536 bytes"),
    ],
)
def test_a_careless_secret_is_refused(secret: Path, mode: int, content: str, reason: str) -> None:
    """A secret that everyone can read, or that is none, is refused by its path and never repeated."""
    secret.write_bytes(content.encode(errors="surrogateescape"))
    secret.chmod(mode)

    with pytest.raises(ConfigError, match=reason) as fault:
        _ = Channel(name="mail", url_file=str(secret)).address

    assert fault.value.message.startswith(f"channel 'mail': url_file: {secret}")
    assert "s3cret" not in fault.value.message + fault.value.hint


def test_a_secret_without_an_end_is_refused() -> None:
    """A device is read no further than an address can be long."""
    with pytest.raises(ConfigError, match="can be read by everyone"):
        _ = Channel(name="mail", url_file="/dev/zero").address


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    """A secret's file that is not there is refused by its key and path."""
    settings = Settings(database=config.Database(url_file=str(tmp_path / "none")))

    with pytest.raises(ConfigError, match=r"database\.url_file: .*/none: No such file"):
        _ = settings.database_url


def test_settings_do_not_show_secrets(file: Path) -> None:
    """Neither the address of a channel nor that of the database is in the text form of settings."""
    settings = _load(
        file,
        """
        [database]
        url = "postgresql://u:s3cret@db/detector"
        [[channels]]
        name = "mail"
        url = "mailto://u:s3cret@example.org"
        """,
    )

    for text in (repr(settings), str(settings), f"{settings.channels}", f"{settings.database!r}"):
        assert "s3cret" not in text
        assert "(secret)" in text
    assert "name='mail'" in repr(settings)
    assert "interval_seconds=10.0" in repr(settings)


@pytest.mark.parametrize(
    "text",
    [
        "[[channels]]\nname = 'a'\nurl = 'json://s3cret'\nmin_severity = 'x'",
        "[[channels]]\nname = 'a'\nurl = 'json://s3cret'\n[[channels]]\nname = 'a'\nurl = 'json://s3cret'",
        "[[channels]]\nname = 'a'\nurl = 'json://s3cret\n",
        "[database]\nurl = 'postgresql://u:s3cret@h/d'\nurl_file = 'x'",
        "[database]\nurl = ['postgresql://u:s3cret@h/d']",
    ],
)
def test_faults_do_not_show_secrets(file: Path, text: str) -> None:
    """What is said of a bad file does not repeat an address in it."""
    with pytest.raises(ConfigError) as fault:
        _load(file, text)

    assert "s3cret" not in fault.value.message + fault.value.hint


# --- documentation ---------------------------------------------------------------------------------------------------


def test_the_example_is_the_defaults(file: Path) -> None:
    """docs/detector.toml loads, and means what an empty file means."""
    assert _load(file, (_DOCS / "detector.toml").read_text()) == Settings()


def test_the_example_is_complete() -> None:
    """Every key is in the example, with its default."""
    written = tomllib.loads((_DOCS / "detector.toml").read_text())
    flat = {
        f"{section}.{key}" if isinstance(values, dict) else section: value
        for section, values in written.items()
        for key, value in (values.items() if isinstance(values, dict) else [("", values)])
    }

    commented = ("channels.", "routes.", "escalations.")
    expected = {key: value for key, value in _keys(Settings).items() if not key.startswith(commented)}
    assert {key: tuple(value) if isinstance(value, list) else value for key, value in flat.items()} == expected


def test_the_example_of_a_channel_is_complete(file: Path) -> None:
    """The channel that is commented out loads once it is not, and has every key of a channel, with its default."""
    text = (_DOCS / "detector.toml").read_text()
    example = text[text.index("# [[channels]]") : text.index("# Routes")]
    uncommented = "\n".join(line.removeprefix("# ") for line in example.splitlines())

    (channel,) = _load(file, uncommented).channels

    assert channel == Channel(name="operators", url_credential="secrets_operators")
    assert set(tomllib.loads(uncommented)["channels"][0]) == set(Channel.__struct_fields__)


def test_the_example_of_a_route_is_complete(file: Path) -> None:
    """The route that is commented out loads once it is not, and has every key of a route, with its default."""
    text = (_DOCS / "detector.toml").read_text()
    example = (
        text[text.index("# [[channels]]") : text.index("# Routes")]
        + text[text.index("# [[routes]]") : text.index("# Escal")]
    )
    uncommented = "\n".join(line.removeprefix("# ").removeprefix("#") for line in example.splitlines())

    (route,) = _load(file, uncommented).routes

    assert route == Route(channels=("operators",))
    keys = {each.encode_name for each in msgspec.structs.fields(Route)}
    assert set(tomllib.loads(uncommented)["routes"][0]) == keys


def test_the_example_of_an_escalation_is_complete(file: Path) -> None:
    """The escalation that is commented out loads once it is not, and has every key of one, with its default."""
    text = (_DOCS / "detector.toml").read_text()
    example = text[text.index("# [[channels]]") : text.index("# Routes")] + text[text.index("# [[escalations]]") :]
    uncommented = "\n".join(line.removeprefix("# ").removeprefix("#") for line in example.splitlines())

    (step,) = _load(file, uncommented).escalations

    assert step == Escalation(channels=("operators",), after_seconds=step.after_seconds)
    assert set(tomllib.loads(uncommented)["escalations"][0]) == set(Escalation.__struct_fields__)


def test_every_key_is_documented() -> None:
    """docs/configuration.md has a row for each key, and none for anything else."""
    rows = re.findall(r"^\| `([a-z_.]+)` \|", (_DOCS / "configuration.md").read_text(), re.MULTILINE)

    assert rows == list(_keys(Settings))


def test_the_documented_limits_are_those_that_hold() -> None:
    """The bounds of each number in docs/configuration.md and docs/detector.toml are those that are checked."""
    manual = (_DOCS / "configuration.md").read_text()
    example = (_DOCS / "detector.toml").read_text()
    checked = 0
    for section, kind in config._sections().items():
        for key, hint in get_type_hints(kind, include_extras=True).items():
            for limits in getattr(hint, "__metadata__", ()):
                low = limits.ge if limits.ge is not None else limits.gt
                if low is None:
                    continue
                words = rf"more than {low:g}, at most {limits.le}" if limits.ge is None else rf"{low:g} to {limits.le}"
                row = re.search(rf"^\| `{section}\.{key}` \|.*$", manual, re.MULTILINE)
                assert row
                assert words in row[0]
                here = example.index(f"\n{key} = ", example.index(f"\n[{section}]\n"))
                comment = example[:here].rsplit("\n\n", 1)[-1]
                assert words in comment.lower().replace("\n# ", " ")
                checked += 1
    assert checked == 25
