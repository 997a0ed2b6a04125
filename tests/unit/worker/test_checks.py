"""The claims about services, over services that are only functions."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fleetctl.worker import checks
from fleetctl.worker.checks import RefusedError

URL = "postgresql://fleet:right@10.0.0.4:5432/fleet"


@pytest.mark.parametrize(
    ("password", "expected"),
    [("x", "redis://worker:x@h:6379/0"), (None, "redis://worker@h:6379/0")],
)
def test_passwords_are_put_in_and_left_out(password: str | None, expected: str) -> None:
    assert checks.with_password("redis://worker:old@h:6379/0", password) == expected


def strict(url: str) -> None:
    if ":right@" not in url:
        raise RefusedError("password authentication failed")


def lenient(_: str) -> None:
    """Let everybody in."""


def locked(_: str) -> None:
    raise RefusedError("password authentication failed")


def away(_: str) -> None:
    raise OSError("connection refused")


@pytest.mark.parametrize(
    ("enter", "verdicts"),
    [
        (strict, [True, True, True]),
        (lenient, [True, False, False]),
        (locked, [False]),
        (away, [False]),
    ],
    ids=["strict", "lenient", "locked", "away"],
)
def test_a_service_must_let_the_fleet_in_and_nobody_else(enter: Callable[[str], None], verdicts: list[bool]) -> None:
    found = checks.service("postgres", URL, enter, try_wrong=True)
    assert [check.is_ok for check in found] == verdicts
    assert all(check.fix for check in found if not check.is_ok)
    assert not any("right" in check.detail or "right" in (check.fix or "") for check in found)


def test_a_service_that_went_away_in_between_proves_nothing() -> None:
    answers = iter([None, OSError("gone"), OSError("gone")])

    def enter(_: str) -> None:
        if error := next(answers):
            raise error

    assert [check.is_ok for check in checks.service("redis", URL, enter, try_wrong=True)] == [True, False, False]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("printf 'ActiveState=failed\\nResult=oom-kill\\n'", {"ActiveState": "failed", "Result": "oom-kill"}),
        ("echo no bus; exit 1", {}),
        (None, {}),
    ],
    ids=["failed", "no bus", "no systemd"],
)
def test_systemd_is_believed_only_where_it_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str | None, expected: dict[str, str]
) -> None:
    if script is not None:
        (tmp_path / "systemctl").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checks.service_state("worker-1") == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"ActiveState": "active", "SubState": "running", "NRestarts": "9"}, False),
        ({"ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "2"}, False),
        ({"ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "3"}, True),
        ({"ActiveState": "failed"}, True),
        ({"ActiveState": "inactive"}, True),
        ({"ActiveState": "inactive", "SubState": "dead", "Job": "52"}, False),
        ({}, False),
    ],
)
def test_a_unit_that_is_stopped_or_ends_again_and_again_is_not_waited_for(
    state: dict[str, str], expected: bool
) -> None:
    assert checks._is_hopeless(state) is expected
