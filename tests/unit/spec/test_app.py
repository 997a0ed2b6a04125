"""The app: one source that is there, and where its relative paths lead."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetctl.spec.load import load
from tests.unit.spec.examples import LOCAL, complaints

WHEEL = "reports-2.1-py3-none-any.whl"
STOOD = "use a wheel or path; then change that password, it stood in a file"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where a fleet.yml and what it refers to are."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "pyproject.toml").touch()
    (tmp_path / "plain" / "workers").mkdir(parents=True)
    (tmp_path / "plain" / "workers" / "app.py").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / WHEEL).touch()
    return tmp_path


SOURCES = {
    "a project": "path: app",
    "plain modules": "path: plain",
    "a wheel": f"wheel: {WHEEL}",
    "a requirement": 'requirement: "reports[fast]>=2.1,<3"',
    "a repository": "git: https://git.example.com/team/app.git@v1.2",
    "a repository by SSH": "git: ssh://git@git.example.com/team/app.git",
}

WRONG = {
    "no such directory": ("path: ap, module: m", "app.path: no directory {directory}/ap"),
    "a directory of nothing": (
        "path: empty, module: m",
        "app.path: {directory}/empty holds no Python project and no modules",
    ),
    "a file for a directory": (f"path: {WHEEL}, module: m", f"app.path: no directory {{directory}}/{WHEEL}"),
    "no such wheel": (
        "wheel: x-1-py3-none-any.whl, module: m",
        "app.wheel: no file {directory}/x-1-py3-none-any.whl",
    ),
    "a wheel by another name": ("wheel: reports.whl, module: m", "app.wheel: not the name of a wheel"),
    "no module": ("path: app", "app.module: missing, though path is given"),
    "two sources": ("path: app, requirement: reports, module: m", "app.requirement: a second source beside path"),
    "a module that is a file": ("path: app, module: workers/app.py", "app.module: not a Python module"),
    "an option for pip": (
        "requirement: --index-url=x, module: m",
        "app.requirement: empty, or more than one plain line",
    ),
    "a path for a requirement": ("requirement: ./app, module: m", "app.requirement: not a requirement for pip"),
    "a host without https": ("git: 'git@example.com:a.git', module: m", "app.git: not the URL of a repository"),
    "a password in a repository": ("git: 'https://u:hunter2@x/a', module: m", "app.git: holds a password"),
    "a password in a requirement": (
        "requirement: 'a @ git+https://u:hunter2@x/a', module: m",
        "app.requirement: holds a password",
    ),
    "a secret in clear": ("secrets: {KEY: hunter2}", "app.secrets.KEY: not a reference to a secret"),
    "a variable that is fleetctl's": (
        "secrets: {DATABASE_URL: 'env:X'}",
        "app.secrets.DATABASE_URL: set by fleetctl itself",
    ),
    "a variable twice": ("environment: {A: x}, secrets: {A: 'env:X'}", "app.secrets.A: also in app.environment"),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_each_kind_of_source_is_accepted(source: str, directory: Path) -> None:
    (directory / "fleet.yml").write_text(f"{LOCAL}app:\n  {source}\n  module: workers.app:celery\n")
    assert load(directory / "fleet.yml").app.module == "workers.app:celery"


@pytest.mark.parametrize(("app", "expected"), WRONG.values(), ids=WRONG)
def test_a_wrong_app_is_refused(app: str, expected: str, directory: Path) -> None:
    found = complaints(f"{LOCAL}app: {{{app}}}\n", directory=directory)
    assert [line.split(" -> ")[0] for line in found] == [f"15: {expected.format(directory=directory)}"]
    assert "hunter2" not in found[0]


def test_relative_paths_start_at_the_directory_of_fleet_yml(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir("/")
    (directory / "fleet.yml").write_text(f"""\
{LOCAL.replace("{host: redis}", "{url: 'redis://u@cache/0', password: 'file:pw'}")}
app:
  path: app
  module: workers
  secrets: {{A: "file:a/b", B: "file:/a/b", C: "file:~/b", D: env:D}}
""")
    spec = load(directory / "fleet.yml")
    assert spec.app.path == str(directory / "app")
    assert spec.services.redis.password == f"file:{directory}/pw"
    assert spec.app.secrets == {
        "A": f"file:{directory}/a/b",
        "B": "file:/a/b",
        "C": "file:/home/me/b",
        "D": "env:D",
    }


def test_the_key_of_a_static_host_becomes_absolute(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (directory / "fleet.yml").write_text("""\
name: demo
provider:
  kind: static
  hosts:
    - {name: alpha, address: 10.0.0.1, key: keys/a, pool: worker}
    - {name: beta, address: 10.0.0.2, key: ~/.ssh/b, pool: worker}
services: {nfs: {host: alpha}, postgres: {host: alpha}, redis: {host: alpha}}
pools: {worker: {count: 2, concurrency: 1}}
""")
    provider = load(directory / "fleet.yml").provider
    assert provider.kind == "static"
    assert [host.key for host in provider.hosts] == [f"{directory}/keys/a", "/home/me/.ssh/b"]
