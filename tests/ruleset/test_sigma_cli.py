"""What detection engineers check rules with takes ours: sigma-cli, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from detector import shipped

_SIGMA = Path(__file__).parents[2] / "build" / "sigma" / "bin" / "sigma"
# Both fetch their lists of tags from the internet.
_ONLINE = ("attacktag", "d3_fendtag")


def test_sigma_check_accepts_every_shipped_rule(tmp_path: Path) -> None:
    """`sigma check` finds neither errors nor issues in the shipped rules, with no network but for two validators."""
    assert _SIGMA.exists(), "sigma-cli is not installed: make build/sigma/stamp (make test does)"
    excluded = [word for name in _ONLINE for word in ("--exclude", name)]
    done = subprocess.run(
        [_SIGMA, "check", "--fail-on-error", "--fail-on-issues", *excluded, shipped.folder("rules")],
        capture_output=True,
        text=True,
        check=False,
        # It has a library of the same name as ours, and caches below the home folder.
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Found 0 errors, 0 condition errors and 0 issues." in done.stdout
