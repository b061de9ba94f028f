"""Country and network owner of an address, from real files."""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet  # type: ignore[import-untyped]

from detector.collector.networks import Networks
from detector.errors import ConfigError
from tests.hostile import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_COUNTRIES: dict[str, dict[str, Any]] = {
    "198.51.100.0/24": {"country": {"iso_code": "NO", "names": {"en": "Norway"}}},
    "203.0.113.0/24": {"country": {"iso_code": "JP"}},
    "2001:db8::/33": {"country": {"iso_code": "BR"}},
    "192.0.2.0/24": {"registered_country": {"iso_code": "FR"}},
}
_OWNERS: dict[str, dict[str, Any]] = {
    "198.51.100.0/24": {"autonomous_system_number": 64500, "autonomous_system_organization": "Example Ltd"},
    "203.0.113.0/25": {"autonomous_system_number": 64501},
    "203.0.113.128/25": {"autonomous_system_organization": "Beispiel & Söhne"},
    "2001:db8::/33": {"autonomous_system_number": 64502, "autonomous_system_organization": "Exemplo"},
    "10.20.0.0/16": {"autonomous_system_number": 64512, "autonomous_system_organization": "Our own laboratory"},
}


def _write(path: Path, records: dict[str, dict[str, Any]], *, kind: str = "Test", version: int = 6) -> Path:
    writer = MMDBWriter(version, kind, ipv4_compatible=version == 6)
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    new = path.with_suffix(".new")
    writer.to_db_file(str(new))
    # Two files that are written within one tick of the clock are to differ.
    os.utime(new, ns=(0, path.stat().st_mtime_ns + 1 if path.exists() else 0))
    return new.replace(path)


@pytest.fixture
def reports() -> list[str]:
    """What an operator is told."""
    return []


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A file of countries and one of owners."""
    return (
        _write(tmp_path / "country.mmdb", _COUNTRIES, kind="GeoLite2-Country"),
        _write(tmp_path / "asn.mmdb", _OWNERS, kind="GeoLite2-ASN"),
    )


@pytest.fixture
def networks(files: tuple[Path, Path], reports: list[str]) -> Iterator[Networks]:
    """Both files, opened."""
    networks = Networks(*files, report=reports.append)
    yield networks
    networks.close()


@pytest.mark.parametrize(
    ("address", "country", "network"),
    [
        ("198.51.100.7", "NO", "AS64500 Example Ltd"),
        ("203.0.113.7", "JP", "AS64501"),
        ("203.0.113.200", "JP", "Beispiel & Söhne"),
        ("2001:db8::7", "BR", "AS64502 Exemplo"),
        ("192.0.2.7", None, None),
        ("192.168.1.7", None, None),
        ("fd00::7", None, None),
        ("127.0.0.1", None, None),
        ("10.20.30.40", None, "AS64512 Our own laboratory"),
    ],
)
def test_an_address_has_what_the_files_say(
    networks: Networks, address: str, country: str | None, network: str | None
) -> None:
    """Nothing is guessed: where the file has no country or owner, there is none; asked again, it is the same."""
    for _ in range(2):
        assert networks.country_of(ip_address(address)) == country
        assert networks.network_of(ip_address(address)) == network


def test_without_files_nothing_is_known(reports: list[str]) -> None:
    """Both are optional."""
    networks = Networks(None, None, report=reports.append)
    assert networks.country_of(ip_address("198.51.100.7")) is None
    assert networks.network_of(ip_address("198.51.100.7")) is None
    assert reports == []


def test_a_file_of_ipv4_alone_knows_no_ipv6(tmp_path: Path, reports: list[str]) -> None:
    """And that is no fault."""
    records = {network: record for network, record in _COUNTRIES.items() if ":" not in network}
    networks = Networks(_write(tmp_path / "4.mmdb", records, version=4), None, report=reports.append)
    assert networks.country_of(ip_address("198.51.100.7")) == "NO"
    assert networks.country_of(ip_address("2001:db8::7")) is None
    assert reports == []
    networks.close()


def test_more_addresses_than_are_remembered_are_looked_up_anew(networks: Networks) -> None:
    """Memory is bounded, and no answer changes by it."""
    for number in range(25_000):
        assert networks.country_of(ip_address("203.0.113.0") + number % 256) == "JP"
        networks.country_of(ip_address("10.0.0.0") + number)
    assert networks.country_of(ip_address("198.51.100.7")) == "NO"


@pytest.mark.parametrize("name", NAMES)
def test_owners_are_harmless_to_look_at(tmp_path: Path, reports: list[str], name: str) -> None:
    """Whoever registers a network chooses its owner's name: it is one printable line of at most 200 characters."""
    record = {
        "autonomous_system_number": 64500,
        "autonomous_system_organization": name.encode("utf-8", "replace").decode(),
    }
    networks = Networks(None, _write(tmp_path / "asn.mmdb", {"198.51.100.0/24": record}), report=reports.append)
    owner = networks.network_of(ip_address("198.51.100.7"))
    assert owner is not None
    assert owner.isprintable()
    assert len(owner) <= 200
    networks.close()


