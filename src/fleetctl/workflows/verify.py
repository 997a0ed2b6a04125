"""Proves that a deployed fleet is what the inventory says, by using it."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from fleetctl.core.inventory import USER, Inventory
from fleetctl.core.layout import WantedHost
from fleetctl.model import Check, CommandResult, Event, Host, OnEvent, Outcome
from fleetctl.ports import Remote
from fleetctl.workflows.agent import AGENT, result

PHASE = "verify"
STORAGE_SECONDS = 20
AGENT_SECONDS = 240  # 600 slots' processes take a minute to come up on two processors

STORAGE_KINDS = {
    "nfs": "NFS",
    "bind": "a bind mount of this computer: proves nothing about NFS",
    "mounted": "mounted by something else than fleetctl",
}
KILLED = (124, 137)  # exit codes of timeout(1)

_IDENTITY = "cat /etc/machine-id; cat /etc/fleet/stamp 2>/dev/null || echo none"
# The child is killed when the storage stalls; the file appears whole, by rename.
_WRITE = 'd="$1/.fleetctl"; mkdir -p "$d" && cat > "$d/$2.new" && mv "$d/$2.new" "$d/$2"'


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
    host); a file written through the shared storage on one is read on the others; Postgres and Redis accept the
    fleet's credentials and refuse wrong and missing ones; one job ran on every unit.
    """
    present = {host.name for host in hosts}
    checks = [
        Check("running", False, "the provider has no running host of this name", host.name, "fleetctl deploy")
        for host in wanted
        if host.name not in present
    ]
    checks += _identity(hosts, inventory, remote)
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


def _identity(hosts: Sequence[Host], inventory: Inventory, remote: Remote) -> list[Check]:
    checks = []
    seen: dict[str, str] = {}
    for host, outcome in zip(hosts, remote.fan_out(hosts, ["sh", "-c", _IDENTITY], timeout=20), strict=True):
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
    return checks


def _storage(hosts: Sequence[Host], inventory: Inventory, remote: Remote, token: str) -> list[Check]:
    if not hosts:
        return []
    storage = inventory["all"]["vars"]["fleet_storage"]
    kind = STORAGE_KINDS[storage["kind"]]
    run = ["timeout", "-s", "KILL", "10", "runuser", "-u", USER, "--"]
    name = f"verify-{token}"
    argv = [*run, "sh", "-c", _WRITE, "sh", storage["path"], name]
    failed = []
    for writer in hosts:  # the first that can
        (written,) = remote.fan_out([writer], argv, stdin={writer.name: token}, timeout=STORAGE_SECONDS)
        if written.value is not None and written.value.code == 0:
            break
        fix = f"fleetctl ssh {writer.name} 'findmnt {storage['path']}; ls -ld {storage['path']}'"
        failed.append(_failure("storage", written, fix))
    else:
        return failed
    readers = hosts[hosts.index(writer) + 1 :]
    checks = [*failed, Check("storage", True, f"wrote a file ({kind})", writer.name)]
    path = f"{storage['path']}/.fleetctl/{name}"
    read = remote.fan_out(readers, [*run, "cat", path], timeout=STORAGE_SECONDS)
    for host, outcome in zip(readers, read, strict=True):
        fix = f"fleetctl ssh {host.name} 'findmnt {storage['path']}'"
        if outcome.value is None or outcome.value.code != 0:
            checks.append(_failure("storage", outcome, fix))
        elif outcome.value.stdout.strip() != token:
            checks.append(_bad("storage", host, f"does not read what {writer.name} wrote", fix))
        else:
            checks.append(Check("storage", True, f"reads what {writer.name} wrote", host.name))
    remote.fan_out([writer], [*run, "rm", "-f", path], timeout=STORAGE_SECONDS)
    return checks


def _agents(wanted: Sequence[WantedHost], hosts: Sequence[Host], remote: Remote, on_event: OnEvent) -> list[Check]:
    units = {host.name: [unit.name for unit in host.units] for host in wanted if host.has_app}
    workers = [host for host in hosts if host.name in units]
    requests = {
        name: json.dumps({"command": "check", "units": names, "timeout": AGENT_SECONDS - 30}) + "\n"
        for name, names in units.items()
    }
    done: list[str] = []

    def tell(name: str) -> None:
        done.append(name)
        on_event(Event("step", PHASE, f"services and jobs, last {name}", None, len(done), len(workers)))

    outcomes = remote.fan_out(workers, AGENT, stdin=requests, timeout=AGENT_SECONDS, on_done=tell)
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


def _failure(name: str, outcome: Outcome[CommandResult], fix: str | None = None) -> Check:
    if outcome.value is None:
        return Check(name, False, outcome.error or "no answer", outcome.host, f"fleetctl ssh {outcome.host}")
    detail = (outcome.value.stderr or outcome.value.stdout).strip()[-400:] or f"exit code {outcome.value.code}"
    if outcome.value.code in KILLED:
        detail = "took longer than 10 s and was killed: the storage stalls"
    return Check(name, False, detail, outcome.host, fix)


def _bad(name: str, host: Host, detail: str, fix: str) -> Check:
    return Check(name, False, detail, host.name, fix)
