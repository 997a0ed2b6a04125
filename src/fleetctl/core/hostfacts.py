"""What limits one host: its size, its kernel, its units, its containers. Pure: a command's text to values."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

_DOCKER_NETWORKS = 31  # of Docker's own address pools: 172.17 to 172.31 as /16, and 192.168.0.0/16 as /20

# Each line is KEY=VALUE. What a host lacks it does not print.
COMMAND = r"""
set -f
awk '/^MemTotal:/ {print "memory_kib=" $2}' /proc/meminfo
for f in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
  [ -r "$f" ] && echo "cgroup_bytes=$(cat "$f")"
done
echo "cpus=$(nproc)"
one() { [ -r "$2" ] && echo "$1=$(cat "$2")"; }
one pid_max /proc/sys/kernel/pid_max
one threads_max /proc/sys/kernel/threads-max
one conntrack_max /proc/sys/net/netfilter/nf_conntrack_max
one inotify_instances /proc/sys/fs/inotify/max_user_instances
one nfsd_threads /proc/fs/nfsd/threads
systemctl show 'fleet-worker@*' --property=LimitNOFILE,TasksMax 2>/dev/null | sort -u
if command -v dockerd >/dev/null 2>&1; then
  echo docker=1
  [ -r /etc/docker/daemon.json ] && echo "docker_daemon=$(tr -d '\n' </etc/docker/daemon.json)"
fi
true
"""


@dataclass(frozen=True)
class HostFacts:
    """Limits of one host; None where it has none, or did not say. `open_files` and `tasks`: of the tightest unit."""

    memory_mib: int | None = None
    cpus: int | None = None
    pid_max: int | None = None
    conntrack_max: int | None = None
    inotify_instances: int | None = None
    nfsd_threads: int | None = None
    open_files: int | None = None
    tasks: int | None = None
    has_docker: bool = False
    docker_networks: int | None = None


def parse(text: str) -> HostFacts:
    """Return the facts that COMMAND printed."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, found, value = line.partition("=")
        if found:
            values.setdefault(key.strip(), []).append(value.strip())

    def least(*keys: str) -> int | None:
        numbers = [int(value) for key in keys for value in values.get(key, ()) if value.isdecimal()]
        return min(numbers, default=None)

    kib, cgroup = least("memory_kib"), least("cgroup_bytes")
    sizes = [size for size in (kib and kib // 1024, cgroup and cgroup // 2**20) if size is not None]
    facts = HostFacts(
        memory_mib=min(sizes, default=None),
        cpus=least("cpus"),
        pid_max=least("pid_max", "threads_max"),
        conntrack_max=least("conntrack_max"),
        inotify_instances=least("inotify_instances"),
        nfsd_threads=least("nfsd_threads"),
        open_files=least("LimitNOFILE"),
        tasks=least("TasksMax"),
    )
    if "docker" not in values:
        return facts
    return replace(facts, has_docker=True, docker_networks=_networks(values.get("docker_daemon", [""])[0]))


def _networks(daemon: str) -> int:
    """Return how many networks the address pools of this daemon.json hold."""
    try:
        pools = json.loads(daemon or "{}").get("default-address-pools") or ()
        found = sum(2 ** max(int(pool["size"]) - int(pool["base"].partition("/")[2]), 0) for pool in pools)
    except (ValueError, KeyError, TypeError, AttributeError):
        return _DOCKER_NETWORKS
    return found or _DOCKER_NETWORKS
