"""The app: one source that is there, a module, and variables that do not contradict fleetctl's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from fleetctl.spec.finding import Finding, Loc
from fleetctl.spec.models import App, FleetSpec

SOURCES = ("path", "wheel", "requirement", "git")
# Variables that every unit gets from fleetctl (beside FLEET_*).
IMPOSED = frozenset({"DATABASE_URL", "REDIS_URL", "JOBS_DIR", "UPLOADS_DIR", "PYTHONPATH", "CREDENTIALS_DIRECTORY"})


def check(spec: FleetSpec, directory: Path) -> Iterator[Finding]:
    """Check the app and its variables. `directory` is where fleet.yml is."""
    app, loc = spec.app, ("app",)
    sources = [key for key in SOURCES if getattr(app, key) is not None]
    for key in sources[1:]:
        yield Finding((*loc, key), f"a second source beside {sources[0]}", "keep one of them")
    if sources and app.module is None:
        fix = "add `module: workers.app:celery`, naming the app's own module and Celery object"
        yield Finding((*loc, "module"), f"missing, though {sources[0]} is given", fix)
    yield from _check_files(app, directory)
    yield from _check_pip(app)
    yield from _check_routes(spec)
    yield from check_environment(app.environment, (*loc, "environment"))
    yield from check_environment(app.secrets, (*loc, "secrets"))
    for name in sorted(app.environment.keys() & app.secrets.keys()):
        fix = "keep one of the two"
        yield Finding((*loc, "secrets", name), "also in app.environment", fix, ((*loc, "environment", name),))


def check_environment(names: Mapping[str, str], loc: Loc) -> Iterator[Finding]:
    """Refuse the variables that fleetctl sets itself, and values that Ansible would take for templates."""
    for name, value in names.items():
        if "{{" in value or "{%" in value:
            fix = "write it without {{ and {%; a secret may hold them: app.secrets with env:NAME or file:PATH"
            yield Finding((*loc, name), "Ansible would take it for a template", fix)
        if name in IMPOSED or name.startswith("FLEET_"):
            yield Finding((*loc, name), "set by fleetctl itself", "remove it, or rename the app's variable")


def _check_routes(spec: FleetSpec) -> Iterator[Finding]:
    served = {queue: name for name, pool in spec.pools.items() for queue in pool.queues}
    for pattern, queue in spec.app.routes.items():
        if queue not in served:
            fix = f"use one of {', '.join(served)}, or add {queue} to a pool's queues"
            reads = tuple(("pools", name, "queues") for name in spec.pools)
            yield Finding(("app", "routes", pattern), f"no pool serves queue {queue}", fix, reads)


def _check_files(app: App, directory: Path) -> Iterator[Finding]:
    if app.path is not None:
        path = directory / Path(app.path).expanduser()
        if not path.is_dir():
            yield Finding(("app", "path"), f"no directory {path}", "write its path, relative to fleet.yml")
        elif not any(any(path.glob(pattern)) for pattern in ("pyproject.toml", "setup.cfg", "*.py", "*/*.py")):
            fix = "name the directory that holds pyproject.toml, or the modules themselves"
            yield Finding(("app", "path"), f"{path} holds no Python project and no modules", fix)
    if app.wheel is not None:
        wheel = directory / Path(app.wheel).expanduser()
        if not re.fullmatch(r"[^-]+(-[^-]+){4,5}[.]whl", wheel.name):
            yield Finding(("app", "wheel"), "not the name of a wheel", "write name-version-py3-none-any.whl in full")
        elif not wheel.is_file():
            yield Finding(
                ("app", "wheel"), f"no file {wheel}", "build it first, or write its path, relative to fleet.yml"
            )


def _check_pip(app: App) -> Iterator[Finding]:
    for key, value in (("requirement", app.requirement), ("git", app.git)):
        if value is not None and re.search(r"://[^/@\s]*:[^/@\s]*@", value):
            fix = "use a wheel or path; then change that password, it stood in a file"
            yield Finding(("app", key), "holds a password", fix)
        elif key == "requirement" and value is not None and not re.match(r"[A-Za-z0-9]", value):
            yield Finding(("app", key), "not a requirement for pip", "write name==version, or use path, wheel or git")
        elif key == "git" and value is not None and not re.match(r"(https?|ssh|git|file)://[^\s]+$", value):
            yield Finding(("app", key), "not the URL of a repository", "write https://host/team/app.git@v1.2")
