"""The one exception tree, with its exit codes.

    FleetError            1   something that was asked correctly did not work
    |- UsageError         2   asked wrongly: arguments, environment
    |  |- SpecError       2   fleet.yml is wrong; carries every problem at once
    |  `- CapabilityError 2   this provider cannot do that
    |- ProviderError      1   the provider of hosts failed
    |- ConnectError       1   a host could not be reached, or its key is not the pinned one
    |- ConvergeError      1   Ansible could not run at all
    |- LockError          1   another fleetctl is changing this fleet
    `- UnhealthyError     3   asked correctly, and the answer is bad

An interrupt (Ctrl-C) exits with 130. Anything else that escapes is a bug and shows its traceback.
Messages say what, which and why, in lower case with no full stop; a hint is the next thing to type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

INTERRUPTED = 130


class FleetError(Exception):
    """Root of every error that a user may meet; rendered once, by the CLI."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(FleetError):
    """Asked wrongly."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One mistake in a file: where it is, what is wrong, how to mend it."""

    file: str
    line: int
    key: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}: {self.message}"


class SpecError(UsageError):
    """fleet.yml cannot be used; `problems` holds all of them, in the file's order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{p}\n    fix: {p.fix}" for p in self.problems))


class CapabilityError(UsageError):
    """The fleet's provider does not offer what was asked."""


class ProviderError(FleetError):
    """A provider of hosts failed."""


class ConnectError(FleetError):
    """A host could not be reached, or is not the host that it should be."""


class ConvergeError(FleetError):
    """Ansible could not be run, or ended in a way that says nothing about hosts."""


class LockError(FleetError):
    """Somebody else is changing this fleet."""


class UnhealthyError(FleetError):
    """Asked correctly, and the answer is bad."""

    exit_code = 3
