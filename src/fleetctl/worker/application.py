"""The app that a unit runs: the user's own, unchanged, under the fleet's settings, with the built-in jobs."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from celery import Celery, signals
from celery.app.utils import find_app
from celery.utils.imports import import_from_cwd

from fleetctl.worker import credentials, custody, jobs, memory, settings
from fleetctl.worker.credentials import ConfigurationError

log = logging.getLogger(__name__)


def build() -> Celery[Any]:
    """Return the app for `celery -A fleetctl.worker`: secrets first, so that the user's modules find them."""
    credentials.load(os.environ)
    broker = settings.read(os.environ)
    name = os.environ.get("FLEET_APP")
    app: Celery[Any] = find(name) if name else Celery("fleet")
    settings.apply(app, broker, is_worker=True)
    jobs.register(app)
    memory.install()
    signals.worker_init.connect(begin, weak=False)
    return app


def begin(sender: Any, **_: Any) -> None:
    """Make this process the one that takes this unit's jobs, under the unit's and the host's names in the fleet."""
    unit = os.environ.get("FLEET_UNIT") or sender.hostname.partition("@")[0]
    host = os.environ.get("FLEET_HOST") or socket.gethostname()
    custody.begin(unit, host, pool=os.environ.get("FLEET_POOL", ""), node=sender.hostname)


def find(name: str) -> Celery[Any]:
    """Return the app that `module` or `module:attribute` names; ConfigurationError says why there is none."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_from_cwd(module), attribute) if attribute else find_app(module)
    except AttributeError as exc:  # Celery would take it for an answer to its own search, and hide it
        raise ConfigurationError(f"FLEET_APP={name}: {exc}") from exc
    if not isinstance(found, Celery):
        raise ConfigurationError(f"FLEET_APP={name} is a {type(found).__name__}, not a Celery app")
    return found
