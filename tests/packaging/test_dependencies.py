"""What is depended on: each with its reason, locked with its hash, and never the wrong bcc."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[2]
_PROJECT: dict[str, Any] = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
_LOCKS = sorted((_ROOT / "requirements").glob("*.txt"))


def _names(requirements: list[str]) -> set[str]:
    """Of requirements, as the index compares them."""
    found = (re.match(r"[A-Za-z0-9._-]+", each) for each in requirements)
    return {re.sub(r"[-_.]+", "-", name[0]).lower() for name in found if name}


def _locked(lock: Path) -> dict[str, str]:
    """What a lock file holds, by name: the version's line and its hashes."""
    entries = re.split(r"\n(?=[A-Za-z0-9])", lock.read_text(encoding="utf-8").strip())
    return {each.split("==")[0].lower(): each for each in entries}


def test_each_dependency_has_its_reason_and_no_other_has() -> None:
    """docs/dependencies.md names what pyproject.toml does."""
    page = (_ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z0-9-]+) \| .{20,} \| .* \|$", page, re.MULTILINE)
    assert set(rows) == _names(_PROJECT["project"]["dependencies"])
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize("lock", _LOCKS, ids=lambda lock: lock.stem)
def test_all_that_is_locked_has_its_version_and_hash(lock: Path) -> None:
    """Nothing else than what was tested can be installed from it."""
    entries = _locked(lock)
    assert [name for name, entry in entries.items() if not re.match(r"\S+==\S+", entry)] == []
    assert [name for name, entry in entries.items() if "--hash=sha256:" not in entry] == []


def test_what_is_declared_is_locked() -> None:
    """A dependency that was added without `make lock` is named."""
    locked = _locked(_ROOT / "requirements" / "runtime.txt").keys()
    assert _names(_PROJECT["project"]["dependencies"]) - locked == set()


def test_the_unrelated_bcc_of_the_python_index_is_nowhere() -> None:
    """Neither declared, nor locked, nor brought along by anything else; the distribution's is asked for by its name."""
    groups = [each for group in _PROJECT["dependency-groups"].values() for each in group]
    extras = [each for extra in _PROJECT["project"].get("optional-dependencies", {}).values() for each in extra]
    declared = _names([*_PROJECT["project"]["dependencies"], *groups, *extras, *_PROJECT["build-system"]["requires"]])
    locked = {name for lock in _LOCKS for name in _locked(lock)}
    assert {"bcc", "bpfcc", "python-bcc"} & (declared | locked) == set()
    assert "python3-bpfcc" in (_ROOT / "packaging" / "debian" / "control").read_text(encoding="utf-8")
