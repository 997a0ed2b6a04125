"""Which tasks are taken, and what is said of the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harbor_jobs import taskfile
from harbor_jobs.errors import UsageError

from .conftest import EXAMPLES


@pytest.mark.parametrize("executor", taskfile.EXECUTORS)
@pytest.mark.parametrize("name", ["hello", "failing"])
def test_the_examples_can_be_run_by_both_executors(name: str, executor: str) -> None:
    task = taskfile.read(EXAMPLES / name, executor=executor)
    assert (task.agent_seconds, task.verifier_seconds) == (60, 30)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[agent\n", "task.toml can't be read: Expected ']'", id="no TOML"),
        pytest.param("[agent]\ntimeout_sec = 0\n", "task.toml: agent.timeout_sec: must be a number of seconds above 0"),
        pytest.param("[verifier]\ntimeout_sec = -1.5\n", "verifier.timeout_sec: must be .* not -1.5"),
        pytest.param("[agent]\ntimeout_sec = nan\n", "agent.timeout_sec: must be .* not nan"),
        pytest.param("[agent]\ntimeout_sec = true\n", "agent.timeout_sec: must be .* not True"),
        pytest.param("[agent]\ntimeout_sec = '60'\n", "agent.timeout_sec: must be .* not '60'"),
        pytest.param("agent = 5\n", r"task.toml: agent: must be a table: \[agent\]"),
        pytest.param("[verifier.env]\nX = 5\n", "task.toml: verifier.env: must be a table of strings"),
        pytest.param("[environment]\nos = 'windows'\n", "task.toml: environment.os: must be linux"),
        pytest.param("[[steps]]\nname = 'a'\n", "tasks of several steps need --executor harbor"),
    ],
)
def test_a_wrong_key_is_named(make_task: Callable[..., Path], text: str, message: str) -> None:
    task = make_task()
    (task / "task.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        taskfile.read(task)


def test_all_that_is_wrong_is_said_at_once(make_task: Callable[..., Path]) -> None:
    task = make_task(agent=-1)
    (task / "tests/test.sh").unlink()
    (task / "solution/solve.sh").unlink()
    (task / "solution").rmdir()
    with pytest.raises(UsageError) as caught:
        taskfile.read(task)
    assert [line.split(":")[0].strip() for line in caught.value.message.splitlines()[1:]] == [
        "task.toml", "tests/test.sh", "solution/"
    ]  # fmt: skip


def test_a_directory_without_task_toml_is_no_task(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"task.toml is missing") as caught:
        taskfile.read(tmp_path)
    assert caught.value.exit_code == 2


def test_harbor_needs_an_instruction_and_an_environment(make_task: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match=r"(?s)instruction.md: is missing.*environment/: is missing"):
        taskfile.read(make_task(), executor=taskfile.HARBOR)


def test_an_agent_of_its_own_needs_no_solution(make_task: Callable[..., Path]) -> None:
    task = make_task()
    (task / "solution/solve.sh").unlink()
    (task / "instruction.md").write_text("do it")
    (task / "environment").mkdir()
    assert taskfile.read(task, executor=taskfile.HARBOR, agent="claude-code").agent_seconds == 10
    with pytest.raises(UsageError, match=r"solution/solve.sh: is missing"):
        taskfile.read(task, executor=taskfile.HARBOR)
