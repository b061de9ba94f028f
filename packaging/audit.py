"""Looks up known weaknesses of what is locked:  python packaging/audit.py LOCK….

In the environment of requirements/audit.txt, which has pip-audit.

Exit status 1: something locked has a known weakness. Where the service that knows of them cannot be reached, that is
said and nothing fails: what is locked is the same as before.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_UNREACHABLE = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "ServiceError", "Failed to connect", "HTTPError")


def main(locks: list[str]) -> int:
    """Audits each lock file, and returns the exit status."""
    return max(_audit(lock) for lock in locks)


def _audit(lock: str) -> int:
    # Whatever is locked is named with its hash: nothing has to be resolved, or installed.
    command = [Path(sys.executable).with_name("pip-audit"), "--requirement", lock, "--require-hashes", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own tool
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        if any(word in done.stderr for word in _UNREACHABLE):
            _say(f"{lock}: NOT AUDITED, the service with known weaknesses cannot be reached: {last}")
            return 0
        _say(f"{lock}: pip-audit failed: {last}")
        return done.returncode or 1
    return _judge(lock, found)


def _judge(lock: str, found: list[dict[str, Any]]) -> int:
    weak = [(each, weakness) for each in found for weakness in each.get("vulns", ())]
    for each, weakness in weak:
        mended = ", ".join(weakness["fix_versions"]) or "no version yet"
        _say(f"{lock}: {each['name']} {each['version']}: {weakness['id']}; mended in {mended}")
    skipped = [each for each in found if "skip_reason" in each]
    if skipped:
        _say(f"{lock}: {len(skipped)} of {len(found)} packages NOT AUDITED: the service does not know them, or is away")
    if not weak and len(skipped) < len(found):
        _say(f"{lock}: no known weakness in {len(found) - len(skipped)} packages")
    return 1 if weak else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
