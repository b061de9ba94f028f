"""Names for numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.bpf.processes import UNKNOWN_ID
from detector.collector.attribution import Attribution, ControlGroup, control_group

_ID = "0123456789ab" + "c" * 52


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", ControlGroup()),
        ("/system.slice/ssh.service", ControlGroup(unit="ssh.service")),
        ("/system.slice/system-getty.slice/getty@tty1.service", ControlGroup(unit="getty@tty1.service")),
        ("/user.slice/user-1000.slice/session-3.scope", ControlGroup(unit="user-1000.slice", session=3)),
        ("/user.slice/user-0.slice/session-c12.scope", ControlGroup(unit="user-0.slice", session=12)),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/tmux.service",
            ControlGroup(unit="user@1000.service"),
        ),
        (f"/system.slice/docker-{_ID}.scope", ControlGroup(container="0123456789ab")),
        (f"/docker/{_ID}", ControlGroup(container="0123456789ab")),
        (f"/machine.slice/libpod-{_ID}.scope/container", ControlGroup(container="0123456789ab")),
        (
            f"/kubepods.slice/kubepods-besteffort.slice/kubepods-pod1.slice/cri-containerd-{_ID}.scope",
            ControlGroup(container="0123456789ab"),
        ),
        (f"/system.slice/containerd.service/kubepods/pod7/{_ID}", ControlGroup("containerd.service", None, _ID[:12])),
        ("/lxc.payload.web", ControlGroup(container="web")),
        ("/init.scope", ControlGroup(unit="init.scope")),
    ],
)
def test_a_control_group_says_unit_session_and_container(path: str, expected: ControlGroup) -> None:
    """Whatever manager made it; a login's scope counts as its user's slice, which stays the same."""
    assert control_group(path) == expected


def test_users_are_names_where_the_host_knows_one() -> None:
    """Else the number; and nobody is nobody."""
    attribution = Attribution()
    assert attribution.user(0) == "root"
    assert attribution.user(3_999_999_999) == "3999999999"
    assert attribution.user(UNKNOWN_ID) is None


def test_a_control_group_that_is_gone_is_unknown_not_guessed() -> None:
    """A number that no folder has gives nothing."""
    assert Attribution().group(2**63) == ControlGroup()


@pytest.mark.kernel
def test_a_control_group_is_found_by_its_number() -> None:
    """The number of the folder leads back to the folder."""
    mounts = [line.split(" ") for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    root = next(where for _, where, kind, *_ in mounts if kind == "cgroup2")
    folder = Path(root) / "detector-test.service"
    folder.mkdir()
    try:
        assert Attribution().group(folder.stat().st_ino) == ControlGroup(unit="detector-test.service")
    finally:
        folder.rmdir()
