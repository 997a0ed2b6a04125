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


def test_an_environment_file_is_read_as_systemd_reads_it() -> None:
    text = """#
# Ansible managed
A=plain
B='it'"'"'s "50%" $HOME \\n'
C=''

D=redis://h?a=b
"""
    assert agent.parse_environment(text) == {
        "A": "plain", "B": "it's \"50%\" $HOME \\n", "C": "", "D": "redis://h?a=b"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("request_text", "message"),
    [
        ("not json", "JSONDecodeError"),
        ('{"command": "dance"}', "no such command: dance"),
        ('{"command": "check"}', "REDIS_URL, FLEET_KEY_PREFIX, FLEET_VISIBILITY_TIMEOUT not set"),
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


def test_files_are_written_and_removed(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "shared" / "token"
    write = json.dumps({"command": "write", "path": str(path), "content": "abc"})
    assert ask(write, files, monkeypatch, capsys) == (0, {"event": "result"})
    assert path.read_text() == "abc"
    remove = json.dumps({"command": "remove", "path": str(path)})
    assert ask(remove, files, monkeypatch, capsys) == (0, {"event": "result"})
    assert not path.exists()
