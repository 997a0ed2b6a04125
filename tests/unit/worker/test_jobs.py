"""What the built-in jobs do when a service is away for a moment."""

import pytest

from fleetctl.worker import jobs, records
from fleetctl.worker.records import Record


def test_what_fails_for_a_moment_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_RETRY_SECONDS", 0.0)
    answers = [OSError("away"), OSError("away"), "done"]

    def attempt() -> str:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    assert jobs.patiently(attempt, OSError) == "done"


def test_what_stays_away_or_fails_otherwise_is_an_error() -> None:
    def attempt() -> None:
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        jobs.patiently(attempt, OSError, seconds=0)
    with pytest.raises(OSError, match="away"):
        jobs.patiently(attempt, ValueError)


class Away:
    """A Redis that answers the third time."""

    def __init__(self) -> None:
        self.tries = 0
        self.written: list[str] = []

    def pipeline(self, transaction: bool) -> "Away":
        assert not transaction
        self.tries += 1
        return self

    def rpush(self, _: str, text: str) -> None:
        self.text = text

    def expire(self, *_: object) -> None:
        """Nothing lasts here anyway."""

    def execute(self) -> None:
        if self.tries < 3:
            raise records.ConnectionError("away")
        self.written.append(self.text)


def test_a_job_waits_for_redis_to_tell_of_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_RETRY_SECONDS", 0.0)
    client = Away()
    records.append(client, "load:r", Record("j", "worker-1", "h1", 1, 0.0, 1.0))
    assert (client.tries, len(client.written)) == (3, 1)
