"""deploy: observe -> plan -> rescue -> bake -> launch -> retire -> converge -> verify -> report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fleetctl.core.inventory import Context, Inventory, image_key, inventory
from fleetctl.core.layout import WantedHost, choose, existing, layout
from fleetctl.core.plan import NEW, Observed, Plan, make
from fleetctl.errors import FleetError, ProviderError
from fleetctl.model import (
    Check,
    ConvergeReport,
    Event,
    Host,
    HostRecap,
    HostRequest,
    HostState,
    OnEvent,
    PhaseTime,
    StepTime,
)
from fleetctl.ports import Baker, Elastic, Fleet
from fleetctl.workflows.agent import with_app
from fleetctl.workflows.claims import Claim, give_back, held, jobs_of, of_the_gone
from fleetctl.workflows.observe import observe, stamps
from fleetctl.workflows.phases import Phases
from fleetctl.workflows.retire import retire
from fleetctl.workflows.verify import verify

BOOT_SECONDS = 120
_HELPERS = 3  # hosts that are asked for what one can say: Redis may be what does not answer


@dataclass(frozen=True)
class DeployReport:
    """What a deploy did. `failed` maps hosts to what went wrong there; the others went through."""

    plan: Plan
    hosts: tuple[Host, ...]
    wanted: tuple[WantedHost, ...]
    converged: ConvergeReport | None
    checks: tuple[Check, ...]
    phases: tuple[PhaseTime, ...]
    failed: dict[str, str]
    app: str  # digest of what workers install

    @property
    def is_ok(self) -> bool:
        return not self.failed and all(check.is_ok for check in self.checks)

    @property
    def summary(self) -> str:
        """One line: what is deployed, what was done for it, and what failed."""
        units = [unit for host in self.wanted for unit in host.units]
        there = f"{len(units)} units, {sum(unit.concurrency for unit in units)} slots, app {self.app[:8]}"
        done = {"launched": len(self.plan.launch), "converged": len(self.converged.hosts if self.converged else ())}
        done["retired"] = len(set(self.plan.retire) - self.failed.keys())
        said = [there, *(f"{count} {verb}" for verb, count in done.items() if count)]
        bad = sum(not check.is_ok for check in self.checks)
        said += [f"failed: {', '.join(self.failed)}"] if self.failed else []
        return "; ".join([*said, *([f"{bad} checks failed"] if bad else [])])


def plan(fleet: Fleet, *, force: bool = False, on_event: OnEvent) -> Plan:
    """Return what `deploy` would do now. Prepares the provider's base image, since image keys depend on it."""
    recipe = fleet.source.prepare(on_event) if isinstance(fleet.source, Baker) else None
    fleet.pin(fleet.source.hosts())
    observed = observe(fleet.source, fleet.remote)
    return _plan(fleet, observed, _claims(fleet, observed, on_event), fleet.context(), recipe, force=force)[1]


def deploy(
    fleet: Fleet,
    *,
    force: bool = False,
    confirm: Callable[[Plan], None],
    token: str,
    clock: Callable[[], float],
    on_event: OnEvent,
) -> DeployReport:
    """Make the fleet what its spec says, and prove it. `confirm` is shown the plan and may raise to stop there.

    A host that fails is in the report and does not hold up the others. A rerun converges what is missing.
    """
    phases = Phases(on_event, clock)
    recipe = None
    if isinstance(fleet.source, Baker):
        with phases.phase("prepare", "base image of this computer's provider"):
            recipe = fleet.source.prepare(on_event)
    with phases.phase("observe", "hosts and their stamps"):
        context = fleet.context()
        fleet.pin(fleet.source.hosts())
        observed = observe(fleet.source, fleet.remote)
        claims = _claims(fleet, observed, on_event)
        wanted, planned = _plan(fleet, observed, claims, context, recipe, force=force)
    confirm(planned)

    _rescue(fleet, of_the_gone(fleet, claims), observed.hosts, phases)
    if planned.bake and isinstance(fleet.source, Baker):
        with phases.phase("bake", f"{len(planned.bake)} images, once", total=len(planned.bake)):
            _bake(fleet, fleet.source, planned.bake, context, on_event)
    failed = {name: f"may still work for the fleet: {error}" for name, error in planned.unknown.items()}
    if planned.launch and isinstance(fleet.source, Elastic):
        with phases.phase("launch", f"{len(planned.launch)} hosts", total=len(planned.launch)):
            failed |= _launch(fleet, fleet.source, planned.launch, on_event)
        context = replace(context, networks=fleet.source.networks)  # a first launch has made them
    if planned.retire:  # before the services are told to refuse those that leave: their jobs still run
        with phases.phase("retire", f"{len(planned.retire)} hosts", total=len(planned.retire)):
            failed |= retire(fleet, planned.retire, context, on_event, busy=planned.busy)
        left = [host for host in observed.hosts if host.name in observed.stamps and host.name not in planned.retire]
        after = replace(observed, hosts=tuple(left))
        _rescue(fleet, of_the_gone(fleet, _claims(fleet, after, on_event)), left, phases)  # killed at its stop timeout
    hosts = _wanted_hosts(fleet.source.hosts(), wanted)
    built = inventory(fleet.spec, wanted, hosts, context)
    converged = None
    names = _to_converge(fleet, planned, hosts, built, failed)
    if names:
        with phases.phase("converge", f"{len(names)} hosts", total=len(names)):
            new = [request for request in planned.launch if planned.reasons[request.name] == NEW and not force]
            fresh = {request.name: request.image for request in new}
            converged = _converge(fleet, hosts, built, names, fresh, on_event)
        failed |= {host.host: "; ".join(host.errors) or "failed" for host in converged.hosts if not host.is_ok}
        failed |= dict.fromkeys(converged.unfinished, "may still run as before: the rolling restart stopped")
    told = [host for host in wanted if host.name not in failed]
    healthy = [host for host in hosts if host.name not in failed]
    with phases.phase("verify", "identity, storage, services, one job on every unit"):
        scope = _to_prove(wanted, names)
        checks = verify(told, healthy, built, fleet.remote, token=token, scope=scope, on_event=on_event)
    return DeployReport(planned, hosts, wanted, converged, checks, tuple(phases.times), failed, context.bundle_digest)


