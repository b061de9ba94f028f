"""What is wrong with a list is said with line, reason and remedy, and no rule goes on without it in silence."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.ruleset.list_entries import ListKind
from detector.ruleset.lists import read_lists
from detector.ruleset.load import load_rules
from tests.ruleset.writing import event, loaded, write_list

if TYPE_CHECKING:
    from pathlib import Path

_NAMED = "or, in a list of names, '# kind: names' above all"


def _faults(folder: Path) -> list[str]:
    return [str(fault).removeprefix(f"{folder}/lists/") for fault in read_lists([folder])[1]]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ["10.0.0.0/8", "10.1.2.3/8"],
            [f"2: '10.1.2.3/8' has bits set beyond its prefix; write 10.0.0.0/8; {_NAMED}"],
        ),
        (
            ["2001:db8::1/32", "::1"],
            [f"1: '2001:db8::1/32' has bits set beyond its prefix; write 2001:db8::/32; {_NAMED}"],
        ),
        (
            ["10.0.0.1", "10.0.0.256", "10.0.0.0/33", "fe80::1%eth0", "10.0.0.0/", "10.0.0.0/255.0.0.0"],
            [
                f"{number}: {entry!r} is no address or network; write one such as 192.0.2.7 or 10.0.0.0/8; {_NAMED}"
                for number, entry in enumerate(
                    ("10.0.0.256", "10.0.0.0/33", "fe80::1%eth0", "10.0.0.0/", "10.0.0.0/255.0.0.0"), start=2
                )
            ],
        ),
        (
            ["alice", "bob", "10.0.0.1"],
            [
                f"{number}: {entry!r} is no address or network; write one such as 192.0.2.7 or 10.0.0.0/8; {_NAMED}"
                for number, entry in enumerate(("alice", "bob"), start=1)
            ],
        ),
        (
            ["22", "22-21", "65536", "1-", "-1"],
            [
                f"2: '22-21' is no range of ports; write one within 0-65535, smaller first; {_NAMED}",
                f"3: '65536' is no range of ports; write one within 0-65535, smaller first; {_NAMED}",
                f"4: '1-' is no range of ports; write one within 0-65535, smaller first; {_NAMED}",
                f"5: '-1' is no port; write one such as 22, or a range such as 6881-6889; {_NAMED}",
            ],
        ),
        (
            ["# kind: ports", "ssh"],
            [f"2: 'ssh' is no port; write one such as 22, or a range such as 6881-6889; {_NAMED}"],
        ),
        (["# kind: hosts", "a"], ["1: no list is of the kind 'hosts'; did you mean ports?"]),
        (
            ["*.example.org"],
            [
                (
                    "1: '*.example.org' has a wildcard, and names are taken as they stand; write the part that is "
                    "always there, and |startswith|expand, |endswith|expand or |contains|expand in the rule"
                )
            ],
        ),
        (["a" * 501], ["1: the name is longer than 500 characters; shorten it"]),
        (["a\x07b"], ["1: 'a\\x07b' holds an unprintable character; remove it"]),
        (
            ["# nothing yet", ""],
            ["0: holds no entry; write one a line, or '# kind: networks' (ports, names) if it is filled later"],
        ),
        (
            [str(2 * number) for number in range(501)],
            ["0: holds more than 500 ranges of ports; write fewer"],
        ),
    ],
    ids=[
        *("host bits", "host bits of IPv6", "no network", "mixed", "ports", "kind", "unknown kind", "wildcard"),
        *("long name", "control character", "empty", "many ports"),
    ],
)
def test_a_fault_in_a_list_is_named_with_its_line(tmp_path: Path, lines: list[str], expected: list[str]) -> None:
    """Each fault has line, reason and remedy, and the list is refused."""
    write_list(tmp_path, "feed", *lines)
    assert _faults(tmp_path) == [f"feed.txt:{each}" for each in expected]
    assert read_lists([tmp_path])[0].refused == {"feed": str(tmp_path / "lists" / "feed.txt")}


def test_of_many_faults_the_first_are_told(tmp_path: Path) -> None:
    """A file that is no list at all does not fill the terminal."""
    write_list(tmp_path, "feed", "10.0.0.0/8", *(f"line {number}" for number in range(1000)))
    told = _faults(tmp_path)
    assert len(told) == 11
    assert told[-1] == "feed.txt:0: has 990 more faults; correct these first"


def test_files_that_cannot_be_lists_are_faults(tmp_path: Path) -> None:
    """A pipe, bytes that are no text, a folder and a strange name are told apart; what is hidden or no .txt is not."""
    write_list(tmp_path, "sound", "10.0.0.0/8")
    folder = tmp_path / "lists"
    os.mkfifo(folder / "pipe.txt")
    (folder / "latin.txt").write_bytes(b"a\nRen\xe9\n")
    (folder / "below.txt").mkdir()
    (folder / "two words.txt").write_text("a")
    (folder / ".hidden.txt").write_text("*")
    (folder / "README.md").write_text("*")
    lists, _ = read_lists([tmp_path])
    assert _faults(tmp_path) == [
        "below.txt:0: is not a regular file; remove it",
        "latin.txt:2: is not UTF-8 text; save the file as UTF-8",
        "pipe.txt:0: is not a regular file; remove it",
        "two words.txt:0: is no name of a list; rename it with letters, digits, - and _ alone, at most 60",
    ]
    assert list(lists.known) == ["sound"]
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "lists").write_text("10.0.0.0/8")
    (fault,) = read_lists([tmp_path / "below"])[1]
    assert fault.message == "is not a folder; remove it, or move it to a file in such a folder"


def test_a_rule_that_names_a_refused_list_is_refused(tmp_path: Path) -> None:
    """The rule says which file to correct; others stay in force."""
    import yaml

    from detector.ruleset.load import load_rules

    write_list(tmp_path, "feed", "10.1.2.3/8")
    (tmp_path / "a.yml").write_text(yaml.safe_dump(event({"DestinationIp|expand": "%feed%"})))
    (tmp_path / "b.yml").write_text(yaml.safe_dump(event({"User": "root"}, number=2)))
    loaded = load_rules([tmp_path])
    assert [fault.path for fault in loaded.faults] == [str(tmp_path / "a.yml"), str(tmp_path / "lists" / "feed.txt")]
    assert loaded.faults[0].message == f"the list 'feed' is refused; correct {tmp_path}/lists/feed.txt first"
    assert [rule.path for rule in loaded.ruleset.rules] == [str(tmp_path / "b.yml")]


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        (["10.0.0.1"], ListKind.NETWORKS),
        (["::1"], ListKind.NETWORKS),
        (["22", "6000-6063"], ListKind.PORTS),
        (["22", "ssh"], ListKind.NAMES),
        (["# kind: names", "22"], ListKind.NAMES),
        (["# Kind: NAMES", "10.0.0.1"], ListKind.NAMES),
        (["# tools", "#kind:names", "10.0.0.1 # not an address"], ListKind.NAMES),
        (["\ufeff10.0.0.1\r"], ListKind.NETWORKS),
    ],
)
def test_the_kind_of_a_list_is_told_by_what_is_in_it(tmp_path: Path, lines: list[str], kind: ListKind) -> None:
    """Or by a comment above all entries."""
    write_list(tmp_path, "feed", *lines)
    lists, faults = read_lists([tmp_path])
    assert (lists.known["feed"].kind, faults) == (kind, [])


@settings(derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=12) | st.from_regex(r"[0-9a-f:./#% -]{0,20}"), max_size=5))
def test_no_list_ends_in_a_traceback(tmp_path: Path, lines: list[str]) -> None:
    """Whatever stands in it, it gives a list or faults with a line of the file."""
    text = "\n".join(lines)
    (tmp_path / "lists").mkdir(exist_ok=True)
    (tmp_path / "lists" / "feed.txt").write_bytes(text.encode("utf-8", "surrogatepass"))
    lists, faults = read_lists([tmp_path])
    assert bool(lists.known) != bool(faults)
    assert all(0 <= fault.line <= 1 + text.count("\n") and fault.message.isprintable() for fault in faults)


def test_a_rule_on_a_list_that_is_still_empty_waits_for_it(tmp_path: Path) -> None:
    """It is said to wait; one that passes over the list alone, or asks for something else too, is active."""
    write_list(tmp_path, "feed", "# kind: networks", "# nothing yet")
    listed, telnet = {"DestinationIp|expand": "%feed%"}, {"DestinationPort": 23}
    loaded(
        tmp_path,
        event(listed, number=1),
        event([listed, telnet], number=2),
        event(listed, number=3, detection={"telnet": telnet, "known": listed, "condition": "telnet and not known"}),
    )
    entries = load_rules([tmp_path]).entries
    assert [(each.state.value, each.why) for each in entries] == [
        ("waiting for list", "feed"),
        ("active", ""),
        ("active", ""),
    ]
