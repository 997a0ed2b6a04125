"""exec and put over a world of fakes and a real shell: every host has its own result."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from fleetctl.core.inventory import Context
from fleetctl.errors import UsageError
from fleetctl.model import CommandResult
from fleetctl.workflows.execute import execute
from fleetctl.workflows.transfer import MOST_BYTES, Sent, put
from tests.unit.core.conftest import context  # noqa: F401  # a fixture
from tests.workflows.day2 import Day2


@pytest.fixture
def world(context: Context) -> Day2:  # noqa: F811
    return Day2(context)


def shell(host: str, argv: Sequence[str], stdin: str) -> CommandResult:
    """Run the command on this computer."""
    del host
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=20)
    return CommandResult(done.returncode, done.stdout, done.stderr)


def test_each_host_has_its_own_result_in_the_fleets_order_and_no_bad_one_hides_another(world: Day2) -> None:
    def answer(host: str, argv: Sequence[str], stdin: str) -> CommandResult:
        del argv, stdin
        return CommandResult(3, "half", "no") if host == "redis" else CommandResult(0, f"I am {host}\n", "")

    world.remote.command = answer
    world.remote.dead = {"postgres"}
    world.source.terminate(["worker-1"])
    found = execute(world.remote, world.wanted, world.running, ["hostname"], timeout=10)
    assert [(one.host, one.code, one.stdout, one.error) for one in found] == [
        ("nfs", 0, "I am nfs\n", None),
        ("postgres", None, "", "postgres: no answer"),
        ("redis", 3, "half", None),
        ("worker-1", None, "", "worker-1: does not run"),
        ("worker-2", 0, "I am worker-2\n", None),
    ]
    assert [one.is_ok for one in found] == [True, False, False, False, True]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["echo $((1 + 1)) | cat"], "2\n"),
        (["printf", "%s|", "a b", "$HOME"], "a b|$HOME|"),
        (["echo", ";", "id"], "; id\n"),
    ],
)
def test_one_word_is_a_line_for_the_shell_and_several_are_a_program_with_arguments(
    argv: list[str], said: str, world: Day2
) -> None:
    world.remote.command = shell
    assert execute(world.remote, world.wanted[:1], world.running, argv, timeout=10)[0].stdout == said


def test_a_command_that_takes_too_long_is_ended_on_the_host_and_what_it_said_is_kept(world: Day2) -> None:
    world.remote.command = shell
    (found,) = execute(world.remote, world.wanted[:1], world.running, ["echo begun; exec sleep 30"], timeout=0.3)
    # The fake tells no seconds: that it was late is seen by a real connection.
    assert found.stdout == "begun\n"
    assert found.code == 124


def sent(world: Day2, content: bytes, path: str, mode: int = 0o640, hosts: int = 1) -> tuple[Sent, ...]:
    return put(world.remote, world.wanted[:hosts], world.running, content, name="here.bin", path=path, mode=mode)


def test_a_file_arrives_whole_with_its_mode_and_takes_the_place_of_another(world: Day2, tmp_path: Path) -> None:
    world.remote.command = shell
    there = tmp_path / "there"
    there.write_text("old")
    content = bytes(range(256)) * 999
    assert sent(world, content, str(there)) == (Sent("nfs", str(there)),)
    assert there.read_bytes() == content
    assert there.stat().st_mode & 0o7777 == 0o640
    assert list(tmp_path.iterdir()) == [there]


def test_a_file_goes_into_a_directory_under_its_name_and_may_be_empty(world: Day2, tmp_path: Path) -> None:
    world.remote.command = shell
    assert sent(world, b"", f"{tmp_path}/", 0o4755)[0].path == f"{tmp_path}/here.bin"
    assert (tmp_path / "here.bin").stat().st_mode & 0o7777 == 0o4755


def test_what_arrives_damaged_or_cannot_be_written_leaves_the_old_file_and_nothing_beside_it(
    world: Day2, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.write_text("old")

    def damaged(host: str, argv: Sequence[str], stdin: str) -> CommandResult:
        return shell(host, argv, stdin[:-8])

    world.remote.command = damaged
    (found,) = sent(world, b"x" * 3000, str(there))
    assert found.error == "what arrived is not what was sent"
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
    world.remote.command = shell
    (found,) = sent(world, b"x", str(tmp_path / "missing" / "there"))
    assert found.error is not None
    assert "No such file or directory" in found.error


def test_hosts_that_do_not_answer_are_named_beside_those_that_have_it(world: Day2, tmp_path: Path) -> None:
    world.remote.command = shell
    world.remote.dead = {"postgres"}
    world.source.terminate(["redis"])
    found = sent(world, b"x", str(tmp_path / "there"), hosts=3)
    assert [one.error for one in found] == [None, "postgres: no answer", "redis: does not run"]


def test_too_large_files_and_relative_paths_are_refused_before_anything_is_sent(world: Day2) -> None:
    with pytest.raises(UsageError, match="64 MiB at most"):
        sent(world, bytes(MOST_BYTES + 1), "/there")
    with pytest.raises(UsageError, match="not an absolute path"):
        sent(world, b"x", "there")
    assert world.remote.ran == []
