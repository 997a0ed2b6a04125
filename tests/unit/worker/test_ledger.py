"""What a submission writes, and in which order a job's events are told."""

import json
from typing import Any

import pytest

from fleetctl.worker import ledger, timeline

MESSAGE = {"body": "e30=", "headers": {"id": "j", "task": "t", "retries": 0}, "properties": {"delivery_tag": "tag"}}


def message(**headers: Any) -> dict[str, Any]:
    return {**MESSAGE, "headers": {**MESSAGE["headers"], **headers}}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("headers", "properties", "expected"),
    [
        ({"id": "j", "task": "t"}, {"correlation_id": "c"}, ("j", "t")),
        ({"id": {"__type__": "uuid"}, "task": "t"}, {"correlation_id": "c"}, ("c", "t")),
        ({"id": "", "task": "t"}, {"delivery_tag": "d"}, ("d", "t")),
        ({"task": "t"}, {}, None),
        ({"ticket": "a reply"}, {"delivery_tag": "d"}, None),
        (None, {"delivery_tag": "d"}, None),
    ],
)
def test_a_message_is_a_job_when_it_names_a_task(headers: Any, properties: Any, expected: Any) -> None:
    assert ledger.identify({"headers": headers, "properties": properties}) == expected


def test_a_submission_pushes_last_and_leaves_the_message_as_it_is() -> None:
    commands = (
        ledger.submission(
            "f:",
            "q",
            "q\x06\x163",
            message(),
        )
        or []
    )
    assert len(commands) == ledger.COMMANDS
    assert [command[0] for command in commands] == [
        "HINCRBY", "HINCRBY", "HINCRBY", "EXPIRE", "XADD", "HSET", "LPUSH"
    ]  # fmt: skip
    assert commands[-1][1] == "q\x06\x163"
    assert json.loads(commands[-1][2]) == MESSAGE
    entry = json.loads(commands[-2][3])
    assert (entry["queue"], entry["task"], entry["message"]) == ("q", "t", MESSAGE)
    assert all(command[1].startswith("f:") for command in commands[:-2])


def test_a_large_message_is_not_kept_and_what_is_no_job_is_not_recorded() -> None:
    large = ledger.submission("f:", "q", "q", message(argsrepr="x" * ledger.MAX_MESSAGE_BYTES)) or []
    assert "message" not in json.loads(large[-2][3])
    assert ledger.submission("f:", "q", "q", {"headers": {}, "properties": {}}) is None


def test_a_retry_is_told_as_such() -> None:
    commands = ledger.submission("f:", "q", "q", message(retries=2)) or []
    assert commands[4][-1] == "retry 2"


def test_a_start_that_was_told_later_stands_where_its_job_was_received() -> None:
    def event(name: str, unit: str = "") -> dict[str, Any]:
        return {"event": name, "unit": unit}

    told = [
        event("submitted"), event("received", "a"), event("died", "a"), event("received", "b"), event("started", "a"),
        event("started", "b"), event("ended", "b"),
    ]  # fmt: skip
    assert [(each["event"], each["unit"]) for each in timeline.ordered(told)] == [
        ("submitted", ""), ("received", "a"), ("started", "a"), ("died", "a"), ("received", "b"), ("started", "b"),
        ("ended", "b"),
    ]  # fmt: skip
