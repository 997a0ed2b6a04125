"""incident over a world of fakes: all that is known, from those who answer, and no secret anywhere."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest

from fleetctl.core.inventory import Context
from fleetctl.core.redaction import redaction
from fleetctl.errors import ConnectError
from fleetctl.model import CommandResult
from fleetctl.workflows.incident import Incident, gather
from tests.unit.core.conftest import context  # noqa: F401  # a fixture
from tests.workflows.day2 import NOW, Day2, job
from tests.workflows.test_journal import line

ID = "0b1c2d3e-0000-4000-8000-1234567890ab"
SECRET = "c4n4ry/V4lue+0f=the~fleet"  # one of the fleet's secrets
SHAPES = (
    "redis://worker:CANARY-url@10.0.0.4:6379/0",
    "MODEL_PASSWORD=CANARY-variable",
    "Authorization: Bearer CANARY-header",
    "AKIACANARYCANARY1234",
    "-----BEGIN PRIVATE KEY-----\nCANARYkey\n-----END PRIVATE KEY-----",
)
FORMS = (SECRET, quote(SECRET, safe=""), b64encode(f"worker:{SECRET}".encode()).decode())
PLANTED = " ; ".join((*FORMS, *SHAPES))


@pytest.fixture
def world(context: Context) -> Day2:  # noqa: F811
    world = Day2(context)
    world.live(job(ID, started=60))
    world.remote.told[ID] = {
        "job": ID, "task": "plain.work", "queue": "celery", "state": "running", "quarantined": False,
        "events": [{"at": NOW - 61, "event": "submitted"},
                   {"at": NOW - 60, "event": "started", "unit": "worker-1", "host": "worker-1"}],
        "claim": {"unit": "worker-1", "host": "worker-1"}, "deaths": [], "result_state": None,
    }  # fmt: skip
    world.remote.answers = {"claims": {"claims": [{"job": ID, "host": "worker-1"}]}, "quarantine": {"jobs": []}}
    world.remote.command = told()
    return world


def told(planted: str = "") -> Any:
    """Return hosts that say something of each kind, with `planted` in all of it."""

    def answer(host: str, argv: Sequence[str], stdin: str) -> CommandResult:
        del stdin
        command = " ".join(argv)
        if "journalctl" in command and "_TRANSPORT=kernel" in command:
            said = [line(NOW - 30, f"Out of memory: Killed process 12 {planted}"), line(NOW - 29, "usb 1-1 attached")]
        elif "journalctl" in command and host == "redis":
            said = [line(NOW - 20, f"lost worker-1 {planted}"), line(NOW - 19, "of worker-11 nothing")]
        elif "journalctl" in command:
            said = [
                line(NOW - 50, f"Task plain.work[{ID}] received {planted}"),
                line(NOW - 40, "stopping", UNIT="fleet-worker@worker-1.service", _PID="1"),
                line(NOW - 35, "an idle word"),
            ]
        else:
            return CommandResult(0, f"nfs mounted, oom {planted}\n", planted)
        return CommandResult(0, "\n".join(said), "")

    return answer


def gathered(
    world: Day2, subject: str, *, spec_text: str = "name: demo\n", summary: str = "", health: Any = None
) -> Incident:
    changes = [{"began_at": NOW - 100, "command": "deploy", "operator": "ann@desk", "seconds": 10.0, "result": "done",
                "summary": summary}]  # fmt: skip
    return gather(
        world.fleet, world.wanted, subject, since_seconds=3600, now=NOW, spec_text=spec_text, changes=changes,
        redact=redaction([SECRET]).redact, version="0.1.0", health=health,
    )  # fmt: skip


def test_of_a_host_there_is_what_it_and_the_broker_and_the_services_say(world: Day2) -> None:
    found = gathered(world, "worker-1")
    assert found.missing == {}
    assert set(found.files) == {
        "manifest.json", "timeline.txt", "fleet.yml", "history.json", "provider.json", "broker/survey.json",
        "broker/claims.json", "broker/quarantine.json", f"broker/job-{ID}.json", "hosts/worker-1/journal.log",
        "hosts/worker-1/kernel.log", "hosts/worker-1/dmesg.txt", "hosts/worker-1/mounts.txt",
        "hosts/worker-1/system.txt", "others/nfs.log", "others/postgres.log", "others/redis.log",
    }  # fmt: skip
    assert "Out of memory" in found.files["hosts/worker-1/kernel.log"]
    assert "usb" not in found.files["hosts/worker-1/kernel.log"]
    assert "lost worker-1" in found.files["others/redis.log"]
    assert "worker-11" not in found.files["others/redis.log"]


def test_the_timeline_has_all_of_it_in_the_order_of_time(world: Day2) -> None:
    lines = gathered(world, "worker-1").files["timeline.txt"].splitlines()
    assert lines == sorted(lines)
    words = ["began deploy", "deploy: done", "submitted", "started", "stopping", "Out of memory", "lost worker-1"]
    assert [next(word for word in words if word in text) for text in lines] == words


def test_what_a_health_probe_says_is_kept_and_its_failure_keeps_nothing_else_away(world: Day2) -> None:
    found = gathered(world, "worker-1", health=lambda hosts: {host.name: {"load": 1, "by": PLANTED} for host in hosts})
    assert json.loads(found.files["hosts/worker-1/health.json"])["load"] == 1
    assert "CANARY" not in found.files["hosts/worker-1/health.json"]

    def fail(_: object) -> None:
        raise ConnectError("the probe did not answer")

    found = gathered(world, "worker-1", health=fail)
    assert found.missing == {"health": "the probe did not answer"}
    assert "hosts/worker-1/journal.log" in found.files


def test_of_a_job_there_are_its_hosts_and_the_lines_that_name_it(world: Day2) -> None:
    found = gathered(world, ID[:6])
    assert found.subject == ID
    assert "hosts/worker-1/journal.log" in found.files
    assert not any(path.startswith("hosts/worker-2") for path in found.files)
    assert "received" in found.files["timeline.txt"]
    assert "stopping" not in found.files["timeline.txt"]


def test_of_a_host_that_does_not_answer_there_is_what_others_know(world: Day2) -> None:
    world.remote.dead = {"worker-1"}
    found = gathered(world, "worker-1")
    assert found.missing == {"worker-1": "does not answer"}
    assert ID in found.files["broker/claims.json"]
    assert "lost worker-1" in found.files["timeline.txt"]
    assert json.loads(found.files["manifest.json"])["missing"] == {"worker-1": "does not answer"}


def test_with_a_broker_that_nobody_can_ask_there_is_what_the_host_says(world: Day2) -> None:
    def refuse() -> None:
        raise ConnectError("redis: connection refused")

    world.remote.looks = [refuse] * 9
    found = gathered(world, "worker-1")
    assert "connection refused" in found.missing["broker survey"]
    assert "hosts/worker-1/journal.log" in found.files


def test_when_no_host_answers_there_is_what_this_computer_knows(world: Day2) -> None:
    world.remote.dead = set(world.running)
    found = gathered(world, "worker-1")
    assert {"fleet.yml", "history.json", "provider.json", "timeline.txt", "manifest.json"} == set(found.files)
    assert "broker survey" in found.missing


@pytest.mark.parametrize("subject", ["worker-1", ID])
def test_canaries_in_every_source_are_in_no_file(subject: str, world: Day2) -> None:
    world.remote.command = told(PLANTED)
    world.remote.units["worker-1@worker-1"]["version"] = PLANTED
    world.remote.drains = {"host:worker-1": {"at": NOW - 5, "by": PLANTED}}
    world.remote.answers = {
        "claims": {"claims": [{"job": ID, "host": "worker-1", "task": PLANTED}]},
        "quarantine": {"jobs": [{"job": "x", "deaths": [{"detail": PLANTED}], "message": {"args": ["CANARY-args"]}}]},
    }
    world.remote.told[ID]["events"].append({"at": NOW - 10, "event": "died", "detail": PLANTED})
    world.remote.told[ID]["message"] = "CANARY-message"
    found = gathered(world, subject, spec_text=f"name: demo\nx: {PLANTED}\n", summary=PLANTED)
    sources = {path for path, text in found.files.items() if "[redacted]" in text}
    assert {"fleet.yml", "history.json", "timeline.txt", "broker/survey.json", "broker/claims.json",
            "broker/quarantine.json", f"broker/job-{ID}.json", "hosts/worker-1/journal.log",
            "hosts/worker-1/kernel.log", "hosts/worker-1/mounts.txt", "hosts/worker-1/system.txt",
            "hosts/worker-1/dmesg.txt"} <= sources  # fmt: skip
    for path, text in found.files.items():
        assert "CANARY" not in text, path
        for form in FORMS:
            assert form not in text, path
        assert SECRET[4:14] not in text, path
    assert found.redactions >= len(sources)


def test_canaries_in_errors_are_taken_out_of_the_manifest_too(world: Day2) -> None:
    def refuse(host: str, argv: Sequence[str], stdin: str) -> CommandResult:
        del host, argv, stdin
        return CommandResult(1, "", PLANTED)

    world.remote.command = refuse
    found = gathered(world, "worker-1")
    assert found.missing
    assert "CANARY" not in json.dumps(dict(found.missing)) + found.files["manifest.json"]
    assert SECRET not in json.dumps(dict(found.missing)) + found.files["manifest.json"]
