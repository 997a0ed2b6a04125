"""What hosts cost: an hour, a month, a job. Pure. USD, on-demand; storage, traffic and addresses are not in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleetctl.model import Host

HOURS_A_MONTH = 730  # 365 x 24 / 12, as clouds count
_FREE = frozenset({"local"})  # kinds of providers whose hosts cost nothing


@dataclass(frozen=True)
class Cost:
    """Costs in USD; None where they cannot be said, with the reason. `is_at_least`: some prices are not known."""

    per_hour: float | None
    per_month: float | None
    per_job: float | None
    reason: str | None = None  # why there is no cost, or none of a job
    is_at_least: bool = False
    unpriced: tuple[str, ...] = ()  # hosts whose price is not known
    note: str | None = None


def cost(hosts: Sequence[Host], kind: str, *, jobs_per_hour: float | None) -> Cost:
    """Return what these hosts of a provider of this kind cost. Jobs bear the costs of all hosts, idle ones included."""
    if kind in _FREE:
        return Cost(0.0, 0.0, 0.0, note=f"{kind} hosts cost nothing")
    prices = [host.price for host in hosts if host.price is not None]
    unpriced = tuple(host.name for host in hosts if host.price is None)
    if not prices:
        return Cost(None, None, None, "no host has a price: set provider.hosts[].price in fleet.yml", False, unpriced)
    per_hour = sum(prices)
    per_job = per_hour / jobs_per_hour if jobs_per_hour else None
    return Cost(
        per_hour=per_hour,
        per_month=per_hour * HOURS_A_MONTH,
        per_job=per_job,
        reason=None if per_job is not None else "no job has ended lately: what one costs is not known",
        is_at_least=bool(unpriced),
        unpriced=unpriced,
    )
