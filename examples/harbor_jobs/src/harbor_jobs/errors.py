"""What ends a command or a run: a message, a hint that names the next step, and an exit code."""

from __future__ import annotations


class JobError(Exception):
    """The command or the run failed; `exit_code` 1, and 2 for what was asked wrongly."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[type[JobError], tuple[str]]:
        """Travel as the text: Celery keeps a failed job's exception."""
        return (type(self), (str(self),))


class UsageError(JobError):
    """The command was asked wrongly: an unknown job, a task that can't be run."""

    exit_code = 2


class DatabaseError(JobError):
    """Postgres did not answer in time, or refused."""
