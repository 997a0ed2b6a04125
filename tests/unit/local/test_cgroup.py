"""Where the caller's own control groups are, out of /proc."""

from __future__ import annotations

from pathlib import Path

from fleetctl.adapters.providers.local.cgroup import Hierarchy, make, parse_hierarchies

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
36 31 0:33 /outer /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw
"""


def test_each_hierarchy_has_the_directory_of_the_caller() -> None:
    membership = "4:cpu,cpuacct:/job\n3:memory:/outer/inner\n2:name=systemd:/\n1:freezer:/\n0::/user.slice\n"
    assert parse_hierarchies(membership, HYBRID) == (
        Hierarchy(frozenset({"cpu", "cpuacct"}), Path("/sys/fs/cgroup/cpu,cpuacct/job")),
        Hierarchy(frozenset({"memory"}), Path("/sys/fs/cgroup/memory/inner")),
        Hierarchy(frozenset({"name=systemd"}), Path("/sys/fs/cgroup/systemd")),
        Hierarchy(frozenset(), Path("/sys/fs/cgroup/unified/user.slice")),
    )


def test_a_computer_with_cgroup2_alone_has_one_hierarchy() -> None:
    mountinfo = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
    assert parse_hierarchies("0::/\n", mountinfo) == (Hierarchy(frozenset(), Path("/sys/fs/cgroup")),)


def group(path: Path, *, controllers: str) -> Path:
    path.mkdir()
    (path / "cgroup.controllers").write_text(controllers)
    (path / "cgroup.subtree_control").write_text("")
    return path


def test_a_cgroup2_group_passes_its_controllers_on(tmp_path: Path) -> None:
    own = group(tmp_path / "own", controllers="cpu memory pids rdma\n")
    make(Hierarchy(frozenset(), own), own / "fleetctl-demo")
    assert (own / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"


def test_a_cgroup2_group_without_controllers_is_left_alone(tmp_path: Path) -> None:
    own = group(tmp_path / "own", controllers="\n")
    make(Hierarchy(frozenset(), own), own / "fleetctl-demo")
    assert (own / "cgroup.subtree_control").read_text() == ""