def _plan(
    fleet: Fleet, observed: Observed, claims: Sequence[Claim], context: Context, recipe: str | None, *, force: bool
) -> tuple[tuple[WantedHost, ...], Plan]:
    """Return the hosts that the fleet shall have, and the plan. Of too many hosts the idle ones go."""
    jobs = jobs_of(claims)
    wanted = layout(fleet.spec, choose(fleet.spec, observed.hosts, jobs))
    built = inventory(fleet.spec, wanted, observed.hosts, context)
    expected = {name: hostvars["fleet_stamp"] for name, hostvars in built["_meta"]["hostvars"].items()}
    images = {host.groups: image_key(recipe, host.groups, built, context) for host in wanted} if recipe else {}
    return wanted, make(
        wanted,
        observed,
        stamps=expected,
        images=images,
        is_elastic=isinstance(fleet.source, Elastic),
        storage=context.storage_kind == "bind",
        exports=context.storage_kind == "nfs",
        running_jobs=jobs,
        force=force,
    )


def _claims(fleet: Fleet, observed: Observed, on_event: OnEvent) -> tuple[Claim, ...]:
    """Return who holds which job; nothing, and a note, where nobody can say: then nobody counts as busy or dead."""
    try:
        return held(fleet, _helpers(fleet, [host for host in observed.hosts if host.name in observed.stamps]))
    except FleetError as error:
        if observed.stamps:
            on_event(Event("note", "observe", f"nobody says which jobs run where: {error.message}"))
        return ()


def _helpers(fleet: Fleet, hosts: Sequence[Host]) -> tuple[Host, ...]:
    """Return some hosts whose agents can be asked, those without units first."""
    return with_app(layout(fleet.spec, existing(fleet.spec, hosts)), hosts)[:_HELPERS]


def _rescue(fleet: Fleet, dead: Sequence[Claim], hosts: Sequence[Host], phases: Phases) -> None:
    """Give back what hosts held that are gone.

    Where that cannot be done the jobs come back by themselves, after the visibility timeout: no reason to stop.
    """
    if not dead:
        return
    with phases.phase("rescue", f"{len(dead)} jobs of hosts that are gone"):
        try:
            for found in give_back(fleet, _helpers(fleet, hosts), dead):
                said = f"{len(found.restored)} jobs are queued again, {len(found.quarantined)} quarantined"
                phases.on_event(Event("note", "rescue", f"{found.host}: {said}"))
        except FleetError as error:
            phases.on_event(Event("note", "rescue", f"{error.message}; jobs come back after the visibility timeout"))