@pytest.mark.parametrize("code", ["", "no", "NOR", "N\x1b", "ÅÄ", 7])
def test_what_is_no_country_code_is_no_country(tmp_path: Path, reports: list[str], code: object) -> None:
    """Two capital letters, or unknown."""
    records: dict[str, dict[str, Any]] = {
        "198.51.100.0/24": {"country": {"iso_code": code}},
        "203.0.113.0/24": {"country": {"iso_code": "JP"}},
    }
    networks = Networks(_write(tmp_path / "country.mmdb", records), None, report=reports.append)
    assert networks.country_of(ip_address("198.51.100.7")) is None
    networks.close()


def test_a_missing_file_is_refused_by_key_and_path(tmp_path: Path, files: tuple[Path, Path]) -> None:
    """Whichever of the two it is."""
    gone = tmp_path / "gone.mmdb"
    with pytest.raises(ConfigError, match=re.escape(f"collector.country_file: {gone}: No such file or directory")):
        Networks(gone, files[1], report=pytest.fail)
    with pytest.raises(ConfigError, match=re.escape(f"collector.network_file: {gone}: No such file or directory")):
        Networks(files[0], gone, report=pytest.fail)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    """As a full disk leaves one."""
    path = tmp_path / "country.mmdb"
    path.touch()
    with pytest.raises(ConfigError, match=re.escape(f"collector.country_file: {path} is empty")):
        Networks(path, None, report=pytest.fail)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """And anything else that is no file."""
    with pytest.raises(ConfigError, match=re.escape(f"collector.country_file: {tmp_path} is not a file")):
        Networks(tmp_path, None, report=pytest.fail)


@pytest.mark.parametrize("content", [b"country,iso_code\n", b"\0" * 4096, b"\xab\xcd\xefMaxMind.com", b"\x1f\x8b" * 99])
def test_a_file_of_another_format_is_refused(tmp_path: Path, content: bytes) -> None:
    """With a word on what to name instead."""
    path = tmp_path / "country.mmdb"
    path.write_bytes(content)
    with pytest.raises(
        ConfigError, match=re.escape(f"collector.country_file: {path} is not a MaxMind data")
    ) as refused:
        Networks(path, None, report=pytest.fail)
    assert refused.value.hint == "name a file such as GeoLite2-Country.mmdb"


def test_files_that_were_mixed_up_are_refused(files: tuple[Path, Path]) -> None:
    """What they hold decides, not what they are called."""
    country, owner = files
    message = f"collector.country_file: {owner} (GeoLite2-ASN) holds no country.iso_code"
    with pytest.raises(ConfigError, match=re.escape(message)) as refused:
        Networks(owner, country, report=pytest.fail)
    assert refused.value.hint == "name a file such as GeoLite2-Country.mmdb"
    message = f"collector.network_file: {country} (GeoLite2-Country) holds no autonomous_system_organization"
    with pytest.raises(ConfigError, match=re.escape(message)):
        Networks(country, country, report=pytest.fail)


def test_one_file_may_hold_both(tmp_path: Path, reports: list[str]) -> None:
    """Some are sold that way."""
    both = {"198.51.100.0/24": _COUNTRIES["198.51.100.0/24"] | _OWNERS["198.51.100.0/24"]}
    path = _write(tmp_path / "both.mmdb", both)
    networks = Networks(path, path, report=reports.append)
    assert networks.country_of(ip_address("198.51.100.7")) == "NO"
    assert networks.network_of(ip_address("198.51.100.7")) == "AS64500 Example Ltd"
    networks.close()


