"""Requests to agents: whom they go to, as which user of Redis, and when they are not repeated."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fleetctl.core.inventory import Context
from fleetctl.core.layout import layout
from fleetctl.errors import ConnectError, FleetError
from fleetctl.model import CommandResult, Host
from fleetctl.ports import Fleet
from fleetctl.workflows import survey
from fleetctl.workflows.agent import with_app
from tests.unit.core.conftest import context, spec  # noqa: F401  # context is a fixture
from tests.unit.core.surveys import answer, beat
from tests.workflows.broker import BALANCED, BrokerRemote
from tests.workflows.test_deploy import World


@dataclass
class Look:
    """A deployed fleet with a broker, and the hosts to ask."""

    remote: BrokerRemote
    fleet: Fleet
    helpers: tuple[Host, ...]

    def users(self) -> list[tuple[str, str, str]]:
        """Return host, command and user of every request."""
        return [(host, of["command"], of["redis_url"].partition("//")[2]) for host, of in self.remote.asked]


@pytest.fixture
def look(context: Context) -> Look:  # noqa: F811
    return looking(context, BrokerRemote())


def looking(context: Context, remote: BrokerRemote) -> Look:  # noqa: F811
    world = World(context)
    world.deploy()
    fleet = replace(world.fleet(spec()), remote=remote)
    return Look(remote, fleet, with_app(layout(spec()), world.source.hosts()))


def test_a_survey_is_one_request_to_the_first_host_as_the_user_who_only_reads(look: Look) -> None:
    look.remote.seen = answer(beat("worker-1"))
    assert survey.survey(look.fleet, look.helpers).units[0].unit == "worker-1"
    assert look.users() == [("nfs", "survey", "monitor@r")]
    assert look.remote.asked[0][1]["queues"] == ["celery"]
    assert len(look.remote.commands) == 1


def test_a_dead_worker_is_not_asked_and_costs_nothing(look: Look) -> None:
    look.remote.dead = {"worker-1", "worker-2"}
    survey.survey(look.fleet, look.helpers)
    assert [host for host, _ in look.remote.commands] == ["nfs"]


def test_when_the_first_host_is_dead_another_one_that_answers_is_asked(look: Look) -> None:
    look.remote.dead = {"nfs", "worker-1"}
    survey.survey(look.fleet, look.helpers)
    assert look.users() == [("worker-2", "survey", "monitor@r")]


def test_a_host_of_an_older_release_is_passed_over(look: Look) -> None:
    look.remote.old = {"nfs"}
    survey.survey(look.fleet, look.helpers)
    assert [host for host, _, _ in look.users()] == ["nfs", "worker-1"]


def test_a_fleet_of_an_older_release_is_told_to_deploy(look: Look) -> None:
    look.remote.old = {"nfs", "worker-1", "worker-2"}
    with pytest.raises(FleetError, match="carries another release") as caught:
        survey.survey(look.fleet, look.helpers)
    assert caught.value.hint == "fleetctl deploy"


def test_nobody_to_ask_is_an_error_with_a_hint(look: Look) -> None:
    look.remote.dead = {"nfs", "worker-1", "worker-2"}
    with pytest.raises(ConnectError):
        survey.survey(look.fleet, look.helpers)
    with pytest.raises(ConnectError, match="no host that carries the app runs"):
        survey.survey(look.fleet, ())


def test_what_changes_something_goes_as_the_worker_user(look: Look) -> None:
    look.remote.lists = {"celery": 5}
    assert survey.move(look.fleet, look.helpers, "celery", "slow", count=2) == 2
    assert survey.purge(look.fleet, look.helpers, "celery") == 3
    assert survey.drain(look.fleet, look.helpers, ["host:a"], by="ann") == {"host:a": {"at": 1.0}}
    assert survey.undrain(look.fleet, look.helpers, ["host:a"]) == {}
    assert survey.canary(look.fleet, look.helpers, ["worker-1@worker-1"], timeout=5) == {"worker-1@worker-1": 0.01}
    assert {user for _, _, user in look.users()} == {"worker@r"}


@dataclass
class Silent(BrokerRemote):
    """A fleet whose client host takes connections and says nothing until it is let go."""

    let_go: threading.Event = field(default_factory=threading.Event)

    def run(self, host: Host, argv: Sequence[str], **more: Any) -> CommandResult:
        if host.name == "nfs":
            self.let_go.wait(60)
        return super().run(host, argv, **more)


def test_a_silent_host_is_not_waited_for(context: Context) -> None:  # noqa: F811
    remote = Silent()
    look = looking(context, remote)
    try:
        answered = survey.request(look.fleet, look.helpers, {"command": "survey"}, patience=0.01)
    finally:
        remote.let_go.set()
    assert answered["event"] == "result"
    assert look.users()[0][0].startswith("worker-")


def test_a_mistake_of_ours_is_not_taken_for_a_host_that_cannot_say(look: Look) -> None:
    with pytest.raises(AssertionError, match="nobody should ask for nonsense"):
        survey.request(look.fleet, look.helpers, {"command": "nonsense"})


@dataclass
class Cut(BrokerRemote):
    """Connections that break after the request was carried out."""

    done: list[str] = field(default_factory=list)

    def _agent(self, host: Host, request: dict[str, Any]) -> CommandResult:
        del request
        self.done.append(host.name)
        raise ConnectError(f"{host.name}: connection reset")


def test_a_change_whose_answer_was_lost_is_not_asked_for_again(context: Context) -> None:  # noqa: F811
    remote = Cut()
    look = looking(context, remote)
    with pytest.raises(ConnectError, match="connection reset"):
        survey.move(look.fleet, look.helpers, "a", "b", count=5)
    assert remote.done == ["nfs"]
    remote.done.clear()
    with pytest.raises(ConnectError):
        survey.survey(look.fleet, look.helpers)
    assert remote.done == ["nfs", "worker-1", "worker-2"]


def test_a_change_goes_to_the_first_host_that_answers(look: Look) -> None:
    look.remote.dead = {"nfs"}
    look.remote.lists = {"celery": 5}
    assert survey.purge(look.fleet, look.helpers, "celery") == 5
    assert look.users() == [("worker-1", "purge", "worker@r")]


def test_the_books_are_values_and_balance_or_not(look: Look) -> None:
    found = survey.audit(look.fleet, look.helpers)
    assert (found.submitted, found.open, found.is_ok) == (10, 3, True)
    orphan = {"job": "j1", "task": "t", "queue": "celery", "at": 1.0, "has_message": True, "mood": "lost"}
    look.remote.books = BALANCED | {"orphans": [orphan], "balance": 1}
    found = survey.audit(look.fleet, look.helpers)
    assert found.orphans == (survey.Orphan("j1", "t", "celery", 1.0, has_message=True),)
    assert not found.is_ok
    assert survey.requeue(look.fleet, look.helpers, ["j1", "j2"]) == survey.Requeued(("j1",), ("j2",))
    assert survey.audit(look.fleet, look.helpers).is_ok


def test_the_books_of_another_release_lack_what_it_did_not_count(look: Look) -> None:
    look.remote.books = {"submitted": 3, "since": None}
    found = survey.audit(look.fleet, look.helpers)
    assert (found.submitted, found.unrecorded, found.since, found.orphans) == (3, 0, None, ())


def test_requests_are_one_line_of_json_without_a_password_in_the_command(look: Look) -> None:
    survey.job(look.fleet, look.helpers, "j1")
    (host, command), (_, request) = look.remote.commands[0], look.remote.asked[0]
    assert host == "nfs"
    assert "redis://" not in command
    assert json.dumps(request)
