"""What a program needs that submits jobs from outside the fleet's hosts. Pure."""

from __future__ import annotations

import json
import shlex

from fleetctl.core.inventory import key_prefix
from fleetctl.spec.models import FleetSpec


def environment(spec: FleetSpec, *, redis_url: str, database_url: str) -> dict[str, str]:
    """Return the variables that `fleetctl.worker.configure` reads, and those that apps find on the fleet's hosts.

    The same as in /etc/fleet of a client host, but for the file of certificates, which is the one of this computer. The
    URLs hold passwords.
    """
    routes = {"FLEET_ROUTES": json.dumps(spec.app.routes)} if spec.app.routes else {}
    ca = {"FLEET_CA_FILE": spec.services.ca, "PGSSLROOTCERT": spec.services.ca} if spec.services.ca else {}
    return {
        "FLEET_NAME": spec.name,
        "FLEET_KEY_PREFIX": key_prefix(spec),
        "FLEET_VISIBILITY_TIMEOUT": str(spec.visibility_timeout_seconds),
        "FLEET_DEFAULT_QUEUE": spec.default_queue,
        **routes,
        **ca,
        "FLEET_STORAGE": spec.storage.path,
        "JOBS_DIR": spec.storage.jobs_dir,
        "UPLOADS_DIR": spec.storage.uploads_dir,
        "REDIS_URL": redis_url,
        "DATABASE_URL": database_url,
    }


def env_file(variables: dict[str, str]) -> str:
    """Write variables as a file that shells, systemd and Docker Compose read."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