def _bake(fleet: Fleet, source: Baker, requests: tuple[HostRequest, ...], context: Context, on_event: OnEvent) -> None:
    """Run the install phase once for each kind of host, on throw-away machines, and keep their disks."""
    source.terminate([request.name for request in requests])
    hosts = source.launch([replace(request, image=None, storage=False, draft=True) for request in requests], on_event)
    try:
        fleet.pin(source.hosts())
        _raise_on_failure(fleet.remote.wait_until_up(hosts, timeout=BOOT_SECONDS))
        pool = next(iter(fleet.spec.pools))
        wanted = [
            WantedHost(request.name, request.roles, pool if "workers" in request.roles else None)
            for request in requests
        ]
        built = inventory(fleet.spec, wanted, hosts, context)
        names = [host.name for host in hosts]
        report = fleet.converger.converge(
            "bake.yml", built, phase="bake", limit=names, tags=None, on_event=on_event
        )  # fmt: skip
        if broken := [host for host in report.hosts if not host.is_ok]:
            errors = "\n".join(error for host in broken for error in host.errors)
            raise ProviderError(f"the install phase failed:\n{errors}", hint=f"less {report.log}")
        for request in requests:
            source.seal(request.name, request.image or "")
    finally:
        source.terminate([request.name for request in requests])


def _launch(fleet: Fleet, source: Elastic, requests: tuple[HostRequest, ...], on_event: OnEvent) -> dict[str, str]:
    failed: dict[str, str] = {}
    try:
        source.launch(requests, on_event)
    except ProviderError as error:
        running = {host.name for host in source.hosts() if host.state is HostState.RUNNING}
        failed = {request.name: error.message for request in requests if request.name not in running}
        if not failed or len(failed) == len(requests):
            raise
    fleet.pin(source.hosts())
    names = {request.name for request in requests} - failed.keys()
    hosts = [host for host in source.hosts() if host.name in names]
    outcomes = fleet.remote.wait_until_up(hosts, timeout=BOOT_SECONDS)
    return failed | {outcome.host: outcome.error for outcome in outcomes if outcome.error is not None}


def _to_converge(
    fleet: Fleet, planned: Plan, hosts: Sequence[Host], built: Inventory, failed: dict[str, str]
) -> list[str]:
    """Return the planned hosts, and those whose stamps went stale because a launched service has another address."""
    names = set(planned.converge)
    if planned.launch:
        kept = [host for host in hosts if host.name in planned.keep]
        carried, _ = stamps(kept, fleet.remote)
        names |= {h.name for h in kept if carried.get(h.name) != built["_meta"]["hostvars"][h.name]["fleet_stamp"]}
    return [host.name for host in hosts if host.name in names and host.name not in failed]


def _converge(
    fleet: Fleet,
    hosts: Sequence[Host],
    built: Inventory,
    names: list[str],
    fresh: Mapping[str, str | None],
    on_event: OnEvent,
) -> ConvergeReport:
    """Run the roles: the join phase alone where this deploy made every host from its baked image (`fresh`).

    What a host was launched from says nothing of what was installed on it since, so an older one gets both phases.
    Ansible ends a run when all hosts of one group fail: the hosts of the other groups then have another run.
    """
    images = {host.name: host.image for host in hosts}
    is_baked = all(fresh.get(name) is not None and images[name] == fresh[name] for name in names)
    on_event(Event("note", "converge", "join phase only, from baked images" if is_baked else "install and join phases"))
    tags = ["join"] if is_baked else None
    rest = names
    recaps: dict[str, HostRecap] = {}
    steps: list[StepTime] = []
    log: Path | None = None
    while rest:
        report = fleet.converger.converge(
            "site.yml", built, phase="converge", limit=rest, tags=tags, on_event=on_event
        )  # fmt: skip
        recaps |= {host.host: host for host in report.hosts}
        steps += report.steps
        log = report.log
        if report.halted:
            return ConvergeReport(_in_order(recaps, names), tuple(steps), log, report.unfinished, halted=True)
        rest = list(report.unfinished) if len(report.unfinished) < len(rest) else []
    return ConvergeReport(_in_order(recaps, names), tuple(steps), log)


def _in_order(recaps: Mapping[str, HostRecap], names: Sequence[str]) -> tuple[HostRecap, ...]:
    return tuple(recaps[name] for name in names)


def _to_prove(wanted: Sequence[WantedHost], names: Sequence[str]) -> frozenset[str] | None:
    """Return the hosts that a deploy has touched; None, for all, when it touched none or one that others depend on."""
    touched = [host for host in wanted if host.name in names]
    if not touched or any(not host.units for host in touched):
        return None
    return frozenset(host.name for host in touched)


def _wanted_hosts(hosts: Sequence[Host], wanted: Sequence[WantedHost]) -> tuple[Host, ...]:
    by_name = {host.name: host for host in hosts if host.state is HostState.RUNNING}
    return tuple(by_name[host.name] for host in wanted if host.name in by_name)


def _raise_on_failure(outcomes: Sequence[object]) -> None:
    for outcome in outcomes:
        if (error := getattr(outcome, "error", None)) is not None:
            raise ProviderError(f"a machine to bake on did not answer: {error}", hint="fleetctl deploy, again")
