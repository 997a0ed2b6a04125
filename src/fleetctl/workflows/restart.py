"""restart: units are started anew batch by batch, each batch proven before the next begins."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fleetctl.core.layout import WantedHost
from fleetctl.core.targets import Target, units_of
from fleetctl.errors import UsageError
from fleetctl.model import Check, CommandResult, Event, Host, OnEvent, Outcome
from fleetctl.ports import Fleet
from fleetctl.workflows.agent import AGENT, result

PHASE = "restart"
SLACK_SECONDS = 120  # what a start takes beside the stop, as for the rolling restart of a deploy
PROOF_SECONDS = 210  # as verify waits for a job on a unit that comes up
_AGENT_SECONDS = 120

# All units of a host at once, so that they wait for their jobs side by side; each host has its own, on stdin. The proof
# gives up a unit that systemd started again several times: that count is cleared first. A line now and then keeps the
# connection open through the long wait, and its sleeper holds none of the connection's pipes.
_RESTART = """
set -f -- $(cat)
systemctl reset-failed "$@" 2>/dev/null
(while sleep 20 >/dev/null 2>&1; do echo waits; done) &
beat=$!
systemctl restart "$@"
code=$?
kill $beat
exit $code
"""


@dataclass(frozen=True)
class Restarted:
    """What came of a rolling restart: hosts that are proven, host -> why it is not, and hosts that were not touched."""

    proven: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    untouched: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()

    @property
    def is_ok(self) -> bool:
        return not self.failed


def batches(hosts: Sequence[WantedHost], size: str) -> tuple[tuple[WantedHost, ...], ...]:
    """Return the hosts in batches of a number ("2") or a share ("25%", rounded down), one host at least.

    Raises UsageError for a size that is neither.
    """
    number = size.removesuffix("%")
    if not number.isdecimal() or not int(number) or (size.endswith("%") and int(number) > 100):
        raise UsageError(f"--batch {size} is neither a number of hosts nor a share", hint="--batch 2, or --batch 25%")
    of = max(1, len(hosts) * int(number) // 100) if size.endswith("%") else int(number)
    return tuple(tuple(hosts[first : first + of]) for first in range(0, len(hosts), of))


def meant(targets: Sequence[Target], wanted: Sequence[WantedHost]) -> dict[str, tuple[str, ...]]:
    """Return host -> units to restart, in the fleet's order; all without a target."""
    units = units_of(targets, wanted) if targets else [unit for host in wanted for unit in host.units]
    found: dict[str, tuple[str, ...]] = {}
    for unit in units:
        found[unit.host] = (*found.get(unit.host, ()), unit.name)
    return found


def restart(
    fleet: Fleet,
    wanted: Sequence[WantedHost],
    units: Mapping[str, tuple[str, ...]],
    running: Mapping[str, Host],
    *,
    batch: str,
    on_event: OnEvent,
) -> Restarted:
    """Restart these units (host -> units) batch by batch, and stop at the first batch with a host that is not proven.

    A unit waits for its running jobs, at most for its pool's stop timeout. Raises UsageError for a bad `batch`.
    """
    hosts = [host for host in wanted if host.name in units]
    plan = batches(hosts, batch)
    proven: list[str] = []
    checks: list[Check] = []
    on_event(Event("phase", PHASE, f"{len(hosts)} hosts in {len(plan)} batches", total=len(hosts)))
    for index, of in enumerate(plan):
        names = [host.name for host in of]
        on_event(Event("note", PHASE, f"batch {index + 1} of {len(plan)}: {', '.join(names)}"))
        failed = {name: "does not run" for name in names if name not in running}
        there = [running[name] for name in names if name in running]
        failed |= _restart(fleet, of, there, units)
        found = _prove(fleet, [host for host in there if host.name not in failed], units)
        checks += found
        for check in found:
            if not check.is_ok and check.host is not None:
                failed.setdefault(check.host, f"{check.name}: {check.detail}")
        proven += [name for name in names if name not in failed]
        on_event(Event("step", PHASE, f"last {names[-1]}", None, len(proven), len(hosts)))
        if failed:
            left = tuple(host.name for later in plan[index + 1 :] for host in later)
            return Restarted(tuple(proven), failed, left, tuple(checks))
    on_event(Event("end", PHASE))
    return Restarted(tuple(proven), {}, (), tuple(checks))


def _restart(
    fleet: Fleet, batch: Sequence[WantedHost], hosts: Sequence[Host], units: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    """Restart the units of one batch side by side; return host -> error."""
    stop = max(fleet.spec.pools[host.pool].stop_seconds for host in batch if host.pool is not None)
    names = {name: [f"fleet-worker@{unit}.service" for unit in of] for name, of in units.items()}
    stdin = {host.name: " ".join(names[host.name]) + "\n" for host in hosts}
    argv = ["sh", "-c", _RESTART, "restart"]
    outcomes = fleet.remote.fan_out(hosts, argv, stdin=stdin, timeout=stop + SLACK_SECONDS)
    return {outcome.host: error for outcome in outcomes if (error := _error(outcome)) is not None}


def _prove(fleet: Fleet, hosts: Sequence[Host], units: Mapping[str, tuple[str, ...]]) -> list[Check]:
    """Send each restarted unit a job; return the agents' checks."""
    requests = {
        host.name: json.dumps(
            {"command": "check", "units": list(units[host.name]), "timeout": PROOF_SECONDS, "wrong_password": False}
        )
        + "\n"
        for host in hosts
    }
    outcomes = fleet.remote.fan_out(hosts, AGENT, stdin=requests, timeout=PROOF_SECONDS + _AGENT_SECONDS)
    return [check for outcome in outcomes for check in _checks(outcome)]


def _checks(outcome: Outcome[CommandResult]) -> list[Check]:
    fix = f"fleetctl logs {outcome.host} -n 50"
    if outcome.value is None:
        return [Check("agent", False, outcome.error or "no answer", outcome.host, f"fleetctl ssh {outcome.host}")]
    answer, error = result(outcome.value)
    if error is not None:
        return [Check("agent", False, error, outcome.host, fix)]
    return [
        Check(check["name"], check["is_ok"], check["detail"], outcome.host, check.get("fix") or fix)
        for check in answer["checks"]
    ]


def _error(outcome: Outcome[CommandResult]) -> str | None:
    if outcome.value is None:
        return outcome.error or "no answer"
    if outcome.value.code < 0:
        return "the connection ended while its units restarted: nobody knows how they are"
    if outcome.value.code != 0:
        said = outcome.value.stderr.strip()[-400:]
        return said or f"systemctl restart ended with exit code {outcome.value.code}"
    return None
