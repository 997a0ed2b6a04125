"""The sums of a load report."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetctl.model import LoadReport
from fleetctl.worker import records
from fleetctl.worker.records import Record, peak, percentile, summarise


def run(job: str, start: float, end: float, *, pid: int = 1, host: str = "h1", error: str | None = None) -> Record:
    return Record(job, f"worker-{host[1:]}", host, pid, start, end, error)


@pytest.mark.parametrize(
    ("intervals", "most"),
    [
        ([], 0),
        ([(0, 1)], 1),
        ([(0, 1), (1, 2)], 1),
        ([(0, 2), (1, 3)], 2),
        ([(0, 10), (1, 2), (3, 4)], 2),
        ([(0, 3), (1, 3), (2, 3), (3, 4)], 3),
    ],
)
def test_peak_counts_what_overlaps(intervals: list[tuple[float, float]], most: int) -> None:
    assert peak(intervals) == most


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)).map(lambda t: (t[0], t[0] + t[1])), max_size=30))
def test_peak_is_what_counting_at_each_start_gives(intervals: list[tuple[int, int]]) -> None:
    counted = [sum(start <= at < end for start, end in intervals) for at, _ in intervals]
    assert peak(intervals) == max(counted, default=0)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, 0.0),
        ([3.0], 0.99, 3.0),
        ([4.0, 1.0, 2.0, 3.0], 0.5, 2.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
    ],
)
def test_percentile_is_the_nearest_rank(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_done_failed_lost_and_duplicates_are_told_apart() -> None:
    report = summarise(
        ["a", "b", "c", "d", "e", "f", "g"],
        [
            run("a", 100.5, 102, pid=1),
            run("b", 101, 103, pid=2, host="h2"),
            run("b", 104, 106, pid=3),  # delivered again, and done again
            run("c", 101, 102, pid=1, error="ValueError: x"),
            run("d", 101, 102, pid=4, error="WorkerLostError: killed"),
            run("d", 103, 104, pid=5),  # failed, then done: once
            run("d", 103, 104, pid=5),  # told twice: the answer to the first was lost
            run("other", 100, 200, pid=9),  # of another load
        ],
        failed_elsewhere=["e", "b", "other"],
        quarantined=["g", "a", "other"],
        died=["a", "g", "other"],  # a process of job a was killed, and left no record
        submitted_at=100.0,
    )
    assert report == {
        "submitted": 7, "done": 3, "failed": 2, "lost": 1, "duplicates": 1, "repeated": 3, "quarantined": 1,
        "peak_concurrency": 4,
        "distinct_processes": 5, "start_p50_seconds": 1.0, "start_p99_seconds": 4.0, "makespan_seconds": 6.0,
        "per_unit": {"worker-1": 3, "worker-2": 1}, "reasons": ["ValueError: x (1 runs)"],
    }  # fmt: skip
    assert set(report) < set(LoadReport.__dataclass_fields__)


def test_a_load_of_which_nothing_ran_is_lost() -> None:
    report = summarise(["a", "b"], [], failed_elsewhere=[], submitted_at=5.0)
    assert (report["lost"], report["done"], report["makespan_seconds"]) == (2, 0, 0.0)


def test_keys_carry_the_prefix_of_the_fleet() -> None:
    assert records.key("fleet:", "r1") == "fleet:load:r1"
