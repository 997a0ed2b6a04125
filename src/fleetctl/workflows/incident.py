"""incident: what is known of a host or a job, from everybody who knows something, without any secret."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from fleetctl.core.layout import WantedHost
from fleetctl.core.survey import Survey
from fleetctl.core.timeline import Moment, stamp, written
from fleetctl.model import Host, HostState
from fleetctl.ports import Fleet
from fleetctl.workflows import jobs as of_jobs
from fleetctl.workflows import survey as broker
from fleetctl.workflows.agent import answering, with_app
from fleetctl.workflows.evidence import Findings, mentions, of_hosts

BEFORE_SECONDS = AFTER_SECONDS = 300.0  # of a job's life, in the journals
MOST_JOBS = 10  # of a host, whose ways are told
_UNSAFE = re.compile(r"[^\w.@-]")
_PRIVATE = ("message", "args", "kwargs")  # what a job was called with is the user's


@dataclass(frozen=True)
class Incident:
    """An archive's files (path -> text, secrets taken out), and what could not be had: source -> why."""

    subject: str
    files: Mapping[str, str]
    missing: Mapping[str, str]
    redactions: int = 0


def gather(
    fleet: Fleet,
    wanted: Sequence[WantedHost],
    subject: str,
    *,
    since_seconds: float,
    now: float,
    spec_text: str,
    changes: Sequence[Mapping[str, Any]],
    redact: Callable[[str], tuple[str, int]],
    version: str,
    health: Callable[[Sequence[Host]], Mapping[str, Any]] | None = None,
) -> Incident:
    """Return all that is known of a host or a job (its id; of a running one the beginning is enough).

    Of a host the last `since_seconds` are told, of a job its life. `health` returns host -> what a health probe says of
    it. What cannot be had is noted, and keeps nothing else away: of a host that does not answer there is what the
    broker and the other hosts know.
    """
    found = Findings()
    hosts = {host.name: host for host in fleet.source.hosts()}
    up = tuple(host for host in hosts.values() if host.state is HostState.RUNNING)
    answers = {host.name: host for host in answering(fleet.remote, up)}
    helpers = with_app(wanted, answers.values())
    found.keep("fleet.yml", spec_text)
    found.keep("history.json", list(changes))
    found.keep("provider.json", [_public(host) for host in hosts.values()])
    look = _broker(found, fleet, helpers)
    is_host = subject in hosts or any(host.name == subject for host in wanted)
    since, until = now - since_seconds, now
    if is_host:
        names = [subject]
        held = [job.job for job in of_jobs.running(look) if job.host == subject] if look is not None else []
        for job in held[:MOST_JOBS]:
            found.attempt(f"job {job}", partial(_job, found, fleet, helpers, job))
        if subject not in answers:
            found.missing[subject] = "does not answer" if subject in hosts else "the provider has no such host"
        mentions(found, fleet.remote, wanted, answers, hosts.get(subject), subject, since, until)
    else:
        subject = of_jobs.full_id(subject, look) if look is not None else subject
        story = None

        def ask() -> None:
            nonlocal story
            story = _job(found, fleet, helpers, subject)

        found.attempt(f"job {subject}", ask)
        names = _places(story) if story is not None else []
        if story is not None and story.steps:
            since = min(step.at for step in story.steps) - BEFORE_SECONDS
            until = min(now, max(step.at for step in story.steps) + AFTER_SECONDS) if story.result_state else now
        for name in names:
            if name not in answers:
                found.missing[name] = "does not answer"
    there = {name: answers[name] for name in names if name in answers}
    of_hosts(found, fleet.remote, wanted, there, None if is_host else subject, since, until)
    if health is not None and there:
        found.attempt("health", partial(_health, found, health, tuple(there.values())))
    found.moments += _changes(changes, since, until)
    found.keep("timeline.txt", written(found.moments))
    return _redacted(
        found, subject, redact, {"version": version, "at": stamp(now), "since": stamp(since), "until": stamp(until)}
    )


