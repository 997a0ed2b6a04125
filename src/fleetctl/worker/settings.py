"""The settings of every app on the fleet's broker: a profile below the app's own, and what is imposed above them.

The profile is for jobs of minutes that must not get lost: acknowledged when done, none reserved, JSON only.
Imposed is what all apps on one broker must agree on: its address, the key prefix that its access list allows, and the
visibility timeout, since the shortest one among the apps wins.
"""

from __future__ import annotations

import json
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
    "task_reject_on_worker_lost": True,  # a job whose process died runs again, until its third death (deaths.py)
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

#: Beside it, for units: their jobs wait for Redis where a program that publishes would rather hear of it.
WORKER_PROFILE: Mapping[str, Any] = {
    "result_backend_always_retry": True,
    "result_backend_base_sleep_between_retries_ms": 100,
    "result_backend_max_sleep_between_retries_ms": 2000,  # a job's time limit goes on while it waits
    # The same for what a job publishes: the next link of a chain, for one.
    "task_publish_retry_policy": {"max_retries": None, "interval_start": 0, "interval_step": 0.2, "interval_max": 2},
}

#: What takes and gives back jobs, and records those that are submitted.
TRANSPORT = "fleetctl.worker.transport:Transport"

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
    default_queue: str | None = None  # of jobs without a route
    routes: Mapping[str, str] = field(default_factory=dict)  # pattern of task names -> queue


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
    return Broker(
        url=environ["REDIS_URL"],
        key_prefix=environ["FLEET_KEY_PREFIX"],
        visibility_timeout=int(seconds),
        ca_file=environ.get("FLEET_CA_FILE") or None,
        default_queue=environ.get("FLEET_DEFAULT_QUEUE") or None,
        routes=_routes(environ.get("FLEET_ROUTES") or "{}"),
    )


def _routes(text: str) -> dict[str, str]:
    try:
        routes = json.loads(text)
    except ValueError:
        routes = None
    if not isinstance(routes, dict) or not all(isinstance(queue, str) for queue in routes.values()):
        raise ConfigurationError(f"FLEET_ROUTES is not a JSON object of queues by task name: {text}")
    return routes


def configure(app: A) -> A:
    """Give a program that publishes the fleet's broker, prefix, timeouts and profile; return the same app.

    Reads REDIS_URL, FLEET_KEY_PREFIX and FLEET_VISIBILITY_TIMEOUT (and FLEET_CA_FILE for rediss://, and the fleet's
    routes, FLEET_DEFAULT_QUEUE and FLEET_ROUTES) from the environment, where $CREDENTIALS_DIRECTORY/fleet.json may hold
    some of them. Nothing connects yet. The app's own settings win over the profile, in whatever way and order they are
    set, and its routes are tried before the fleet's; call this after an assignment to `app.conf.broker_url` and its
    like or to `task_routes`. ConfigurationError names what is missing.
    """
    credentials.load(os.environ)
    apply(app, read(os.environ), is_worker=False)
    return app


def for_publishers(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what `configure` gives an app, as settings by name: for programs without fleetctl. Holds passwords."""
    broker = read(environ)
    routes = {pattern: {"queue": queue} for pattern, queue in broker.routes.items()}
    settings = {**_profile(broker, is_worker=False), **imposed(broker, {}, is_worker=False)}
    del settings["broker_transport"]  # they run as before; their jobs are in no record until a unit takes them
    return settings | ({"task_routes": routes} if routes else {})


def apply(app: Celery[Any], broker: Broker, *, is_worker: bool) -> None:
    """Put the profile below and the broker above the app's own settings, now and whenever it reads them again."""
    for name in _OVERRIDES:  # these would win over every setting
        os.environ.pop(name, None)

    def on_configured(source: Any, **_: Any) -> None:
        _lay_below(source, _profile(broker, is_worker=is_worker))
        _route(source, broker.routes)
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
        "broker_transport": TRANSPORT,
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
        settings["broker_channel_error_retry"] = True  # wait for a Redis that refuses to write
        settings["worker_direct"] = True  # a queue for each unit: a job can be sent to one unit
        settings["worker_consumer"] = "fleetctl.worker.consumer:Consumer"
        settings["worker_enable_prefetch_count_reduction"] = False  # what runs goes on counting without it
        settings["worker_cancel_long_running_tasks_on_connection_loss"] = False  # their jobs would run twice
        accepted = list(own.get("accept_content") or [])
        settings["accept_content"] = accepted if "json" in accepted else [*accepted, "json"]  # built-in jobs are JSON
    return settings


def _tls(broker: Broker) -> dict[str, Any] | None:
    if urlsplit(broker.url).scheme != "rediss":
        return None
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED} | ({"ssl_ca_certs": broker.ca_file} if broker.ca_file else {})


def _profile(broker: Broker, *, is_worker: bool) -> dict[str, Any]:
    default = {"task_default_queue": broker.default_queue} if broker.default_queue else {}
    return {**PROFILE, **(WORKER_PROFILE if is_worker else {}), **default}


def _route(conf: Any, routes: Mapping[str, str]) -> None:
    # The first route that knows a task is taken. Once only: the settings may be read again.
    own = conf.task_routes
    known = list(own) if isinstance(own, list | tuple) else [own] if own else []
    added = {pattern: {"queue": queue} for pattern, queue in routes.items()}
    if added and added not in known:
        _impose(conf, {"task_routes": [*known, added]})


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
        state["amqp"]._producer_pool = state["amqp"]._rtable = None
        for name in ("queues", "router"):
            vars(state["amqp"]).pop(name, None)
