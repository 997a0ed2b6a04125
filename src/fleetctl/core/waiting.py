"""How long the jobs of drained units may still take, from what jobs of their kind took. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleetctl.core.survey import Survey
from fleetctl.core.targets import node
from fleetctl.model import Unit


@dataclass(frozen=True)
class Running:
    """One job that runs. `since`: epoch seconds. `left`: seconds that it may still take by the mean of its task's runs
    (None: nothing is known of it, or it runs longer than they did); `at_most`: until its time limit, None without."""

    job: str
    task: str
    queue: str
    unit: str
    host: str
    since: float | None = None
    left: float | None = None
    at_most: float | None = None


@dataclass(frozen=True)
class Waiting:
    """What still runs on some units. `silent`: units whose heartbeat is stale, so that nobody knows what they do;
    `unready`: live units that have not taken notice of their drain yet, or still hold a job that does not run."""

    jobs: tuple[Running, ...]
    silent: tuple[str, ...] = ()
    unready: tuple[str, ...] = ()

    @property
    def is_over(self) -> bool:
        """Tell whether nothing runs there, and nothing will begin."""
        return not self.jobs and not self.silent and not self.unready

    @property
    def seconds(self) -> float | None:
        """When all are done, as far as runs of the last minutes tell; None: that is not known."""
        left = [job.left for job in self.jobs]
        if any(one is None for one in left):
            return None
        return max((one for one in left if one is not None), default=0.0)

    @property
    def at_most(self) -> float | None:
        """When the last is done or was ended by its time limit; None where one has none."""
        most = [job.at_most for job in self.jobs]
        if any(one is None for one in most):
            return None
        return max((one for one in most if one is not None), default=0.0)


def run_seconds(minutes: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """Return task -> mean seconds of its runs in these minutes."""
    sums: dict[str, float] = {}
    for of in minutes.values():
        for name, value in of.items():
            sums[name] = sums.get(name, 0.0) + value
    runs = {name.removesuffix("|runs"): count for name, count in sums.items() if name.endswith("|runs") and count > 0}
    return {task: sums.get(f"{task}|seconds", 0.0) / count for task, count in runs.items()}


def waiting(look: Survey, units: Sequence[Unit], limits: Mapping[str, int | None]) -> Waiting:
    """Return what runs on these units. `limits`: pool -> time limit of its jobs in seconds, None where none is kept.

    A unit without a heartbeat does not run, and neither does any job of it.
    """
    beats = {beat.name: beat for beat in look.units}
    means = run_seconds(look.minutes)
    jobs: list[Running] = []
    silent, unready = [], []
    for unit in units:
        beat = beats.get(node(unit))
        if beat is None:
            continue
        if not look.is_live(beat):
            silent.append(beat.name)
        elif not beat.is_draining or beat.reserved or beat.busy > len(beat.jobs):
            unready.append(beat.name)
        for job in beat.jobs:
            ran = max(0.0, look.now - job.started) if job.started is not None else None
            mean, limit = means.get(job.task), limits.get(unit.pool)
            left = mean - ran if mean is not None and ran is not None and mean > ran else None
            most = max(0.0, limit - ran) if limit is not None and ran is not None else None
            jobs.append(Running(job.id, job.task, job.queue, unit.name, unit.host, job.started, left, most))
    return Waiting(tuple(jobs), tuple(silent), tuple(unready))
