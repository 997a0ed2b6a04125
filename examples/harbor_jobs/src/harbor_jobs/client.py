"""What the commands do: submit a task, queue its runs again, and tell what became of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from harbor_jobs import files, intake, layout, publication, rows, running, storage
from harbor_jobs.errors import DatabaseError, JobError, UsageError
from harbor_jobs.outcome import DONE, FAILED
from harbor_jobs.queue import Queue, QueueError
from harbor_jobs.rows import QUEUED, RUNNING, Database, Job, Row
from harbor_jobs.storage import StalledError

SETTLED = (DONE, FAILED)
STATES = (QUEUED, RUNNING, DONE, FAILED)
_POLL_SECONDS = 1.0
_LOOK_SECONDS = 5.0  # between looks at what Celery says: for runs whose process can't speak for itself
_LOG_SECONDS = 0.5
_UPLOAD_SECONDS = 120.0  # for a piece of a task: an NFS server that starts again lets nobody open a file for 90 s


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
        upload = self.uploads / job.job
        accept = partial(intake.accept, job, fill, uploads=self.uploads, jobs=self.jobs)
        try:
            directory = storage.touch(accept, seconds=_UPLOAD_SECONDS)
        except StalledError as error:
            hint = f"nothing is queued; submit again when it is back, and remove {upload} if it is there"
            raise StalledError(error.message, hint=hint) from None
        try:
            self.database.submit(job)
        except DatabaseError:
            with suppress(JobError):  # no message is out yet
                storage.touch(_withdraw, directory, upload)
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
        results = storage.touch(_results, directory, range(1, job.runs + 1))
        missing = []
        for number in range(1, job.runs + 1):
            found = results.get(number)
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
        return storage.touch(_described, directory), directory

    def status(self, name: str, *, looks_at_queue: bool = True) -> Row:
        """Return a job with the counts of its runs' states; what Celery gave up on becomes a failed run.

        The storage is asked for what the rows do not tell, and for nothing else: they tell when it stalls, too.
        """
        layout.job_directory(self.jobs, name)
        if looks_at_queue:
            self._note_given_up(name)
        found = self.database.jobs(name)
        if not found:
            self.job(name)
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
            try:
                status = self.status(name, looks_at_queue=is_time)
            except StalledError:  # they are looked at when it is back
                status = self.status(name, looks_at_queue=False)
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
            try:
                found = storage.touch(_log, directory, number, read, attempt)
                if found is None:
                    self._explain(job, directory, number, is_followed=is_followed)
            except StalledError as error:
                if not is_followed:
                    raise
                on_news(error.message)
                continue
            if found is not None:
                data, start, newest = found
                if newest is not None and attempt not in (None, newest):
                    on_news(f"run {number} was started again")
                read, attempt = start + len(data), newest
                yield data
                if newest is None or not is_followed:
                    return
            time.sleep(_LOG_SECONDS)

    def _explain(self, job: Job, directory: Path, number: int, *, is_followed: bool) -> None:
        """Return where a log may still come; JobError where none is and none will be."""
        state, error = next(
            ((row["state"], row["error"]) for row in self.database.runs(job.job) if row["run"] == number),
            (QUEUED, None),
        )
        if storage.touch(_results, directory, [number]):  # it has just come
            return
        if state == FAILED:
            raise JobError(f"run {number} failed and left no log: {error}", hint=f"harbor-jobs resubmit {job.job}")
        if not is_followed:
            raise JobError(f"run {number} is {state}: there is no log yet", hint="--follow waits for it")
        time.sleep(_POLL_SECONDS)

    def _note_given_up(self, name: str) -> None:
        open_runs = {row["run"]: row for row in self.database.runs(name) if row["state"] not in SETTLED}
        reasons = self.make_queue().failures(name, open_runs)
        if not reasons:
            return
        job, directory = self.job(name)
        results = storage.touch(_results, directory, reasons)
        settled = []
        for number, reason in reasons.items():
            if found := results.get(number):
                settled.append(rows.published(found[1], str(found[0])))
            else:
                facts = {key: open_runs[number][key] for key in ("host", "unit", "attempt", "started_at")}
                settled.append(rows.failed(name, number, reason, facts))
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


# What is done on the storage, in a child.


def _described(directory: Path) -> Job:
    if not (directory / layout.DESCRIPTION).is_file():
        raise UsageError(f"there is no job {directory.name}", hint="harbor-jobs list")
    return running.describe(directory)


def _results(directory: Path, numbers: Iterable[int]) -> dict[int, tuple[Path, Row]]:
    """Return where the results of those runs are that have one, and what they say."""
    results = {}
    for number in numbers:
        if found := publication.find(directory, number):
            results[number] = found
        storage.still_here()
    return results


def _withdraw(directory: Path, gone: Path) -> None:
    """Remove a job; by rename first, so that no half of it is ever seen."""
    files.rename(directory, gone)
    files.remove(gone)


def _log(directory: Path, number: int, read: int, attempt: str | None) -> tuple[bytes, int, str | None] | None:
    """Return what is new of a run's log, where that begins, and the attempt that still writes it (None: it is whole).

    `read` bytes of the log of `attempt` are known. None where there is no log.
    """
    if found := publication.find(directory, number):
        path, result = found
        start = read if attempt in (None, result.get("attempt")) else 0
        return _rest(path / layout.LOG, start), start, None
    if not (live := layout.live_logs(directory, number)):
        return None
    newest = layout.attempt_of(live[-1], number)
    start = read if attempt in (None, newest) else 0
    return _rest(live[-1], start), start, newest


def _rest(path: Path, read: int) -> bytes:
    """Return what a file has beyond the first bytes; nothing where it has just been removed."""
    try:
        with path.open("rb") as file:  # anew each time: over NFS, opening is what asks the server
            file.seek(read)
            return file.read()
    except FileNotFoundError:
        return b""
