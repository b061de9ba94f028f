"""docs/capture.md is complete."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from detector.bpf.hooks import HOOKS
from detector.bpf.preflight import Capability
from detector.domain import CaptureHealth, ConnectionCount, ConnectionKey, Losses

_TEXT = (Path(__file__).parent.parent / "docs" / "capture.md").read_text(encoding="utf-8")


def _rows(heading: str) -> str:
    """The text under a heading, up to the next."""
    return _TEXT.split(f"# {heading}\n", 1)[1].split("\n#", 1)[0]


def test_every_hook_has_a_row_with_its_attachments_and_what_is_not_seen_without_it() -> None:
    """In the words of `detector doctor`."""
    rows = {line.split("|")[1].strip(): line for line in _rows("Hooks").splitlines() if line.startswith("| ")}
    for hook in HOOKS:
        assert hook.required or rows[hook.name].endswith(f"| {hook.unseen} |")
        assert all(f"`{program.target}`" in rows[hook.name] for way in hook.ways for program in way)


def test_every_kind_of_loss_and_of_health_is_explained() -> None:
    """By the name that it has in the store and in JSON."""
    assert [field.name for field in fields(Losses) if f"`{field.name}`" not in _rows("Losses")] == []
    explained = _rows("Never blind in silence") + _rows("Health")
    assert [field.name for field in fields(CaptureHealth) if f"`{field.name}`" not in explained] == []


def test_every_field_says_how_it_is_learnt() -> None:
    """But for counts and what a row is about, which are explained by what is counted."""
    names = {field.name for kind in (ConnectionKey, ConnectionCount) for field in fields(kind)} - {"key"}
    counted = {"direction", "protocol", "remote_port", "local_port", "attempted", *_outcomes()}
    learnt = _rows("How each field is learnt")
    assert [name for name in sorted(names - counted) if f"`{name}`" not in learnt] == []


def test_every_privilege_that_is_used_is_explained() -> None:
    """But for the one of which others were a part before."""
    unmentioned = {each.name for each in Capability if each.name not in _rows("Privileges")}
    assert unmentioned == {"CAP_SYS_ADMIN"}


def _outcomes() -> set[str]:
    return {"established", "refused", "timed_out", "failed", "handshake_us_total", "handshake_us_max"}
