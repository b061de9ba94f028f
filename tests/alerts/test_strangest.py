"""Which sentences say why an alert is unusual."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from detector.alerts.strangest import strangest

_SENTENCES = st.sampled_from(
    [f"{number} of 1,490 connects to 10.0.4.{host} failed" for number in ("743", "1,461") for host in (1, 2)]
    + [f"first contact with port {port}, in about 1 hour of {often}" for port in (22, 4444) for often in ("2", "2,848")]
)
_SAID = st.lists(st.tuples(st.sampled_from([1.0, 2.5, 7.0]), _SENTENCES), max_size=12)


def test_one_sentence_stands_for_those_that_count_otherwise() -> None:
    """Figures alone make no other sentence; an address, a port, or a network does."""
    said = [
        (5.0, "743 of 771 connects to 10.0.4.12 failed within 1 h, where 0.0% do on this host"),
        (7.0, "1,461 of 1,490 connects to 10.0.4.12 failed within 1 h, where 0.1% do on this host"),
        (6.0, "743 of 771 connects to 10.0.4.13 failed within 1 h, where 0.0% do on this host"),
        (4.0, "first contact with port 22 of any destination, in about 1 hour of 20."),
        (4.5, "first contact with port 23 of any destination, in about 1 hour of 1.5."),
        (3.0, "first contact with port 22 of any destination, in about 1 hour of 30."),
        (1.0, "fd00::12 is new"),
        (1.0, "fd00::13 is new"),
        (0.5, "3 new ports of 192.0.2.0/24"),
    ]
    assert [sentence for _, sentence in strangest(said, 9)] == [said[at][1] for at in (1, 2, 4, 3, 6, 7, 8)]
    assert strangest(said, 2) == (said[1], said[2])
    assert strangest([], 3) == ()


@given(_SAID, _SAID)
def test_what_is_added_may_come_in_any_order(some: list[tuple[float, str]], more: list[tuple[float, str]]) -> None:
    """An alert says the same, whichever snapshot is looked at first, and if one is looked at twice."""
    together = strangest(some + more, 3)
    assert strangest(strangest(some, 3) + strangest(more, 3), 3) == together
    assert strangest(more + some + more, 3) == together
