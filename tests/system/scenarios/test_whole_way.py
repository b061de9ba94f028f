"""From a login to a row that an operator reads: sshd, sudo, `detector collect` and `detector query`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.system.scenarios.namespaces import BASTION, CLIENT, TARGET
from tests.system.scenarios.rows import program
from tests.system.scenarios.sshd import ALICE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.scenarios.sshd import Login

pytestmark = pytest.mark.kernel

_DETECTOR = [sys.executable, "-m", "detector"]


def _collected(state: Path, login: Login, command: str) -> list[dict[str, object]]:
    """The rows of what Alice's command sent to the target, as `detector query` gives them."""
    environment = {
        **os.environ, "DETECTOR_STATE_FOLDER": str(state), "DETECTOR_COLLECTOR_INTERVAL_SECONDS": "1",
    }  # fmt: skip
    with subprocess.Popen([*_DETECTOR, "collect"], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            assert any("snapshot" in line for line in process.stdout)
            login.run(BASTION, command)
        finally:
            # The last snapshot is stored at the end.
            process.terminate()
            process.communicate()
    query = [*_DETECTOR, "query", "--to", TARGET, "--direction", "outbound", "--json"]
    found: list[dict[str, object]] = json.loads(
        subprocess.run(query, check=True, env=environment, capture_output=True).stdout
    )
    return found


@pytest.mark.usefixtures("sqlite_url")
def test_the_row_reads_alice_from_her_client_as_root_through_sudo(login: Login, tmp_path: Path) -> None:
    """Who logged in, from where and how that is known, as whom it went on, with what, and where to."""
    (row,) = _collected(tmp_path, login, f"sudo -n nc -z -w5 {TARGET} 7001")
    assert row["login_source"]
    expected = {
        "login_user": ALICE,
        "login_address": CLIENT,
        "user": "root",
        "parent_executable": program("sudo"),
        "executable": program("nc"),
        "protocol": "tcp",
        "remote_address": TARGET,
        "remote_port": 7001,
        "attempted": 1,
        "established": 1,
    }
    assert {name: row[name] for name in expected} == expected