def test_a_file_that_is_replaced_is_opened_anew(
    networks: Networks, files: tuple[Path, Path], reports: list[str]
) -> None:
    """Within a second, and what was remembered of the old one is forgotten. That is nothing to report."""
    address = ip_address("203.0.113.7")
    assert networks.country_of(address, at=0) == "JP"
    _write(files[0], {"203.0.113.0/24": {"country": {"iso_code": "KR"}}})
    assert networks.country_of(address, at=0.5) == "JP"
    assert networks.country_of(address, at=1) == "KR"
    assert reports == []


def test_a_broken_replacement_is_reported_once_and_the_old_file_kept(
    networks: Networks, files: tuple[Path, Path], reports: list[str]
) -> None:
    """Until a good one comes, which is reported as well."""
    address, path = ip_address("203.0.113.7"), files[0]
    networks.country_of(address, at=0)
    broken = path.with_suffix(".broken")
    broken.write_bytes(b"<html>Too many downloads</html>")
    broken.replace(path)
    for second in range(1, 5):
        assert networks.country_of(address, at=second) == "JP"
        assert networks.country_of(ip_address("198.51.100.0") + second, at=second) == "NO"
    assert reports == [f"collector.country_file: {path} is not a MaxMind database; the one before is used"]
    _write(path, {"203.0.113.0/24": {"country": {"iso_code": "KR"}}})
    assert networks.country_of(address, at=5) == "KR"
    assert reports[1:] == [f"collector.country_file: {path} is read again"]


def test_a_file_that_is_removed_is_reported_once_and_used_on(
    networks: Networks, files: tuple[Path, Path], reports: list[str]
) -> None:
    """It is still open; when it is back, that is reported."""
    address, path = ip_address("198.51.100.7"), files[1]
    away = path.rename(path.with_suffix(".away"))
    for second in range(4):
        assert networks.network_of(address + second, at=second) == "AS64500 Example Ltd"
    assert reports == [f"collector.network_file: {path}: No such file or directory; the one before is used"]
    away.rename(path)
    networks.network_of(address, at=4)
    assert reports[1:] == [f"collector.network_file: {path} is read again"]


def test_a_file_that_is_written_over_in_place_is_not_used_while_it_is_broken(
    networks: Networks, files: tuple[Path, Path], reports: list[str]
) -> None:
    """As a plain copy does it: the old one is gone, and half of the new one must not end the collector."""
    address, path = ip_address("203.0.113.7"), files[0]
    whole = path.read_bytes()
    networks.country_of(address, at=0)
    for second, size in ((1, 0), (2, 200), (3, len(whole) // 2)):
        path.write_bytes(whole[:size])
        networks.country_of(address + second, at=second - 0.5)  # before the change is noticed
        assert networks.country_of(address, at=second) is None
    path.write_bytes(whole)
    assert networks.country_of(address, at=4) == "JP"
    assert f"collector.country_file: {path} is not a MaxMind database; none is used" in reports
    assert reports[-1] == f"collector.country_file: {path} is read again"


def test_a_damaged_record_is_reported_once(files: tuple[Path, Path], reports: list[str]) -> None:
    """Addresses in the sound part are found, those in the damaged part are unknown."""
    path = files[0]
    # Not UTF-8.
    path.write_bytes(path.read_bytes().replace(b"\x42JP", b"\x42\xff\xff"))
    networks = Networks(path, None, report=reports.append)
    for second in range(4):
        assert networks.country_of(ip_address("203.0.113.0") + second, at=second) is None
        assert networks.country_of(ip_address("198.51.100.0") + second, at=second) == "NO"
    assert reports == [f"collector.country_file: {path} is damaged"]
    networks.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a good file."""
    return _write(tmp_path_factory.mktemp("sound") / "country.mmdb", _COUNTRIES).read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    end=st.floats(0.5, 1),
)
def test_a_damaged_file_is_refused_or_read_as_far_as_it_goes(
    tmp_path: Path, sound: bytes, damage: list[tuple[float, int]], end: float
) -> None:
    """It never brings the collector down; a country is two letters or unknown."""
    content = bytearray(sound)
    for place, value in damage:
        content[int(place * len(sound))] = value
    path = tmp_path / "country.mmdb"
    path.write_bytes(content[: int(end * len(sound)) + 1])
    reports: list[str] = []
    try:
        networks = Networks(path, None, report=reports.append)
    except ConfigError:
        return
    for network in _COUNTRIES:
        country = networks.country_of(ip_address(network.partition("/")[0]) + 7)
        assert country is None or re.fullmatch("[A-Z]{2}", country)
    assert len(reports) <= 1
    networks.close()
