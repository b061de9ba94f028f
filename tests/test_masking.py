"""Masks: nothing that is known or looks like a name or an address is left, and the same thing has the same mask."""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detector.masking import SECRET, Masker


@example(IPv6Address("::ffff:0:0"), '"{}"')
@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.sampled_from(['"{}"', "to {}:22", "({})", "[{}]:443"]))
def test_no_address_is_left_in_any_place(address: IPv4Address | IPv6Address, around: str) -> None:
    """But for those that every machine has; brackets stay."""
    known = getattr(address, "ipv4_mapped", None) or address
    if str(known) in ("127.0.0.1", "::1", "0.0.0.0", "::"):
        return
    port = isinstance(address, IPv6Address) and around == "to {}:22"
    text = Masker().text((around if not port else "to {} 22").format(address))
    assert str(address) not in text
    assert "address-1" in text


def test_the_same_address_has_the_same_mask_however_it_is_written() -> None:
    """IPv6 in capitals or in full, IPv4 mapped into IPv6."""
    masker = Masker()
    texts = ["fd00::1", "FD00::1", "fd00:0:0:0:0:0:0:1", "10.0.4.12", "::ffff:10.0.4.12"]
    assert [masker.text(each) for each in texts] == ["address-1"] * 3 + ["address-2"] * 2
    assert masker.numbers == {"address": 2}


@pytest.mark.parametrize(
    "text",
    [
        "09:00:00  snapshot 42  3 connects",
        "2026-11-20 14:00:00+01:00",
        "/var/lib/detector/detector.db",
        "detector.store.engine: StoreError",
        "metrics.listen: no port; database.url names no file",
        "rules/port_scan.yml:12: unknown field",
        "Linux 6.1.0-28-amd64, Python 3.11.2, 127.0.0.1:9469, ::1",
        "detector-collect.service is active (running)",
    ],
)
def test_what_is_none_of_it_stays(text: str) -> None:
    """Times, versions, paths and names of files."""
    assert Masker().text(text) == text


def test_what_looks_like_a_host_a_person_or_a_url_is_masked_unasked() -> None:
    """Also in what nobody knew before."""
    masker = Masker()
    text = masker.text(
        "kim@mail.example.org wrote from db.example.org to /home/kim/.ssh at https://hooks.example.com/T0/B1 "
        "02:42:ac:11:00:02"
    )
    for name in ("kim", "example", "hooks", "02:42"):
        assert name not in text
    assert text == "mail-1 wrote from host-1 to /home/user-1/.ssh at url-1 mac-1"


def test_what_is_known_is_masked_as_a_word_in_whatever_case() -> None:
    """The longest name first; as part of another word it is none."""
    masker = Masker()
    masker.know("host", ["bastion", "bastion-1", "Web"])
    masker.know("user", ["alice", "al", "x"])
    assert masker.text("BASTION-1 bastion web website") == "host-2 host-1 host-3 website"
    assert masker.text("alice, al and x; /srv/alice/al.sh also") == "user-1, user-2 and x; /srv/user-1/user-2.sh also"
    assert masker.text("user-1") == "user-1"


@given(st.text(min_size=2, max_size=20).filter(lambda name: name.strip() and not name.isdecimal()))
def test_a_known_name_is_gone_from_objects_as_well(name: str) -> None:
    """From keys, values, and in the form in which names are shown."""
    masker = Masker()
    masker.know("user", [name])
    told = masker.value({"said": [f"by {name}."], name: 1})
    if name.casefold() in ("localhost", "root") or re.fullmatch(r"(user|by|said|[-.\d])+", name.casefold()):
        return
    assert told["said"] != [f"by {name}."]
    json.dumps(told)


@pytest.mark.parametrize(
    "text",
    [
        "host=db1 password=hunter2 dbname=x",
        'PGPASSWORD="hunter2" psql',
        "{'token': 'hunter2'}",
        "Authorization: Bearer hunter2",
        "api_key: hunter2; and more",
    ],
)
def test_what_is_said_to_be_a_secret_is_masked_unasked(text: str) -> None:
    """As tools write it; what is said around it stays."""
    masked = Masker().text(text)
    assert masked == text.replace("hunter2", SECRET)


def test_words_of_sentences_are_no_secrets() -> None:
    """What parameters of an address are called, and our own name, stand everywhere."""
    masker = Masker()
    masker.know_secret("mailtos://detector:hunter2@mail.example.org?from=detector@example.org&format=text")
    told = "detector: a person logs in from elsewhere, in a format; a secret: everyone may read /etc/token"
    assert masker.text(told) == told


def test_of_an_address_that_is_a_secret_no_part_is_left() -> None:
    """User, password, token; also where a message tells a part of it alone."""
    masker = Masker()
    masker.know_secret("mailto://ops:hunter2@mail.example.org?to=kim@example.org")
    masker.know_secret("slack://xoxb-123456/T0AAA/B0BBB/tokentoken")
    text = masker.text("535 hunter2 refused; tokentoken is not valid; mailto://ops:hunter2@mail.example.org")
    assert "hunter2" not in text
    assert "tokentoken" not in text
    assert text.startswith(f"535 {SECRET} refused; {SECRET} is not valid")
