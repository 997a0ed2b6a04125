"""The agent's protocol, where no service is needed."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from fleetctl.worker import agent


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    for name in ("FLEET_KEY_PREFIX", "FLEET_VISIBILITY_TIMEOUT", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "environment").write_text("")
    (tmp_path / "credentials").write_text("{}")
    return ["--environment", f"{tmp_path}/environment", "--credentials", f"{tmp_path}/credentials", "--user", "root"]


def ask(
    request: str, argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, Any]]:
    monkeypatch.setattr("sys.stdin", io.StringIO(request))
    code = agent.main(argv)
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize(
    ("request_text", "message"),
    [
        ("not json", "JSONDecodeError"),
        ('{"command": "dance"}', "no such command: dance"),
        ('{"command": "check"}', "REDIS_URL, FLEET_KEY_PREFIX, FLEET_VISIBILITY_TIMEOUT not set"),
        ('{"command": "write"}', "no such command: write"),
        ('{"command": "claims"}', "REDIS_URL, FLEET_KEY_PREFIX"),
        ('{"command": "load", "jobs": 1, "seconds": 1}', "REDIS_URL, FLEET_KEY_PREFIX"),
    ],
)
def test_a_request_that_cannot_be_carried_out_is_an_error(
    request_text: str,
    message: str,
    files: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, answer = ask(request_text, files, monkeypatch, capsys)
    assert (code, answer["event"]) == (1, "error")
    assert message in answer["message"]
