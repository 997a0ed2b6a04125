"""How capacity, plans of jobs, preflight, queues and the audit look."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import click
from rich.console import Console
from rich.text import Text

from fleetctl.cli.views.page import as_json as write
from fleetctl.cli.views.page import console, duration, jobs, money, percent, table
from fleetctl.core.capacity import Capacity, Slots, Work
from fleetctl.core.ceilings.ground import Ceiling
from fleetctl.core.cost import Cost
from fleetctl.core.instances import PRICES_AS_OF
from fleetctl.core.preflight import Preflight
from fleetctl.core.waves import JobPlan
from fleetctl.errors import FleetError
from fleetctl.workflows.capacity import FleetCapacity, QueueRow
from fleetctl.workflows.survey import Audit, Requeued

_WORK = ("queued", "reserved", "running", "scheduled", "stranded", "oldest", "come/h", "end/h", "failed", "to drain")
_MOST_FITS = 6


def capacity(value: FleetCapacity, *, as_json: bool) -> None:
    """Print slots, work, pace and cost; then pools, queues and tasks."""
    of = value.capacity
    if as_json:
        write({"fleet": value.fleet, **dataclasses.asdict(of), "cost": dataclasses.asdict(value.cost)})
        return
    page = console()
    page.print(f"fleet {value.fleet}: {_slots(of.slots)}")
    _summary(of, page)
    _cost(value.cost, page)
    rows = table("pool", "units", "slots", "live", "busy", "draining", "idle", *_WORK)
    for pool in of.pools:
        slots, units = pool.slots, f"{pool.units_live}/{pool.units_wanted}"
        numbers = (slots.wanted, slots.live, slots.busy, slots.draining, slots.idle)
        rows.add_row(pool.name, units, *map(str, numbers), *_cells(pool.work))
    page.print(rows)
    rows = table("queue", "pools", "slots", *_WORK)
    for queue in of.queues:
        pools = Text(" ".join(queue.pools)) if queue.pools else Text("nobody", style="red")
        rows.add_row(queue.name, pools, str(queue.slots), *_cells(queue.work))
    page.print(rows)
    if of.tasks:
        rows = table("task", "runs", "mean time")
        for task in of.tasks:
            rows.add_row(task.name, str(task.runs), duration(task.mean_seconds))
        page.print(rows)
    for pool in of.pools:
        if pool.shared:
            page.print(f"pool {pool.name} shares {', '.join(pool.shared)} with others: their jobs are shown in each")


def _slots(slots: Slots) -> str:
    return (
        f"{slots.wanted} slots in all, {slots.live} live: "
        f"{slots.busy} busy, {slots.draining} draining, {slots.idle} idle"
    )


def _summary(of: Capacity, page: Console) -> None:
    work = of.work
    oldest = f"; the oldest has waited {duration(work.oldest_seconds)}" if work.oldest_seconds is not None else ""
    page.print(
        f"{jobs(work.depth)}: {work.queued} queued, {work.reserved} reserved, {work.running} running, "
        f"{work.scheduled} scheduled, {work.stranded} stranded; {of.quarantined} in quarantine{oldest}"
    )
    failed = f", {percent(work.error_rate)} of them failed" if work.error_rate is not None else ""
    growing = "; more come than end" if work.is_growing else ""
    drain = f"{duration(work.drain_seconds)} to drain" if work.drain_seconds is not None else work.drain_reason
    page.print(
        f"in the last {duration(of.window_seconds)}: {work.arrivals_per_hour:,.0f} jobs an hour came, "
        f"{work.jobs_per_hour:,.0f} an hour ended{failed}{growing}; {drain}"
    )
    if of.missing:
        page.print(Text(f"silent: {', '.join(of.missing)}: fleetctl health", style="red"))
    if of.strangers:
        page.print(Text(f"not of this fleet's layout: {', '.join(of.strangers)}: fleetctl deploy", style="yellow"))
    if of.drains:
        page.print(f"drained: {', '.join(of.drains)}")
    if work.stranded:
        page.print(Text(f"in dead hands: {jobs(work.stranded)}: fleetctl rescue HOST", style="red"))


def _cost(cost: Cost, page: Console) -> None:
    if cost.note:
        page.print(f"cost: {cost.note}")
        return
    least = "at least " if cost.is_at_least else ""
    parts = [f"{least}{money(cost.per_hour)} an hour, {money(cost.per_month)} a month"] if cost.per_hour else []
    if cost.per_job is not None:
        parts.append(f"{money(cost.per_job)} a job")
    parts += [cost.reason] if cost.reason else []
    parts += [f"without a price: {', '.join(cost.unpriced)}"] if cost.is_at_least else []
    page.print(f"cost: {'; '.join(parts)}")


def _cells(work: Work) -> list[Text]:
    drain = duration(work.drain_seconds) if work.drain_reason is None else work.drain_reason
    stranded = Text(str(work.stranded), style="red" if work.stranded else "")
    numbers = [Text(str(number)) for number in (work.queued, work.reserved, work.running, work.scheduled)]
    rates = [f"{work.arrivals_per_hour:,.0f}", f"{work.jobs_per_hour:,.0f}", percent(work.error_rate), drain]
    return [*numbers, stranded, Text(duration(work.oldest_seconds)), *map(Text, rates)]


def plan(value: JobPlan, error: FleetError | None, *, as_json: bool) -> None:
    """Print how a number of jobs would go."""
    if as_json:
        write({**dataclasses.asdict(value), "note": error.message if error else None})
        return
    page = console()
    if error is not None:
        click.echo(f"from fleet.yml alone: {error.message}", err=True)
    page.print(
        f"{jobs(value.jobs)} of {duration(value.seconds_each)} on {value.slots} slots ({value.basis}): "
        f"{value.waves} waves, {duration(value.seconds)}, {value.jobs_per_hour:,.0f} jobs an hour"
    )
    if value.ahead:
        wait = f"about {duration(value.ahead_seconds)}" if value.ahead_seconds is not None else "no one knows how long"
        page.print(f"before them: {jobs(value.ahead)}, {wait}")
    least = "at least " if value.is_at_least else ""
    said = f"{least}{money(value.cost)}, {money(value.cost_per_job)} a job" if value.cost is not None else "not known"
    page.print(f"cost: {value.cost_note or said}")
    page.print(f"binds first: {value.binds}" + (f"\n   fix: {value.fix}" if value.fix else ""))


def preflight(value: Preflight, *, as_json: bool) -> None:
    """Print the ceilings, the first to be reached first, and how many slots common machines carry."""
    if as_json:
        write(dataclasses.asdict(value))
        return
    page = console()
    basis = "what the hosts say" if value.is_deployed else "fleet.yml alone"
    page.print(f"{value.slots} slots (fleet.yml has {value.slots_now}), judged on {basis}")
    rows = table("ceiling", "where", "limit", "need", "used", "")
    for ceiling in value.ceilings:
        verdict = "-" if ceiling.limit is None else "ok" if ceiling.is_ok else "too low"
        style = {"-": "yellow", "ok": "green", "too low": "red"}[verdict]
        limit = f"{ceiling.limit:,.0f} {ceiling.unit}" if ceiling.limit is not None else "not known"
        rows.add_row(
            ceiling.name, ceiling.where, limit, f"{ceiling.need:,.0f}", percent(ceiling.share),
            Text(verdict, style=style),
        )  # fmt: skip
    page.print(rows)
    _binding(value.binding, page)
    for ceiling in value.ceilings:
        if not ceiling.is_ok:
            page.print(Text(f"too low: {ceiling.name} ({ceiling.where})", style="red"))
            page.print(f"   fix: {ceiling.fix}")
    for host, why in value.unknown.items():
        page.print(Text(f"{host} did not say: {why}", style="yellow"))
    for note in value.notes:
        page.print(f"note: {note}")
    _guidance(value, page)


def _binding(ceiling: Ceiling | None, page: Console) -> None:
    if ceiling is not None:
        page.print(f"binds first: {ceiling.name} ({ceiling.where}), {percent(ceiling.share)} used")


def _guidance(value: Preflight, page: Console) -> None:
    for pool in value.guidance:
        page.print(f"machines for {pool.slots} slots of pool {pool.pool}, {pool.slot_mib} MiB a slot ({PRICES_AS_OF}):")
        rows = table("type", "vCPU", "GiB", "slots a host", "a vCPU", "hosts", "USD/h", "")
        for fit in pool.fits[:_MOST_FITS]:
            rows.add_row(
                fit.instance, str(fit.vcpus), f"{fit.memory_mib / 1024:.0f}", str(fit.slots),
                f"{fit.slots_per_vcpu:g}", str(fit.hosts), f"{fit.usd_per_hour:.2f}",
                "burstable" if fit.is_burstable else "",
            )  # fmt: skip
        page.print(rows)


def queues(rows: Sequence[QueueRow], *, as_json: bool) -> None:
    """Print all queues; those that nobody serves stand out."""
    if as_json:
        write({"queues": [{**dataclasses.asdict(row), "is_served": row.is_served} for row in rows]})
        return
    page, of = (
        console(),
        table("queue", "served by", "queued", "reserved", "running", "scheduled", "stranded", "oldest"),
    )
    for row in rows:
        served = Text(" ".join(row.pools)) if row.is_served else Text("nobody", style="red")
        numbers = (row.queued, row.reserved, row.running, row.scheduled, row.stranded)
        of.add_row(row.name, served, *map(str, numbers), duration(row.oldest_seconds))
    page.print(of)
    for row in rows:
        if not row.is_served and row.queued:
            how = "its units are silent: fleetctl health" if row.is_known else f"fleetctl queues move {row.name} QUEUE"
            page.print(Text(f"nobody serves {row.name}, where {jobs(row.queued)} wait: {how}", style="red"))


def audit(value: Audit, requeued: Requeued | None, *, as_json: bool) -> None:
    """Print the books of jobs, what is wrong with them, and what they cannot know."""
    if as_json:
        of = dataclasses.asdict(requeued) if requeued is not None else None
        write({**dataclasses.asdict(value), "is_ok": value.is_ok, "requeue": of})
        return
    page = console()
    if value.since is None:
        page.print("nothing has been counted yet: jobs are counted from the first one on")
    else:
        page.print(f"counted since {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(value.since))} UTC")
    rows = table("jobs", "count")
    for name in (
        "submitted", "done", "failed", "revoked", "purged", "open", "queued", "reserved", "running", "scheduled",
        "stranded", "quarantined",
    ):  # fmt: skip
        rows.add_row(name, str(getattr(value, name)))
    page.print(rows)
    if value.unrecorded:
        page.print(
            f"ended without having been recorded as submitted: {jobs(value.unrecorded)}, of publishers that lack the "
            "client configuration: of such jobs the audit cannot know whether all ended (fleetctl client-config)"
        )
    if value.balance:
        page.print(Text(f"the books do not balance: {value.balance:+d}", style="red"))
    for orphan in value.orphans:
        note = "" if orphan.has_message else ", its message was not kept"
        page.print(Text(f"orphan {orphan.job}: {orphan.task or '?'} of queue {orphan.queue or '?'}{note}", style="red"))
    if requeued is None and any(orphan.has_message for orphan in value.orphans):
        page.print("   fix: fleetctl audit --requeue")
    if requeued is not None:
        page.print(f"in their queues again: {jobs(len(requeued.requeued))}")
    if value.is_ok:
        page.print(Text("every submitted job is accounted for", style="green"))


def removed(queue: str, count: int, *, as_json: bool) -> None:
    """Print how many jobs were purged."""
    if as_json:
        write({"queue": queue, "removed": count})
    else:
        click.echo(f"removed from queue {queue}: {jobs(count)}")


def moved(source: str, target: str, count: int, *, as_json: bool) -> None:
    """Print how many jobs were moved."""
    if as_json:
        write({"from": source, "to": target, "moved": count})
    else:
        click.echo(f"moved from queue {source} to {target}: {jobs(count)}")
