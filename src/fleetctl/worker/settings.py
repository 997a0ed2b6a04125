"""The settings of every app on the fleet's broker: a profile below the app's own, and what is imposed above them.

The profile is for jobs of minutes that must not get lost: acknowledged when done, none reserved, JSON only.
Imposed is what all apps on one broker must agree on: its address, the key prefix that its access list allows, and the
visibility timeout, since the shortest one among the apps wins.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from fleetctl.worker import credentials
from fleetctl.worker.credentials import ConfigurationError

if TYPE_CHECKING:
    from celery import Celery

A = TypeVar("A", bound="Celery[Any]")

#: Below the app's own settings, whatever way the app sets them.
PROFILE: Mapping[str, Any] = {
    "task_acks_late": True,  # a running job stays in Redis until it is done
    "task_reject_on_worker_lost": True,  # a job whose process died runs again ...
    "task_retry_on_worker_lost": True,  # ... as a retry, so at most max_retries times: rejecting alone loops for ever
    "task_track_started": True,
    "task_serializer": "json",
    "result_serializer": "json",
    "accept_content": ["json"],
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,  # multiplier 1 alone still reserves a job for each slot
    "worker_deduplicate_successful_tasks": True,  # a delivery whose job already succeeded is dropped
    "worker_proc_alive_timeout": 60.0,  # 600 processes starting on two cores take longer than Celery's 4 s
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,  # wait for Redis for ever: giving up would end the running jobs
}

_SOCKET_SECONDS = 30.0  # redis-py's own default of 5 s is shorter than a fork of Redis for its log can take
_CONNECT_SECONDS = 10.0
_HEALTH_CHECK_SECONDS = 25
_OVERRIDES = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "CELERY_RESULT_BACKEND")


@dataclass(frozen=True)
class Broker:
    """The fleet's Redis: `url` with user and password, the prefix of every key, seconds until a job is redelivered."""

    url: str = field(repr=False)
    key_prefix: str
    visibility_timeout: int
    ca_file: str | None = None


def read(environ: Mapping[str, str]) -> Broker:
    """Return the broker that the environment names; ConfigurationError names what is missing or wrong."""
    wanted = ("REDIS_URL", "FLEET_KEY_PREFIX", "FLEET_VISIBILITY_TIMEOUT")
    if missing := [name for name in wanted if not environ.get(name)]:
        raise ConfigurationError(
            f"{', '.join(missing)} not set: take them from /etc/fleet/environment and {credentials.FILE} of the fleet"
        )
    if urlsplit(environ["REDIS_URL"]).scheme not in ("redis", "rediss"):
        raise ConfigurationError("REDIS_URL does not start with redis:// or rediss://")
    seconds = environ["FLEET_VISIBILITY_TIMEOUT"]
    if not seconds.isdecimal() or int(seconds) < 1:
        raise ConfigurationError(f"FLEET_VISIBILITY_TIMEOUT is not a number of seconds: {seconds!r}")
    return Broker(environ["REDIS_URL"], environ["FLEET_KEY_PREFIX"], int(seconds), environ.get("FLEET_CA_FILE") or None)


def configure(app: A) -> A:
    """Give a program that publishes the fleet's broker, prefix, timeouts and profile; return the same app.

    Reads REDIS_URL, FLEET_KEY_PREFIX and FLEET_VISIBILITY_TIMEOUT (and FLEET_CA_FILE for rediss://) from the
    environment, where $CREDENTIALS_DIRECTORY/fleet.json may hold some of them. Nothing connects yet. The app's own
    settings win over the profile, in whatever way and order they are set; call this after an assignment to
    `app.conf.broker_url` and its like, which it overrules. ConfigurationError names what is missing.
    """
    credentials.load(os.environ)
    apply(app, read(os.environ), is_worker=False)
    return app


def apply(app: Celery[Any], broker: Broker, *, is_worker: bool) -> None:
    """Put the profile below and the broker above the app's own settings, now and whenever it reads them again."""
    for name in _OVERRIDES:  # these would win over every setting
        os.environ.pop(name, None)

    def on_configured(source: Any, **_: Any) -> None:
        _lay_below(source, PROFILE)
        _impose(source, imposed(broker, source, is_worker=is_worker))

    app.on_after_configure.connect(on_configured, weak=False)
    if vars(app).get("configured"):
        on_configured(app.conf)
    else:
        app.conf["broker_url"]  # the first look makes Celery read the settings
    _forget_connections(app)


def imposed(broker: Broker, own: Mapping[str, Any], *, is_worker: bool) -> dict[str, Any]:
    """Return the settings that win over the app's own, where an option's other keys stay as the app has them."""
    shared = {"visibility_timeout": broker.visibility_timeout, "global_keyprefix": broker.key_prefix}
    transport = {
        "socket_timeout": _SOCKET_SECONDS,
        "socket_connect_timeout": _CONNECT_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": _HEALTH_CHECK_SECONDS,
        "unacked_restore_interval": 10,  # look for expired deliveries every 10 s, not every 100 s
        "unacked_restore_throttle": 1,
        "fanout_prefix": True,  # the access list names the channels that these two make
        "fanout_patterns": True,
    }
    tls = _tls(broker)
    settings: dict[str, Any] = {
        "broker_url": broker.url,
        "broker_read_url": broker.url,
        "broker_write_url": broker.url,
        "broker_transport_options": {**(own.get("broker_transport_options") or {}), **shared, **transport},
        "broker_use_ssl": tls,
        "result_backend": broker.url,
        "result_backend_transport_options": {**(own.get("result_backend_transport_options") or {}), **shared},
        "visibility_timeout": broker.visibility_timeout,
        "redis_backend_use_ssl": tls,
        "redis_backend_health_check_interval": _HEALTH_CHECK_SECONDS,
        "redis_socket_timeout": _SOCKET_SECONDS,
        "redis_socket_connect_timeout": _CONNECT_SECONDS,
        "redis_socket_keepalive": True,
    }
    if is_worker:
        settings["worker_direct"] = True  # a queue for each unit: a job can be sent to one unit
        accepted = list(own.get("accept_content") or [])
        settings["accept_content"] = accepted if "json" in accepted else [*accepted, "json"]  # built-in jobs are JSON
    return settings


def _tls(broker: Broker) -> dict[str, Any] | None:
    if urlsplit(broker.url).scheme != "rediss":
        return None
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED} | ({"ssl_ca_certs": broker.ca_file} if broker.ca_file else {})


def _lay_below(conf: Any, profile: Mapping[str, Any]) -> None:
    # Settings.add_defaults alone would rank above what config_from_object() gave, and hide settings of old names.
    defaults = {key: value for key, value in profile.items() if not conf.value_set_for(key)}
    conf.add_defaults(defaults)


def _impose(conf: Any, settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        for variant in {key, key.upper(), *conf._to_keys(key)}:  # a namespace and old names are looked up first
            conf.changes.pop(variant, None)
        conf[key] = value


def _forget_connections(app: Celery[Any]) -> None:
    # An app that used its broker or results while it was imported holds on to what it was configured with then.
    state = vars(app)
    state.update(_backend_cache=None, _local=threading.local(), _pool=None, backend_cls=None)
    if "amqp" in state:
        state["amqp"]._producer_pool = None
