"""The mount of the role nfs_client on a machine with a kernel of its own, from a server on the same machine."""

from __future__ import annotations

import time
from typing import Any

from scenario import CONVERGE, play

PATH = "/shared/fleet"


def options(host: Any) -> set[str]:
    lines = host.check_output(f"ls {PATH} >/dev/null; grep ' {PATH} nfs4 ' /proc/mounts").splitlines()
    assert len(lines) == 1
    return set(lines[0].split()[3].split(","))


def test_the_path_is_mounted_on_first_use_with_the_options(host: Any) -> None:
    host.check_output("systemctl stop shared-fleet.mount")
    assert host.run(f"grep ' {PATH} nfs4 ' /proc/mounts").rc != 0
    assert {"vers=4.2", "hard", "timeo=600", "retrans=2", "lookupcache=pos", "nosuid", "nodev"} <= options(host)


def test_directories_that_no_host_of_the_fleet_owns_are_made(host: Any) -> None:
    jobs = host.file("/srv/export/jobs")
    assert (jobs.is_directory, jobs.user, jobs.mode) == (True, "games", 0o2775)


def test_it_comes_back_after_a_reboot_of_the_host_by_itself(host: Any) -> None:
    assert host.service("shared-fleet.automount").is_enabled
    assert host.check_output("systemctl is-active shared-fleet.automount") == "active"


def test_nothing_of_rpcbind_runs(host: Any) -> None:
    units = "rpcbind.service rpcbind.socket rpc-statd.service nfs-blkmap.service"
    assert set(host.run(f"systemctl is-active {units}").stdout.split()) == {"inactive"}


def test_the_server_knows_the_host_by_its_machine_id(host: Any) -> None:
    # and not by its host name alone, which a host of another fleet may have too
    options(host)
    machine = host.check_output("cat /etc/machine-id")
    assert f'"Linux NFSv4.2 {machine}/' in host.check_output("cat /proc/fs/nfsd/clients/*/info")


def test_another_storage_is_refused_while_one_is_mounted(host: Any) -> None:
    options(host)
    code, changed, said = play(CONVERGE, nfs_client_export="/srv/other")
    assert (code, changed) == (2, 0), said[-3000:]
    assert "systemctl stop shared-fleet.automount" in said


def test_a_server_that_comes_late_is_mounted_when_it_is_there(host: Any) -> None:
    host.check_output("systemctl stop shared-fleet.mount nfs-server")
    try:
        for _ in range(6):  # more than systemd lets a unit fail by default
            assert host.run(f"timeout -s KILL 30 ls {PATH}/jobs").rc != 0
    finally:
        host.check_output("systemctl start nfs-server")
    deadline = time.monotonic() + 120
    looked = f"timeout -s KILL 30 ls {PATH}/jobs"
    while host.run(looked).rc != 0:
        assert time.monotonic() < deadline, host.run(
            "systemctl status shared-fleet.mount shared-fleet.automount"
        ).stdout
        time.sleep(1)
    assert "hard" in options(host)
