"""What the commands do: submit a task, queue its runs again, and tell what became of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harbor_jobs import files, intake, layout, publication, rows, running
from harbor_jobs.errors import DatabaseError, JobError, UsageError
from harbor_jobs.outcome import DONE, FAILED
from harbor_jobs.queue import Queue, QueueError
from harbor_jobs.rows import QUEUED, RUNNING, Database, Job, Row

SETTLED = (DONE, FAILED)
STATES = (QUEUED, RUNNING, DONE, FAILED)
_POLL_SECONDS = 1.0
_LOOK_SECONDS = 5.0  # between looks at what Celery says: for runs whose process can't speak for itself
_LOG_SECONDS = 0.5


@dataclass(frozen=True)
class Client:
    """The fleet's storage, database and queue, seen from a client host."""

    jobs: Path
    uploads: Path
    database: Database
    make_queue: Callable[[], Queue] = Queue

    def submit(self, job: Job, fill: Callable[[Path], None], on_queued: Callable[[int], None]) -> None:
        """Store the task, write the rows, publish the runs; a failure of the first two leaves nothing behind."""
        queue = self.make_queue()
        directory = intake.accept(job, fill, uploads=self.uploads, jobs=self.jobs)
        try:
            self.database.submit(job)
        except DatabaseError:
            # No message is out yet. By rename, so that no half of a job is ever seen.
            gone = self.uploads / job.job
            directory.rename(gone)
            files.remove(gone)
            raise
        self._publish(queue, job, list(range(1, job.runs + 1)), on_queued)

    def resubmit(self, name: str, numbers: tuple[int, ...], on_queued: Callable[[int], None]) -> list[int]:
        """Queue again the runs that have no result and are not running, or `numbers`; return which.

        Rows that are missing are written, from the files.
        """
        job, directory = self.job(name)
        if wrong := [number for number in numbers if not 1 <= number <= job.runs]:
            raise UsageError(f"{name} has the runs 1 to {job.runs}, not {wrong[0]}")
        queue = self.make_queue()
        self.database.submit(job)
        states = {row["run"]: row["state"] for row in self.database.runs(name)}
        missing = []
        for number in range(1, job.runs + 1):
            found = publication.find(directory, number)
            if found is not None:
                if states[number] not in SETTLED:
                    self.database.settle(job, rows.published(found[1], str(found[0])))
            elif number in numbers or (not numbers and states[number] != RUNNING):
                missing.append(number)
        queue.forget(name, missing)
        self.database.requeue(job, missing)
        self._publish(queue, job, missing, on_queued)
        return missing

    def job(self, name: str) -> tuple[Job, Path]:
        """Return a job and its directory; UsageError where there is none of this name."""
        directory = layout.job_directory(self.jobs, name)
        if not (directory / layout.DESCRIPTION).is_file():
            raise UsageError(f"there is no job {name}", hint="harbor-jobs list")
        return running.describe(directory), directory

    def status(self, name: str, *, looks_at_queue: bool = True) -> Row:
        """Return a job with the counts of its runs' states; what Celery gave up on becomes a failed run."""
        job, directory = self.job(name)
        if looks_at_queue:
            open_runs = [row for row in self.database.runs(name) if row["state"] not in SETTLED]
            self._note_given_up(job, directory, open_runs)
        found = self.database.jobs(name)
        if not found:
            raise JobError(f"the database does not know {name}", hint=f"harbor-jobs resubmit {name} writes its rows")
        return found[0]

    def wait(self, name: str, seconds: float | None, on_change: Callable[[Row], None]) -> tuple[Row, bool]:
        """Return the status once all runs are settled, and True; or the last one and False when the time is over."""
        deadline = None if seconds is None else time.monotonic() + seconds
        looked = shown = None
        while True:
            is_time = looked is None or time.monotonic() - looked >= _LOOK_SECONDS
            if is_time:
                looked = time.monotonic()
            status = self.status(name, looks_at_queue=is_time)
            counts = tuple(status[state] for state in STATES)
            if counts != shown:
                shown = counts
                on_change(status)
            if status[QUEUED] + status[RUNNING] == 0:
                return status, True
            if deadline is not None and time.monotonic() >= deadline:
                return status, False
            time.sleep(_POLL_SECONDS)

    def results(self, name: str) -> list[Row]:
        """Return the rows of a job's runs."""
        self.status(name)
        return self.database.runs(name)

    def log(self, name: str, number: int, *, is_followed: bool, on_news: Callable[[str], None]) -> Iterator[bytes]:
        """Yield trial.log of a run, as far as it is there, or as it grows until the run ends."""
        job, directory = self.job(name)
        if not 1 <= number <= job.runs:
            raise UsageError(f"{name} has the runs 1 to {job.runs}, not {number}")
        read, attempt = 0, None
        while True:
            if found := publication.find(directory, number):
                path, result = found
                yield _rest(path / layout.LOG, read if attempt in (None, result.get("attempt")) else 0)
                return
            if live := layout.live_logs(directory, number):
                newest = layout.attempt_of(live[-1], number)
                if attempt not in (None, newest):
                    on_news(f"run {number} was started again")
                    read = 0
                attempt = newest
                data = _rest(live[-1], read)
                read += len(data)
                yield data
                if not is_followed:
                    return
            else:
                self._explain(job, directory, number, is_followed=is_followed)
            time.sleep(_LOG_SECONDS)

    def _explain(self, job: Job, directory: Path, number: int, *, is_followed: bool) -> None:
        """Return where a log may still come; JobError where none is and none will be."""
        state, error = next(
            ((row["state"], row["error"]) for row in self.database.runs(job.job) if row["run"] == number),
            (QUEUED, None),
        )
        if publication.find(directory, number):  # it has just come
            return
        if state == FAILED:
            raise JobError(f"run {number} failed and left no log: {error}", hint=f"harbor-jobs resubmit {job.job}")
        if not is_followed:
            raise JobError(f"run {number} is {state}: there is no log yet", hint="--follow waits for it")
        time.sleep(_POLL_SECONDS)

    def _note_given_up(self, job: Job, directory: Path, open_runs: list[Row]) -> None:
        reasons = self.make_queue().failures(job.job, [row["run"] for row in open_runs])
        settled = []
        for row in open_runs:
            if row["run"] in reasons:
                found = publication.find(directory, row["run"])
                facts = {name: row[name] for name in ("host", "unit", "attempt", "started_at")}
                settled.append(
                    rows.published(found[1], str(found[0]))
                    if found
                    else rows.failed(job.job, row["run"], reasons[row["run"]], facts)
                )
        if settled:
            self.database.settle(job, *settled)

    def _publish(self, queue: Queue, job: Job, numbers: list[int], on_queued: Callable[[int], None]) -> None:
        count = 0
        try:
            for number in queue.publish(job.job, numbers):
                count += 1
                on_queued(number)
        except QueueError as exc:
            raise QueueError(
                f"{job.job}: {count} of {len(numbers)} runs are queued: {exc.message}",
                hint=f"when Redis answers again: harbor-jobs resubmit {job.job}",
            ) from exc


def connect(environ: Mapping[str, str]) -> Client:
    """Return the client of the fleet that the environment names."""
    return Client(
        Path(layout.variable(environ, "JOBS_DIR")),
        Path(layout.variable(environ, "UPLOADS_DIR")),
        Database(layout.variable(environ, "DATABASE_URL")),
    )


def new_job(name: str, *, executor: str, agent: str, model: str | None, runs: int) -> Job:
    """Return a job to submit, with an id that no other has."""
    return Job(layout.new_job(name), name, executor, agent, model, runs, datetime.now(UTC).isoformat())


def _rest(path: Path, read: int) -> bytes:
    """Return what a file has beyond the first bytes; nothing where it has just been removed."""
    try:
        with path.open("rb") as file:  # anew each time: over NFS, opening is what asks the server
            file.seek(read)
            return file.read()
    except FileNotFoundError:
        return b""
