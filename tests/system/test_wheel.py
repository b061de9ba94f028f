"""What is installed works without the checkout it was built from."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from detector import shipped

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    # hatchling and its needs are in the environment: nothing has to be fetched.
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(_ROOT)]
    subprocess.run(build, check=True, stderr=subprocess.PIPE)
    (wheel,) = folder.glob("detector-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def _run(site: Path, state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # -P and the path in front: the editable install of the checkout must not be what answers.
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); import detector, detector.cli; "
        f"assert detector.__file__.startswith({str(site)!r}); sys.exit(detector.cli.main(sys.argv[1:]))"
    )
    environment = {**os.environ, "DETECTOR_STATE_FOLDER": str(state)}
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        env=environment, cwd=state, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_an_installed_wheel_carries_migrations_rules_and_kernel_programs(site: Path, tmp_path: Path) -> None:
    """It makes a database, finds the shipped rules without a fault, and has the sources of the kernel side."""
    assert _run(site, tmp_path, "db", "upgrade").returncode == 0
    checked = _run(site, tmp_path, "rules", "check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert str(site) in _run(site, tmp_path, "rules", "list").stdout
    for name in ("tcp.bpf.c", "LICENSE.GPL-2.0", "kernel_headers/include/linux/types.h"):
        assert (site / "detector" / "bpf" / name).read_bytes() == (_ROOT / "detector" / "bpf" / name).read_bytes()
    shipped_here = {path.relative_to(shipped.folder("rules")) for path in shipped.folder("rules").rglob("*.yml")}
    installed = site / "detector" / "shipped" / "rules"
    assert {path.relative_to(installed) for path in installed.rglob("*.yml")} == shipped_here


@pytest.mark.kernel
def test_capture_works_from_an_installed_wheel(site: Path, tmp_path: Path) -> None:
    """doctor finds that the kernel side can be started."""
    assert _run(site, tmp_path, "db", "upgrade").returncode == 0
    examined = _run(site, tmp_path, "doctor")
    assert "good      capture" in examined.stdout
