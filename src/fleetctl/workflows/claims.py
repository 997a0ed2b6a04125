"""Who holds which job, as the workers' ledger says; and giving back what a dead host held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from fleetctl.core.layout import WantedHost
from fleetctl.errors import UsageError
from fleetctl.model import Host, HostState
from fleetctl.ports import Elastic, Fleet
from fleetctl.workflows.agent import answering, ask_any, with_app


@dataclass(frozen=True)
class Claim:
    """One job in the hands of a unit: on which host, machine (machine id), and in which life of its main process."""

    job: str
    host: str
    machine: str
    boot: str


@dataclass(frozen=True)
class Rescue:
    """What became of the jobs that a dead host held."""

    host: str
    restored: tuple[str, ...] = ()  # jobs that are in their queues again
    quarantined: tuple[str, ...] = ()  # jobs whose workers have died under them too often
    held: tuple[str, ...] = ()  # jobs that would be given back: a dry run


def held(fleet: Fleet, helpers: Sequence[Host]) -> tuple[Claim, ...]:
    """Return all claims, asked of one of `helpers`. Raises FleetError when none can say."""
    request = {"command": "claims", "redis_url": fleet.redis_url("worker")}
    answer = ask_any(fleet.remote, helpers, request)
    return tuple(Claim(*(claim[field] for field in Claim.__dataclass_fields__)) for claim in answer["claims"])


def jobs_of(claims: Iterable[Claim]) -> dict[str, int]:
    """Return host -> number of jobs that it holds."""
    return dict(Counter(claim.host for claim in claims))


def give_back(fleet: Fleet, helpers: Sequence[Host], claims: Iterable[Claim]) -> tuple[Rescue, ...]:
    """Give back what these claims are about, for each host. Whoever calls knows that their holders are dead.

    Only the lives of units that the claims name: one that has begun since keeps its own.
    """
    by_host = groupby(sorted(claims, key=lambda claim: claim.host), key=lambda claim: claim.host)
    found = []
    for host, of in by_host:
        boots = sorted({claim.boot for claim in of})
        request = {"command": "rescue", "host": host, "boots": boots, "redis_url": fleet.redis_url("worker")}
        answer = ask_any(fleet.remote, helpers, request)
        found.append(Rescue(host, tuple(answer["restored"]), tuple(answer["quarantined"])))
    return tuple(found)


def of_the_gone(fleet: Fleet, claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """Return the claims of hosts that the provider says are gone or stopped, or are another machine by now.

    `claims` were read before the provider is asked, so that no claim of a machine started in between is among them. A
    provider that is not elastic cannot say.
    """
    if not isinstance(fleet.source, Elastic):
        return ()
    there = {host.name: host.machine_id for host in fleet.source.hosts() if host.state is not HostState.STOPPED}

    def is_gone(claim: Claim) -> bool:
        if claim.host not in there:
            return True
        return there[claim.host] is not None and there[claim.host] != claim.machine

    return tuple(claim for claim in claims if is_gone(claim))


def rescue(
    fleet: Fleet,
    wanted: Sequence[WantedHost],
    name: str,
    *,
    confirmed_dead: bool,
    dry_run: bool = False,
) -> Rescue:
    """Give back the jobs of a host that is dead. Raises UsageError while it may be alive: its jobs would run twice.

    It is dead when an elastic provider says that it is gone or stopped, or when the operator says so and it does not
    answer. Where the provider runs another machine under its name, the jobs of the earlier machine are given back.
    """
    running = {host.name: host for host in fleet.source.hosts() if host.state is HostState.RUNNING}
    is_elastic = isinstance(fleet.source, Elastic)
    if not confirmed_dead and not is_elastic:
        raise _may_be_alive(name, fleet.source.kind)
    if confirmed_dead and name in running and answering(fleet.remote, [running[name]]):
        raise UsageError(f"{name} is alive: it answers", hint=f"fleetctl ssh {name} systemctl status 'fleet-worker@*'")
    others = [host for host in running.values() if host.name != name]
    helpers = answering(fleet.remote, with_app(wanted, others))
    mine = tuple(claim for claim in held(fleet, helpers) if claim.host == name)
    dead = mine if confirmed_dead else of_the_gone(fleet, mine)
    if not dead and not confirmed_dead and _is_there(fleet, name):
        raise _may_be_alive(name, fleet.source.kind)
    if dry_run:
        return Rescue(name, held=tuple(claim.job for claim in dead))
    return next(iter(give_back(fleet, helpers, dead)), Rescue(name))


def _is_there(fleet: Fleet, name: str) -> bool:
    return any(host.name == name and host.state is not HostState.STOPPED for host in fleet.source.hosts())


def _may_be_alive(name: str, kind: str) -> UsageError:
    said = "cannot know" if kind == "static" else "says that it runs"
    hint = f"make sure that it is off, then: fleetctl rescue {name} --confirmed-dead"
    return UsageError(f"{name} may be alive: provider {kind} {said}, and its jobs would run twice", hint=hint)
