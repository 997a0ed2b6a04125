"""What a host says of its limits, as values; and the command that asks, run here."""

from __future__ import annotations

import subprocess

import pytest

from fleetctl.core.hostfacts import COMMAND, HostFacts, parse

WORKER = """\
memory_kib=2097152
cgroup_bytes=1073741824
cpus=4
pid_max=4194304
threads_max=8000
conntrack_max=65536
inotify_instances=128
LimitNOFILE=16384
LimitNOFILE=8192

TasksMax=infinity
TasksMax=3904
"""


def test_the_tightest_of_several_limits_counts() -> None:
    assert parse(WORKER) == HostFacts(
        memory_mib=1024, cpus=4, pid_max=8000, conntrack_max=65536, inotify_instances=128, open_files=8192, tasks=3904
    )


def test_without_a_word_nothing_is_known() -> None:
    assert parse("") == HostFacts()
    assert parse("cpus=\nmemory_kib=many\ncgroup_bytes=max\n") == HostFacts()


def test_a_cgroup_without_a_limit_leaves_the_memory_of_the_machine() -> None:
    assert parse("memory_kib=2097152\ncgroup_bytes=9223372036854771712").memory_mib == 2048


DAEMONS = {
    "no file": ("", 31),
    "an empty file": ("docker_daemon=\n", 31),
    "other settings": ('docker_daemon={"debug": true}\n', 31),
    "a pool": ('docker_daemon={"default-address-pools": [{"base": "100.64.0.0/10", "size": 24}]}\n', 16384),
    "two pools": (
        'docker_daemon={"default-address-pools": [{"base": "10.1.0.0/16", "size": 24}, '
        '{"base": "10.2.0.0/24", "size": 26}]}',
        260,
    ),
    "no JSON": ("docker_daemon={nonsense\n", 31),
    "a pool that is none": ('docker_daemon={"default-address-pools": [7]}\n', 31),
}  # fmt: skip


@pytest.mark.parametrize(("text", "networks"), DAEMONS.values(), ids=DAEMONS)
def test_networks_of_docker_are_those_of_its_address_pools(text: str, networks: int) -> None:
    found = parse("docker=1\n" + text)
    assert (found.has_docker, found.docker_networks) == (True, networks)


def test_the_command_asks_a_linux_host_and_ends_well() -> None:
    run = subprocess.run(["sh", "-c", COMMAND], capture_output=True, text=True, timeout=30, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    found = parse(run.stdout)
    assert found.memory_mib is not None
    assert found.memory_mib > 0
    assert found.cpus is not None
    assert found.pid_max is not None
