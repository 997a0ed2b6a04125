"""The executor `local`, with real programs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harbor_jobs import local, taskfile
from harbor_jobs.errors import JobError
from harbor_jobs.log import Log
from harbor_jobs.outcome import Outcome

from .conftest import EXAMPLES, PASS, environment, of


@pytest.fixture
def perform(tmp_path: Path) -> Callable[[Path], Outcome]:
    """Return a runner of tasks, whose logs are below `trial`."""

    def run(task: Path) -> Outcome:
        scratch, trial = tmp_path / "scratch", tmp_path / "trial"
        scratch.mkdir()
        for name in ("agent", "verifier"):
            (trial / name).mkdir(parents=True)
        with Log(trial / "trial.log") as log:
            return local.run(taskfile.read(task), task, scratch, trial, log)

    return run


def test_the_example_passes_and_tells_of_it(perform: Callable[[Path], Outcome], tmp_path: Path) -> None:
    outcome = perform(EXAMPLES / "hello")
    assert (of(outcome), outcome.exit_codes, outcome.error) == (("done", 1.0), {"agent": 0, "verifier": 0}, None)
    assert (tmp_path / "trial/agent/oracle.txt").read_text() == "greeting Ada\ngreeting Edsger\ngreeting Grace\n"
    assert (tmp_path / "trial/verifier/test-stdout.txt").read_text() == "all greetings are right\n"
    log = (tmp_path / "trial/trial.log").read_text()
    assert "greeting Grace" in log
    assert "all greetings are right" in log


def test_the_example_that_fails_has_a_reward_of_nought(perform: Callable[[Path], Outcome]) -> None:
    outcome = perform(EXAMPLES / "failing")
    assert (of(outcome), outcome.error) == (("failed", 0.0), None)


def test_a_late_solution_is_ended_and_the_tests_still_judge(
    perform: Callable[[Path], Outcome], make_task: Callable[..., Path]
) -> None:
    begun = time.monotonic()
    outcome = perform(make_task(solve="sleep 300", agent=0.3))
    assert of(outcome) == ("failed", 1.0)
    assert outcome.error == "the solution was ended at its limit: agent.timeout_sec is 0.3"
    assert time.monotonic() - begun < 4


def test_late_tests_are_ended_and_give_no_reward(
    perform: Callable[[Path], Outcome], make_task: Callable[..., Path]
) -> None:
    outcome = perform(make_task(test=f"{PASS}; sleep 300", verifier=0.3))
    assert of(outcome) == ("failed", None)
    assert outcome.error == "the tests were ended at their limit: verifier.timeout_sec is 0.3"


def test_tests_without_a_reward_are_an_error(
    perform: Callable[[Path], Outcome], make_task: Callable[..., Path]
) -> None:
    outcome = perform(make_task(test="exit 4"))
    assert of(outcome) == ("failed", None)
    assert "neither verifier/reward.txt nor verifier/reward.json is there; tests/test.sh ended with 4" in str(
        outcome.error
    )


def test_a_solution_can_not_write_its_own_reward(
    perform: Callable[[Path], Outcome], make_task: Callable[..., Path]
) -> None:
    assert of(perform(make_task(solve=PASS, test="true"))) == ("failed", None)


def test_scripts_see_what_the_task_names_and_no_secret_of_the_worker(
    perform: Callable[[Path], Outcome], make_task: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    task = make_task(solve="env")
    config = '[solution.env]\nKEY = "${MODEL_KEY}"\nMODE = "${MODE:-fast}"\nPLAIN = "as it is"\n'
    (task / "task.toml").write_text((task / "task.toml").read_text() + config)
    with environment(monkeypatch, DATABASE_URL="postgresql://secret", MODEL_KEY="key-of-the-model"):
        perform(task)
    seen = dict(line.split("=", 1) for line in (tmp_path / "trial/agent/oracle.txt").read_text().splitlines())
    assert {name: seen.get(name) for name in ("KEY", "MODE", "PLAIN", "DATABASE_URL", "MODEL_KEY")} == {
        "KEY": "key-of-the-model", "MODE": "fast", "PLAIN": "as it is", "DATABASE_URL": None, "MODEL_KEY": None
    }  # fmt: skip


def test_a_variable_that_the_worker_lacks_is_named_before_anything_starts(
    perform: Callable[[Path], Outcome], make_task: Callable[..., Path], tmp_path: Path
) -> None:
    task = make_task()
    (task / "task.toml").write_text('[verifier.env]\nKEY = "${NO_SUCH_KEY}"\n')
    with pytest.raises(JobError, match="NO_SUCH_KEY, which is not set on the worker"):
        perform(task)
    assert not (tmp_path / "trial/agent/oracle.txt").exists()


def test_a_task_is_run_in_copies(perform: Callable[[Path], Outcome], make_task: Callable[..., Path]) -> None:
    task = make_task(solve='echo spoilt > "$SOLUTION_DIR/solve.sh"; echo spoilt > "$TESTS_DIR/new"; touch here')
    perform(task)
    assert sorted(path.name for path in task.rglob("*")) == [
        "solution", "solve.sh", "task.toml", "test.sh", "tests"
    ]  # fmt: skip
    assert "spoilt" in (task / "solution/solve.sh").read_text(), "its own text, not what it wrote"
    assert (task / "solution/solve.sh").read_text().startswith("#!")
