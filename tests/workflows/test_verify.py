"""verify over a world of fakes, and what it runs where the storage stalls."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace

import pytest

from fleetctl.core.inventory import Context, inventory
from fleetctl.core.layout import layout
from fleetctl.model import Check
from fleetctl.workflows.verify import KILLED, touching, verify
from tests.stalling import Stalling, stalling
from tests.unit.core.conftest import SHARED, STATIC, context, spec  # noqa: F401  # context is a fixture
from tests.workflows.test_deploy import NAMES, World

__all__ = ["stalling"]  # a fixture

ON = ["nfs", "worker-1", "worker-2"]


@pytest.fixture
def world(context: Context) -> World:  # noqa: F811
    world = World(context)
    world.deploy()
    world.remote.commands.clear()
    world.remote.asked.clear()
    return world


def checked(world: World) -> tuple[Check, ...]:
    wanted, hosts = layout(spec()), world.source.hosts()
    built = inventory(spec(), wanted, hosts, replace(world.context, networks=world.source.networks))
    return verify(wanted, hosts, built, world.remote, token="t", on_event=world.events.append)


def storage(world: World) -> dict[str | None, str]:
    """Return host -> what was found of the storage there, with "ok" before it where that is good."""
    found = [check for check in checked(world) if check.name == "storage"]
    assert len(found) == len({check.host for check in found}), "one check for each host"
    assert all(check.fix for check in found if not check.is_ok)
    return {check.host: f"ok: {check.detail}" if check.is_ok else check.detail for check in found}


def test_every_host_writes_and_reads_what_the_first_wrote_and_nothing_is_left(world: World) -> None:
    said = "ok: wrote a file (a bind mount of this computer: proves nothing about NFS)"
    reads = "ok: reads what nfs wrote"
    assert storage(world) == {"nfs": said, "worker-1": reads, "worker-2": reads}
    assert world.remote.files == {}


def test_a_host_without_the_storage_is_found_though_it_can_write_and_read_at_the_path(world: World) -> None:
    world.remote.apart = {"worker-2"}
    found = storage(world)
    assert "No such file" in found["worker-2"]
    assert found["worker-1"] == "ok: reads what nfs wrote"


def test_a_storage_that_stalls_for_the_first_host_is_proven_by_the_others(world: World) -> None:
    world.remote.stalled = {"nfs"}
    found = storage(world)
    assert found["nfs"] == "no answer within 20 s: the storage stalls"
    assert found["worker-1"].startswith("ok: wrote a file")
    assert found["worker-2"] == "ok: reads what worker-1 wrote"


def test_a_storage_that_stalls_everywhere_costs_one_wait_and_hides_nothing_else(world: World) -> None:
    world.remote.stalled = set(ON)
    assert storage(world) == dict.fromkeys(ON, "no answer within 20 s: the storage stalls")
    assert len([command for _, command in world.remote.commands if "runuser" in command]) == len(ON)
    assert [host for host, _ in world.remote.asked] == ON


def test_a_server_that_has_just_started_has_its_grace_time(world: World) -> None:
    world.context = replace(world.context, storage_kind="nfs")
    world.remote.stalled = {"worker-2"}
    assert storage(world)["worker-2"] == "no answer within 110 s: the storage stalls"


def test_a_host_that_does_not_answer_is_asked_once(world: World) -> None:
    world.remote.dead = {"worker-1"}
    bad = [check for check in checked(world) if not check.is_ok]
    assert [(check.name, check.host, check.detail) for check in bad] == [
        ("identity", "worker-1", "worker-1: no answer")
    ]
    assert [host for host, _ in world.remote.commands].count("worker-1") == 1
    assert {host for host, _ in world.remote.commands} == set(NAMES)


def touch(command: list[str], *, seconds: int = 2) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run a command as on a host; its end counts when the pipes have come to theirs, as for sshd."""
    start = time.monotonic()
    done = subprocess.run(
        touching(command, seconds), input="name of the file\n", capture_output=True, text=True, check=False, timeout=20
    )
    return done, time.monotonic() - start


def test_a_touch_answers_like_the_command_alone() -> None:
    done, _ = touch(["sh", "-c", 'cat; echo "$2 from $1"; echo no >&2; exit 7', "sh", "here"])
    assert (done.returncode, done.stdout) == (7, "name of the file from here\nno\n")


def test_a_touch_of_a_storage_from_which_sigkill_frees_nobody_ends(stalling: Stalling) -> None:
    stalling.stall()
    write = ["runuser", "-u", "root", "--", "sh", "-c", 'echo "$2" > "$1/file"', "sh", str(stalling.path)]
    done, seconds = touch(write)
    assert seconds < 4
    assert done.returncode == KILLED
    stalling.go_on()
    done, _ = touch(write)
    assert (done.returncode, (stalling.path / "file").read_text()) == (0, "name of the file\n")
