"""Calls the program as an operator does, and looks at what comes out."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest

from detector import config
from detector.cli import main
from detector.store.engine import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine


@dataclass(frozen=True)
class Outcome:
    """What a call left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Standard output, without trailing blanks."""
        return [line.rstrip() for line in self.out.splitlines()]


class Call(Protocol):
    """`call("query", "--since", "2h")`."""

    def __call__(self, *arguments: str | Path) -> Outcome:
        """Runs the program with these arguments."""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of the machine that runs the tests plays a part, nor its zone."""
    for name in [name for name in os.environ if name.startswith("DETECTOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(config, "SYSTEM_FILE", tmp_path / "none" / "detector.toml")
    monkeypatch.setenv("DETECTOR_STATE_FOLDER", str(tmp_path / "state"))


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The local zone is that of Berlin: an hour or two ahead of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def engine(store: str) -> Iterator[Engine]:
    """The database that the program is configured for."""
    engine = open_store(store)
    yield engine
    engine.dispose()


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """The program within this process, from its entry point."""

    def run(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        written = capsys.readouterr()
        return Outcome(code=code, out=written.out, err=written.err)

    return run


@pytest.fixture
def store(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty database with the current schema, which the program is configured for."""
    monkeypatch.setenv("DETECTOR_DATABASE_URL", sqlite_url)
    return sqlite_url
