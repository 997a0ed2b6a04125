"""The export of the role nfs_server on a machine with a kernel of its own, which mounts it from itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from scenario import CONVERGE, play

DIRECTORIES = ["jobs", "uploads", ".fleetctl"]


@contextmanager
def mounted(host: Any, address: str, version: str = "4.2") -> Iterator[str]:
    """Mount the export at a directory of the test's own."""
    host.check_output("mkdir -p /mnt/seen")
    host.check_output("timeout 60 mount -t nfs4 -o nfsvers=%s,retry=0 %s:/shared/fleet /mnt/seen", version, address)
    try:
        yield "/mnt/seen"
    finally:
        host.check_output("umount /mnt/seen")


def refusal(host: Any, address: str, version: str = "4.2") -> str:
    options = f"nfsvers={version},retry=0"
    done = host.run("mkdir -p /mnt/no; timeout 60 mount -t nfs -o %s %s:/shared/fleet /mnt/no", options, address)
    assert done.rc != 0
    return str(done.stderr)


def started(host: Any) -> str:
    return str(host.check_output("systemctl show --property ActiveEnterTimestampMonotonic --value nfs-server"))


def test_the_storage_is_the_device(host: Any) -> None:
    mount = host.mount_point("/shared/fleet")
    assert (mount.device, mount.filesystem) == ("/dev/ubdc", "ext4")
    assert {"nosuid", "nodev"} <= set(mount.options)


@pytest.mark.parametrize("name", DIRECTORIES)
def test_each_directory_belongs_to_the_account_and_passes_on_its_group(host: Any, name: str) -> None:
    directory = host.file(f"/shared/fleet/{name}")
    assert directory.is_directory
    assert (directory.user, directory.group, directory.mode) == ("games", "games", 0o2775)


def test_the_account_writes_through_the_export_and_root_is_nobody_there(host: Any, address: str) -> None:
    with mounted(host, address) as path:
        host.check_output(f"runuser --user games -- sh -c 'echo a >{path}/jobs/a'")
        assert host.file("/shared/fleet/jobs/a").user == "games"
        assert host.run(f"sh -c 'echo b >{path}/jobs/b'").rc != 0
        host.check_output(f"runuser --user games -- rm {path}/jobs/a")


@pytest.mark.parametrize("version", ["4.1", "4.0", "3"])
def test_older_versions_are_refused(host: Any, address: str, version: str) -> None:
    assert refusal(host, address, version)


def test_nothing_runs_nor_listens_that_only_other_kinds_of_nfs_need(host: Any) -> None:
    units = "rpcbind.service rpcbind.socket rpc-statd.service rpc-statd-notify.service nfs-idmapd.service"
    assert set(host.run(f"systemctl is-active {units}").stdout.split()) == {"inactive"}
    lines = host.check_output("ss --no-header --listening --numeric --tcp --udp").splitlines()
    assert {(line.split()[0], line.split()[4].rsplit(":", 1)[1]) for line in lines} == {("tcp", "22"), ("tcp", "2049")}


def test_a_helper_of_the_server_that_dies_comes_back(host: Any, address: str) -> None:
    # without mountd the kernel would let a client that it does not know yet wait for ever, and the service look well
    for unit, program in (("nfs-mountd", "rpc.mountd"), ("nfsdcld", "nfsdcld")):
        pid = host.check_output("pidof %s", program)
        host.check_output("kill -9 %s", pid)
        back = f"timeout 60 sh -c 'until systemctl --quiet is-active {unit} && pidof {program}; do sleep 0.5; done'"
        assert host.run(back).stdout.strip() not in ("", pid)
    with mounted(host, address) as path:
        host.check_output(f"runuser --user games -- sh -c 'echo a >{path}/jobs/a && rm {path}/jobs/a'")


def test_clients_that_the_server_knew_are_kept_over_a_restart(host: Any) -> None:
    assert host.service("nfsdcld").is_running
    assert host.check_output("cat /proc/fs/nfsd/nfsv4leasetime /proc/fs/nfsd/nfsv4gracetime").split() == ["15", "15"]


def test_exports_and_threads_change_without_a_restart(host: Any, address: str) -> None:
    before = started(host)
    code, changed, said = play(CONVERGE, nfs_server_clients=["192.0.2.1"], nfs_server_threads=6)
    assert (code, changed) == (0, 3), said[-3000:]  # two files, and their use
    assert "denied" in refusal(host, address)
    assert host.check_output("cat /proc/fs/nfsd/threads") == "6"
    assert started(host) == before


def test_what_a_run_that_was_cut_off_left_undone_is_done_by_the_next(host: Any, address: str) -> None:
    before = started(host)
    # as the scenario's variables have it, and not in use
    host.check_output("sed -i s/192.0.2.1/%s/ /etc/exports.d/fleet.exports", address)
    host.check_output("sed -i s/6/4/ /etc/nfs.conf.d/fleet-threads.conf")
    host.check_output("sysctl vm.dirty_bytes=67108864")
    code, changed, said = play(CONVERGE)
    assert (code, changed) == (0, 1), said[-3000:]
    assert address in host.check_output("exportfs -s")
    with mounted(host, address) as path:
        assert host.file(f"{path}/jobs").is_directory
    assert host.check_output("cat /proc/fs/nfsd/threads /proc/sys/vm/dirty_bytes").split() == ["4", "134217728"]
    assert started(host) == before
    host.check_output("touch /etc/nfs.conf.d/fleet.conf")
    code, changed, said = play(CONVERGE)
    assert (code, changed) == (0, 1), said[-3000:]
    assert started(host) != before
