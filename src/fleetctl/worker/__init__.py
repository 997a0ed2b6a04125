"""What runs inside a worker, beside the user's Celery app, and inside programs that publish to the fleet.

A unit starts `celery -A fleetctl.worker worker`: Celery asks this package for `app`, and only then is anything read or
started (see application.py). A program that publishes calls `configure`:

    from celery import Celery
    from fleetctl.worker import configure

    app = configure(Celery("reports"))          # REDIS_URL, FLEET_KEY_PREFIX, FLEET_VISIBILITY_TIMEOUT are set
    app.send_task("reports.make", args=[7])

Stands alone: imports celery, kombu, redis, psycopg and the standard library, nothing of the rest of fleetctl.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleetctl.worker.credentials import ConfigurationError
from fleetctl.worker.settings import configure

__all__ = ["ConfigurationError", "configure"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Build the worker's app when Celery asks for it, and not on import."""
        if name != "app":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from fleetctl.worker.application import build

        app = globals()["app"] = build()
        return app
