"""Programs end, with all that they have started, whatever becomes of who started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harbor_jobs import process
from harbor_jobs.process import Stop

# A child, a grandchild in a session of its own, and an orphan that has left both: each holds its pid file.
FAMILY = """
(sleep 300 & echo $! > child; wait) &
setsid sh -c 'echo $$ > session; exec sleep 300' &
setsid sh -c '(sh -c "echo \\$\\$ > orphan; exec sleep 300" &)' &
sleep 0.3
echo family
"""


def pids(directory: Path) -> list[int]:
    return [int((directory / name).read_text()) for name in ("child", "session", "orphan")]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def run(script: str, directory: Path, *, seconds: float = 20, stop: Stop | None = None) -> tuple[process.Ended, str]:
    output: list[bytes] = []
    ended = process.run(
        ["/bin/sh", "-c", script], directory=directory, environ={"PATH": os.environ["PATH"]}, seconds=seconds,
        sink=output.append, stop=stop,
    )  # fmt: skip
    return ended, b"".join(output).decode()


def test_output_of_both_kinds_and_the_exit_status_come_back(tmp_path: Path) -> None:
    ended, output = run("echo one; echo two >&2; exit 7", tmp_path)
    assert (ended.exit_code, ended.is_late, output) == (7, False, "one\ntwo\n")


def test_a_signal_is_told_as_a_shell_tells_it(tmp_path: Path) -> None:
    assert run("kill -9 $$", tmp_path)[0].exit_code == 137


def test_a_missing_program_is_said(tmp_path: Path) -> None:
    output: list[bytes] = []
    ended = process.run(["/no/such"], directory=tmp_path, environ={}, seconds=5, sink=output.append)
    assert (ended.exit_code, b"".join(output)) == (127, b"/no/such: No such file or directory\n")


@pytest.mark.parametrize("trap", ["", "trap '' TERM;"], ids=["polite", "deaf"])
def test_at_the_limit_all_processes_end_also_those_that_left(tmp_path: Path, trap: str) -> None:
    ended, output = run(f"{trap}{FAMILY} sleep 300", tmp_path, seconds=0.8, stop=Stop(signal.SIGTERM, 0.3))
    assert ended.is_late
    assert output == "family\n"
    assert not [pid for pid in pids(tmp_path) if is_alive(pid)]


def test_what_a_program_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    ended, _ = run(FAMILY, tmp_path)
    assert (ended.exit_code, ended.is_late) == (0, False)
    assert not [pid for pid in pids(tmp_path) if is_alive(pid)]


def test_the_first_process_alone_may_be_told_and_given_time(tmp_path: Path) -> None:
    script = "trap 'echo cleared; exit 3' INT; sleep 300 & wait"
    ended, output = run(script, tmp_path, seconds=0.3, stop=Stop(signal.SIGINT, 10, is_for_all=False))
    assert (ended.exit_code, ended.is_late, output) == (3, True, "cleared\n")


def test_an_exception_ends_all_processes(tmp_path: Path) -> None:
    def fail(_: bytes) -> None:
        raise RuntimeError("soft time limit")

    with pytest.raises(RuntimeError, match="soft time limit"):
        process.run(
            ["/bin/sh", "-c", f"{FAMILY} sleep 300"], directory=tmp_path, environ={"PATH": os.environ["PATH"]},
            seconds=20, sink=fail, stop=Stop(signal.SIGTERM, 0.3),
        )  # fmt: skip
    assert not [pid for pid in pids(tmp_path) if is_alive(pid)]


def test_all_processes_end_when_who_started_them_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from harbor_jobs import process; process.run(['/bin/sh', '-c', sys.argv[1]],"
        " directory=pathlib.Path('.'), environ=dict(os.environ), seconds=None, sink=lambda data: os.write(1, data))"
    )
    source = str(Path(process.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", code, f"{FAMILY} sleep 300"], cwd=tmp_path, stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": source},
    ) as worker:  # fmt: skip
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"family\n"
        worker.kill()
        worker.wait()
    deadline = time.monotonic() + 10
    while left := [pid for pid in pids(tmp_path) if is_alive(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
