"""Entries of the log as a real journal keeps them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_JOURNALD = Path("/lib/systemd/systemd-journald")
_SAY = """
from detector.log import Format, Level, Log
said = Log("detect", Format.JOURNAL)
said.say(Level.WARNING, "fault", "mail: refused \\x1b[2J", host="bastion-1")
print("bastion-1: alice\\nmore of it", file=said.stream("alert"))
"""
# A journal of its own, in places that only these processes see.
_SCRIPT = f"""
set -eu
mount -t tmpfs none /run
mkdir -p /run/systemd/journal /run/log/journal/$(cat /etc/machine-id)
{_JOURNALD} 2>/dev/null & journal=$!
trap 'kill $journal' EXIT
while ! [ -S /run/systemd/journal/socket ]; do sleep 0.05; done
"$@"
read() {{ journalctl --directory=/run/log/journal --no-pager --quiet -t detector -o json "$@"; }}
while [ "$(read | wc -l)" != 2 ]; do sleep 0.1; done
read -p warning
read DETECTOR_EVENT=alert
"""


def test_a_real_journal_finds_entries_by_their_fields() -> None:
    """By priority and by event; a block of lines is one entry."""
    assert _JOURNALD.exists(), "systemd is not installed: apt-get install systemd (make test does)"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", _SCRIPT, "sh", sys.executable, "-c", _SAY],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    wrong, alert = map(json.loads, done.stdout.splitlines())
    assert (wrong["MESSAGE"], wrong["DETECTOR_HOST"], wrong["PRIORITY"]) == ("mail: refused \\x1b[2J", "bastion-1", "4")
    assert (alert["MESSAGE"], alert["DETECTOR_ROLE"]) == ("bastion-1: alice\nmore of it", "detect")