def _broker(found: Findings, fleet: Fleet, helpers: Sequence[Host]) -> Survey | None:
    """Keep what the broker knows; return the look at it, None when nobody could say."""
    looks: list[Survey] = []

    def survey() -> None:
        looks.append(broker.survey(fleet, helpers))
        found.keep("broker/survey.json", asdict(looks[0]))
        for drain in looks[0].drains:
            found.moments.append(Moment(drain.at, "broker", f"drain of {drain.key} by {drain.by}"))

    def claims() -> None:
        answer = broker.request(fleet, helpers, {"command": "claims"})
        found.keep("broker/claims.json", answer.get("claims", []))

    def quarantine() -> None:
        answer = broker.request(fleet, helpers, {"command": "quarantine", "operation": "list"})
        found.keep("broker/quarantine.json", _without(answer.get("jobs", [])))

    found.attempt("broker survey", survey)
    found.attempt("broker claims", claims)
    found.attempt("quarantine", quarantine)
    return looks[0] if looks else None


def _health(found: Findings, health: Callable[[Sequence[Host]], Mapping[str, Any]], hosts: Sequence[Host]) -> None:
    for name, facts in health(hosts).items():
        found.keep(f"hosts/{name}/health.json", facts)


def _job(found: Findings, fleet: Fleet, helpers: Sequence[Host], name: str) -> of_jobs.Story:
    answer = broker.job(fleet, helpers, name)
    story = of_jobs.told(answer, name)
    found.keep(f"broker/job-{_UNSAFE.sub('_', name)}.json", _without(answer))
    for step in story.steps:
        where = " ".join(part for part in (step.unit, step.host) if part)
        found.moments.append(Moment(step.at, f"job {name}", " ".join(filter(None, (step.event, where, step.detail)))))
    return story


def _redacted(
    found: Findings, subject: str, redact: Callable[[str], tuple[str, int]], facts: Mapping[str, str]
) -> Incident:
    """Take the secrets out of every file, and add the manifest that says what is there and what is not."""
    files, counts = {}, {}
    for path, text in sorted(found.files.items()):
        files[path], counts[path] = redact(text)
    manifest = {
        "subject": subject,
        **facts,
        "files": {path: {"characters": len(text), "redactions": counts[path]} for path, text in files.items()},
        "missing": found.missing,
    }
    text, count = redact(json.dumps(manifest, indent=2) + "\n")
    missing = {redact(source)[0]: redact(why)[0] for source, why in found.missing.items()}
    return Incident(subject, {"manifest.json": text, **files}, missing, sum(counts.values()) + count)


def _changes(changes: Sequence[Mapping[str, Any]], since: float, until: float) -> list[Moment]:
    moments = []
    for change in changes:
        began, took = float(change.get("began_at") or 0), change.get("seconds")
        if since <= began <= until:
            moments.append(Moment(began, "history", f"{change.get('operator')} began {change.get('command')}"))
        if took is not None and since <= began + took <= until:
            result = f"{change.get('command')}: {change.get('result')} {change.get('summary') or ''}"
            moments.append(Moment(began + took, "history", result))
    return moments


def _places(story: of_jobs.Story) -> list[str]:
    """Return the hosts where a job was."""
    holder = [story.holder.partition("@")[2]] if story.holder else []
    return list(dict.fromkeys([*(step.host for step in story.steps if step.host), *holder]))


def _public(host: Host) -> dict[str, Any]:
    return {"name": host.name, "id": host.id, "address": host.address, "state": str(host.state), "image": host.image,
            "machine_id": host.machine_id}  # fmt: skip


def _without(value: Any) -> Any:
    """Return a value without what jobs were called with."""
    if isinstance(value, Mapping):
        return {key: _without(of) for key, of in value.items() if key not in _PRIVATE}
    return [_without(of) for of in value] if isinstance(value, list) else value
