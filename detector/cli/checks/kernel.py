"""The kernel: what capture needs of it and of this user, and what its hooks cannot see."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from detector.cli.checks import running
from detector.cli.checks.check import bad, doubtful, good
from detector.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.bpf.preflight import Subject
    from detector.cli.checks.check import Check
    from detector.config import Settings

# Entries of the maps of programs that are loaded to see whether they can be.
_FEW = 64
_TYPES_REMEDY = "needs a kernel that describes its structures (CONFIG_DEBUG_INFO_BTF=y)"


def kernel() -> Iterator[Check]:
    """What the machine and this user lack."""
    from detector.bpf import preflight

    for subject in preflight.subjects():
        yield from _of(subject)


def _of(subject: Subject) -> Iterator[Check]:
    from detector.bpf import preflight
    from detector.bpf.btf import KERNEL_TYPES

    for fault, remedy in subject.faults:
        yield bad(subject.name, fault, remedy)
    for doubt, remedy in subject.doubts:
        yield doubtful(subject.name, doubt, remedy)
    if not subject.faults and not subject.doubts:
        well = {
            "kernel": f"Linux {os.uname().release} is new enough",
            "kernel types": f"{KERNEL_TYPES} describes the kernel's structures (BTF)",
            "tracefs": "is mounted, with all that counting needs",
            "capabilities": "this user may load the kernel programs, and see whose connects they are",
            "bcc": f"{preflight.bcc_version() or 'a version that it does not tell'} is installed",
        }
        yield good(subject.name, well[subject.name])


def is_the_services(cache: Path, *, installed: bool) -> bool:
    """Whether programs are kept for the unit's account alone: root takes none that somebody else may have changed.

    Args:
        cache: the folder of compiled programs.
        installed: whether systemd has a unit of ours.
    """
    try:
        owner = cache.stat().st_uid
    except OSError:
        return False
    return installed and os.geteuid() == 0 != owner


def hooks(settings: Settings) -> Iterator[Check]:
    """Tries to load the programs, beside those of a collector that runs; which hooks are in use, and what is unseen."""
    from detector.bpf import preflight

    if preflight.faults():
        yield doubtful(
            "hooks",
            "could not be tried, so what cannot be seen is not known",
            "mend what is wrong with capture, or run doctor with the privileges of detector collect",
        )
        return
    from detector.bpf.capture import Capture
    from detector.bpf.hooks import HOOKS

    cache = settings.collector.cache_folder
    try:
        with Capture(map_entries=_FEW, folded_entries=_FEW, cache=cache) as capture:
            states, untyped, uncached = capture.hooks, capture.untyped, capture.uncached
    except DetectorError as fault:
        yield bad("capture", fault.message, "what the compiler and the kernel say of it is shown by: detector collect")
        return
    yield good("capture", "can be started here")
    if cache and uncached and not is_the_services(Path(cache), installed=running.are_installed()):
        finding = f"each start takes the compiler, since what it makes cannot be kept: {uncached}"
        yield doubtful("capture", finding, "mend that, or set collector.cache_folder")
    if untyped:
        finding = f"not known: executables, logins, and why connects fail ({untyped})"
        yield doubtful("hooks", finding, _TYPES_REMEDY)
    ways = {hook.name: hook.ways for hook in HOOKS}
    for state in states:
        if state.in_use:
            # Some attachments hold more than one program.
            used = ", ".join(dict.fromkeys(state.in_use))
            yield good("hooks", f"{state.name}: seen through {used}")
            continue
        needed = " or ".join(", ".join(dict.fromkeys(map(str, way))) for way in ways[state.name])
        remedy = _TYPES_REMEDY if untyped else f"needs a kernel that has: {needed}"
        yield doubtful("hooks", f"{state.name}: not in use; not seen: {state.unseen}", remedy)
