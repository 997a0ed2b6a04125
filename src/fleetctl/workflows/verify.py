"""Proves that a deployed fleet is what the inventory says, by using it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from fleetctl.core.inventory import USER, Inventory
from fleetctl.core.layout import WantedHost
from fleetctl.model import Check, CommandResult, Event, Host, OnEvent, Outcome
from fleetctl.ports import Remote
from fleetctl.workflows.agent import AGENT, result

PHASE = "verify"
STORAGE_SECONDS = 20  # for a touch of the storage: seconds on a small machine under load
JOB_SECONDS = 210  # 600 slots' processes take a minute to come up on two processors
_AGENT_SECONDS = 120  # what it takes beside: to start, and for services that do not answer
_IDENTITY_SECONDS = 30

STORAGE_KINDS = {
    "nfs": "NFS",
    "bind": "a bind mount of this computer: proves nothing about NFS",
    "mounted": "mounted by something else than fleetctl",
}
KILLED = 137  # timeout(1)'s exit code where it uses SIGKILL

_IDENTITY = "cat /etc/machine-id; cat /etc/fleet/stamp 2>/dev/null || echo none"
# Who touches a stalled storage may outlive SIGKILL. The shell waits for timeout(1) alone, which kills itself with the
# rest of its group, and nothing but the shell holds the connection's pipes. The name of a file comes on stdin.
_TOUCH = """
read -r name
said=$(mktemp) || exit
timeout -s KILL "$@" "$name" </dev/null >"$said" 2>&1
code=$?
cat "$said"
rm -f "$said"
exit $code
"""
# A file appears whole, by rename.
_WRITE = 'd="$1/.fleetctl"; mkdir -p "$d" && echo "$2" > "$d/$3.new" && mv "$d/$3.new" "$d/$3"'
_READ = 'cat "$1/.fleetctl/$3"'
_REMOVE = 'rm -f "$1/.fleetctl/verify-$2-"*'


def verify(
    wanted: Sequence[WantedHost],
    hosts: Sequence[Host],
    inventory: Inventory,
    remote: Remote,
    *,
    token: str,
    scope: Collection[str] | None = None,
    on_event: OnEvent,
) -> tuple[Check, ...]:
    """Return every check, failed ones with a fix. `token` is fresh text that the storage check writes and reads.

    `scope` are the hosts to prove; of the others the identity alone is asked, which takes none of their jobs' time.

    Each host is the machine that the inventory means (machine id, and the stamp that Ansible left: two ways in, one
    host); each writes a file to the shared storage, and one's is read on the others; Postgres and Redis accept the
    fleet's credentials and refuse wrong and missing ones; one job ran on every unit. A host that does not say who it is
    is asked nothing else, since each question would cost its time limit.
    """
    present = {host.name for host in hosts}
    checks = [
        Check("running", False, "the provider has no running host of this name", host.name, "fleetctl deploy")
        for host in wanted
        if host.name not in present
    ]
    identities, hosts = _identity(hosts, inventory, remote)
    checks += identities
    on_event(Event("note", PHASE, f"{sum(c.is_ok for c in checks)} of {len(checks)} identity checks passed"))
    meant = [host for host in hosts if scope is None or host.name in scope]
    # A host without units writes, where there is one.
    units = {host.name: len(host.units) for host in wanted}
    using = sorted((host for host in hosts if _uses_storage(host.name, wanted)), key=lambda host: units[host.name] > 0)
    storage = [host for host in using if host in meant or host is using[0]]
    checks += _storage(storage, inventory, remote, token)
    on_event(Event("note", PHASE, f"shared storage checked on {len(storage)} hosts"))
    checks += _agents(wanted, meant, remote, on_event)
    return tuple(checks)


def _identity(hosts: Sequence[Host], inventory: Inventory, remote: Remote) -> tuple[list[Check], tuple[Host, ...]]:
    """Return the checks, and the hosts that answered."""
    checks = []
    seen: dict[str, str] = {}
    outcomes = remote.fan_out(hosts, ["sh", "-c", _IDENTITY], timeout=_IDENTITY_SECONDS)
    for host, outcome in zip(hosts, outcomes, strict=True):
        hostvars = inventory["_meta"]["hostvars"][host.name]
        if outcome.value is None or outcome.value.code != 0:
            checks.append(_failure("identity", outcome))
            continue
        machine, stamp = [*outcome.value.stdout.split(), "none", "none"][:2]
        expected = hostvars["fleet_machine_id"]
        if expected is not None and machine != expected:
            detail = f"machine id {machine}, the inventory means {expected}"
            checks.append(_bad("identity", host, detail, "check the address in the inventory: another machine answers"))
        elif machine in seen:
            detail = f"is the same machine as {seen[machine]} (machine id {machine})"
            checks.append(_bad("identity", host, detail, "give each host an address of its own"))
        elif stamp != hostvars["fleet_stamp"]:
            detail = "was set up from other roles, settings, app or secrets than fleet.yml says now"
            detail = "Ansible's stamp is not on it" if stamp == "none" else detail
            checks.append(_bad("identity", host, detail, "fleetctl deploy"))
        else:
            checks.append(Check("identity", True, f"machine id {machine}", host.name))
        seen.setdefault(machine, host.name)
    return checks, tuple(host for host, outcome in zip(hosts, outcomes, strict=True) if outcome.is_ok)


def _storage(hosts: Sequence[Host], inventory: Inventory, remote: Remote, token: str) -> list[Check]:
    storage = inventory["all"]["vars"]["fleet_storage"]
    kind, path = STORAGE_KINDS[storage["kind"]], storage["path"]
    # An NFS server that has just started lets nobody open a file before its grace time is over.
    grace = inventory["nfs"]["vars"]["fleet_nfs"]["lease_seconds"] if storage["kind"] == "nfs" else 0
    seconds = STORAGE_SECONDS + grace

    def touch(on: Sequence[Host], how: str, names: Mapping[str, str]) -> tuple[Outcome[CommandResult], ...]:
        argv = touching(["runuser", "-u", USER, "--", "sh", "-c", how, "sh", path, token], seconds)
        return remote.fan_out(on, argv, stdin=names, timeout=seconds + 20)

    def bad(outcome: Outcome[CommandResult]) -> Check:
        fix = f"fleetctl ssh {outcome.host} 'grep {path} /proc/mounts; timeout -s KILL 10 ls -ld {path}'"
        if outcome.value is not None and outcome.value.code == KILLED:
            return Check("storage", False, f"no answer within {seconds} s: the storage stalls", outcome.host, fix)
        return _failure("storage", outcome, fix)

    # All at once: where the storage stalls, they wait for it together.
    names = {host.name: f"verify-{token}-{host.name}\n" for host in hosts}
    written = touch(hosts, _WRITE, names)
    writers = [host for host, outcome in zip(hosts, written, strict=True) if _has_ended_well(outcome)]
    checks = [bad(outcome) for outcome in written if not _has_ended_well(outcome)]
    if not writers:
        return checks
    first, *readers = writers
    checks.append(Check("storage", True, f"wrote a file ({kind})", first.name))
    read = touch(readers, _READ, dict.fromkeys(names, names[first.name]))
    for host, outcome in zip(readers, read, strict=True):
        if outcome.value is not None and outcome.value.stdout.strip() == token:
            checks.append(Check("storage", True, f"reads what {first.name} wrote", host.name))
        elif _has_ended_well(outcome):
            fix = f"fleetctl ssh {host.name} 'grep {path} /proc/mounts'"
            checks.append(_bad("storage", host, f"does not read what {first.name} wrote", fix))
        else:
            checks.append(bad(outcome))
    touch([first], _REMOVE, names)
    return checks


def touching(argv: Sequence[str], seconds: int) -> list[str]:
    """Return how to run a command that touches the storage so that its end comes within `seconds`, whatever happens.

    It gets the line on stdin as its last argument. Exit code 137 says that it was killed.
    """
    return ["sh", "-c", _TOUCH, "sh", str(seconds), *argv]


def _agents(wanted: Sequence[WantedHost], hosts: Sequence[Host], remote: Remote, on_event: OnEvent) -> list[Check]:
    units = {host.name: [unit.name for unit in host.units] for host in wanted if host.has_app}
    workers = [host for host in hosts if host.name in units]
    requests = {
        name: json.dumps({"command": "check", "units": names, "timeout": JOB_SECONDS}) + "\n"
        for name, names in units.items()
    }
    done: list[str] = []

    def tell(name: str) -> None:
        done.append(name)
        on_event(Event("step", PHASE, f"services and jobs, last {name}", None, len(done), len(workers)))

    outcomes = remote.fan_out(workers, AGENT, stdin=requests, timeout=JOB_SECONDS + _AGENT_SECONDS, on_done=tell)
    return [check for host, outcome in zip(workers, outcomes, strict=True) for check in _from_agent(host, outcome)]


def _from_agent(host: Host, outcome: Outcome[CommandResult]) -> list[Check]:
    fix = f"fleetctl ssh {host.name} 'journalctl -u fleet-worker@* -n 50'"
    if outcome.value is None:
        return [_failure("agent", outcome, fix)]
    answer, error = result(outcome.value)
    if error is not None:
        return [Check("agent", False, error, host.name, fix)]
    return [
        Check(check["name"], check["is_ok"], check["detail"], host.name, check.get("fix")) for check in answer["checks"]
    ]


def _uses_storage(name: str, wanted: Sequence[WantedHost]) -> bool:
    return any(host.name == name and (host.has_app or "nfs" in host.groups) for host in wanted)


def _has_ended_well(outcome: Outcome[CommandResult]) -> bool:
    return outcome.value is not None and outcome.value.code == 0


def _failure(name: str, outcome: Outcome[CommandResult], fix: str | None = None) -> Check:
    if outcome.value is None:
        return Check(name, False, outcome.error or "no answer", outcome.host, f"fleetctl ssh {outcome.host}")
    detail = (outcome.value.stderr or outcome.value.stdout).strip()[-400:] or f"exit code {outcome.value.code}"
    return Check(name, False, detail, outcome.host, fix)


def _bad(name: str, host: Host, detail: str, fix: str) -> Check:
    return Check(name, False, detail, host.name, fix)
