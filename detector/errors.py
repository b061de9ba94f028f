"""Expected faults: each has a message, a remedy and an exit code. Only the command line turns one into text."""

from __future__ import annotations

from dataclasses import dataclass

OF_VALUES = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, AssertionError)
"""What Python raises where a value is not of the kind that it should be: a mistake of ours, or of whoever wrote it."""


class DetectorError(Exception):
    """A fault that an operator can mend.

    Args:
        message: what is wrong, in one sentence, with the value that caused it.
        hint: what to do about it; empty when the message says it already.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(DetectorError):
    """A configuration file or environment variable holds something that is not understood."""

    exit_code = 78  # EX_CONFIG of sysexits(3)


class RuleError(DetectorError):
    """One or more rule files are refused; every fault of every file is in `faults`."""

    exit_code = 65  # EX_DATAERR

    def __init__(self, faults: tuple[RuleFault, ...]) -> None:
        count = len(faults)
        super().__init__(
            "\n".join(str(fault) for fault in faults),
            hint=f"{count} fault{'s' if count != 1 else ''}; nothing was loaded from the files named",
        )
        self.faults = faults


class RuleWriteError(DetectorError):
    """A rule file cannot be written; what was there is as it was."""

    exit_code = 73  # EX_CANTCREAT


@dataclass(frozen=True, slots=True, order=True)
class RuleFault:
    """One fault in one rule file; printed as `path:line: what is wrong; what to write instead`."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


class TemplateFault(RuleFault):
    """One fault in one template of messages; printed in the same way."""


class StoreError(DetectorError):
    """The database is away, too old, or refuses what was asked."""

    exit_code = 74  # EX_IOERR


class TamperedError(StoreError):
    """What is stored is not what was written."""

    exit_code = 1


class StoreAwayError(StoreError):
    """The database does not answer now, or has no room: what is to be stored has to wait."""


class StoreDamagedError(StoreError):
    """The file of an SQLite database is not what SQLite wrote.

    Args:
        message: see `DetectorError`.
        hint: see `DetectorError`.
        inode: of the file; None: of whichever is there.
    """

    def __init__(self, message: str, *, hint: str = "", inode: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.inode = inode


class SpoolError(DetectorError):
    """Snapshots cannot be put on disk to wait for the database."""

    exit_code = 74  # EX_IOERR


class CaptureError(DetectorError):
    """The kernel side cannot be loaded or read."""

    exit_code = 71  # EX_OSERR


class AlreadyRunningError(CaptureError):
    """Another collector runs on this host."""

    exit_code = 69  # EX_UNAVAILABLE


class PreflightError(CaptureError):
    """The machine lacks something that capture needs; every fault is named at once, each with its remedy."""

    exit_code = 69  # EX_UNAVAILABLE

    def __init__(self, faults: tuple[tuple[str, str], ...]) -> None:
        lines = [f"- {fault}\n  remedy: {remedy}" for fault, remedy in faults]
        super().__init__("connects cannot be captured on this machine:\n" + "\n".join(lines))
        self.faults = faults


class ModelError(DetectorError):
    """A stored model cannot be used."""


class EstimatorsError(ModelError):
    """The process that grows and reads forests did not do so; nothing is wrong with a forest, and it is tried again."""


class DeliveryError(DetectorError):
    """A notification could not be delivered; the outbox keeps it and tries again."""


class ChartError(DetectorError):
    """A picture could not be drawn; what it belongs to is sent without it."""


class LogError(DetectorError):
    """A log that is to be imported cannot be read, is not what it was named for, or holds lines that are refused."""

    exit_code = 65  # EX_DATAERR
