"""The systemd units: tight, understood by systemd, and about commands that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from detector.cli.program import Program

_UNITS = Path(__file__).parents[2] / "packaging" / "systemd"


def _settings(name: str) -> list[tuple[str, str]]:
    lines = (_UNITS / name).read_text(encoding="utf-8").splitlines()
    return [(key, value) for key, mark, value in (line.partition("=") for line in lines) if mark and key[0] != "#"]


@pytest.mark.parametrize(("unit", "most"), [("detector-detect.service", 20), ("detector-collect.service", 40)])
def test_a_service_is_exposed_no_more_than_its_work_asks_for(unit: str, most: int) -> None:
    """By the measure of systemd, which counts what a service could do beyond its own files, in tenths."""
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={most}", _UNITS / unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    """But for the restarts that come later each time, which older versions do not know, and say so."""
    for unit in _UNITS.iterdir():
        # A program that is there on every machine.
        text = re.sub(r"^(Exec\w+)=/usr/bin/detector .*", r"\1=/bin/true", unit.read_text(), flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(text)
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *sorted(tmp_path.iterdir())],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    ours = [line for line in found.stderr.splitlines() if "detector" in line]
    assert [line for line in ours if "Restart" not in line] == []


@pytest.mark.parametrize("role", ["collect", "detect"])
def test_each_role_has_its_unit(role: str) -> None:
    """It is restarted whatever ends it, watched, without root, and starts what the program has."""
    settings = _settings(f"detector-{role}.service")
    wanted = {"Type": "notify", "Restart": "always", "User": "detector", "NoNewPrivileges": "yes", "UMask": "0027"}
    assert wanted.items() <= dict(settings).items()
    assert "WatchdogSec" in dict(settings)
    started = [value.split() for key, value in settings if key.startswith("Exec")]
    assert started[-1] == ["/usr/bin/detector", role]
    assert {words[1] for words in started} <= Program.verbs.keys()


def test_only_the_collector_has_capabilities_and_those_four_alone() -> None:
    """What parses rules, loads models and speaks to the network has none."""
    of_collect, of_detect = dict(_settings("detector-collect.service")), dict(_settings("detector-detect.service"))
    four = "CAP_BPF CAP_PERFMON CAP_DAC_READ_SEARCH CAP_SYS_PTRACE"
    for key in ("CapabilityBoundingSet", "AmbientCapabilities"):
        assert (of_collect[key], of_detect[key]) == (four, "")
