"""Secrets from systemd."""

from pathlib import Path

import pytest

from fleetctl.worker import credentials
from fleetctl.worker.credentials import ConfigurationError


def test_the_variables_of_the_file_are_set_and_win(tmp_path: Path) -> None:
    (tmp_path / "fleet.json").write_text('{"REDIS_URL": "redis://new", "API_KEY": "k"}')
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "REDIS_URL": "redis://old", "OTHER": "x"}
    assert credentials.load(environ) == ("API_KEY", "REDIS_URL")
    assert environ == {
        "CREDENTIALS_DIRECTORY": str(tmp_path), "REDIS_URL": "redis://new", "OTHER": "x", "API_KEY": "k"
    }  # fmt: skip


@pytest.mark.parametrize("environ", [{}, {"CREDENTIALS_DIRECTORY": "/nonexistent"}])
def test_without_a_file_nothing_happens(environ: dict[str, str]) -> None:
    before = dict(environ)
    assert credentials.load(environ) == ()
    assert environ == before


@pytest.mark.parametrize("text", ["topsecret", '["topsecret"]', '{"A": {"topsecret": 1}}', '{"A": 1}'])
def test_a_wrong_file_is_named_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^/run/x: not ") as caught:
        credentials.parse(text, source="/run/x")
    assert "topsecret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
