"""What importing the package brings."""

import json
import subprocess
import sys

import pytest


def modules_after(statement: str) -> set[str]:
    code = f"import json, sys; before = set(sys.modules); {statement}; print(json.dumps([*set(sys.modules) - before]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_no_celery_and_starts_nothing() -> None:
    loaded = modules_after("import fleetctl.worker; fleetctl.worker.configure")
    assert not {name for name in loaded if name.split(".")[0] in {"celery", "kombu", "redis", "psycopg"}}


def test_the_worker_loads_nothing_of_the_control_side() -> None:
    loaded = modules_after("import fleetctl.worker.application, fleetctl.worker.agent, fleetctl.worker.load")
    ours = {name for name in loaded if name.startswith("fleetctl") and not name.startswith("fleetctl.worker")}
    assert ours <= {"fleetctl"}


def test_asking_for_the_app_without_an_environment_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "FLEET_KEY_PREFIX", "FLEET_VISIBILITY_TIMEOUT", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    import fleetctl.worker

    with pytest.raises(fleetctl.worker.ConfigurationError, match="REDIS_URL, FLEET_KEY_PREFIX"):
        fleetctl.worker.app  # noqa: B018
    with pytest.raises(AttributeError):
        fleetctl.worker.other  # noqa: B018
