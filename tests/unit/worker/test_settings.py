"""The settings of an app on the fleet's broker: whose wins."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from celery import Celery

from fleetctl.worker import settings
from fleetctl.worker.settings import PROFILE, Broker, ConfigurationError

BROKER = Broker("redis://worker:secret@10.0.0.5:6379/0", "fleet:", 1800)


class Config:
    """Settings as a module would have them."""

    task_acks_late = False
    worker_prefetch_multiplier = 7
    broker_url = "redis://elsewhere"


class OldConfig:
    """Settings by their names before Celery 4."""

    CELERY_ACKS_LATE = False
    CELERYD_PREFETCH_MULTIPLIER = 7
    BROKER_URL = "redis://elsewhere"


class DjangoConfig:
    """Settings with a namespace, as Django projects have them."""

    CELERY_TASK_ACKS_LATE = False
    CELERY_WORKER_PREFETCH_MULTIPLIER = 7
    CELERY_BROKER_URL = "redis://elsewhere"


def by_update() -> Celery:
    app = Celery("a", broker="amqp://elsewhere", backend="rpc://")
    app.conf.update(task_acks_late=False, worker_prefetch_multiplier=7)
    return app


def by_attribute() -> Celery:
    app = Celery("a")
    app.conf.task_acks_late = False
    app.conf.worker_prefetch_multiplier = 7
    app.conf.broker_url = "redis://elsewhere"
    return app


def by_object() -> Celery:
    app = Celery("a")
    app.config_from_object(Config)
    return app


def by_old_names() -> Celery:
    app = Celery("a")
    app.config_from_object(OldConfig)
    return app


def by_namespace() -> Celery:
    app = Celery("a")
    app.config_from_object(DjangoConfig, namespace="CELERY")
    return app


def by_add_defaults() -> Celery:
    app = Celery("a", broker="amqp://elsewhere")
    app.add_defaults({"task_acks_late": False, "worker_prefetch_multiplier": 7})
    return app


def by_namespace_and_attribute() -> Celery:
    app = by_namespace()
    app.conf["CELERY_BROKER_URL"] = "redis://third"
    return app


WAYS = [by_update, by_attribute, by_object, by_old_names, by_namespace, by_add_defaults, by_namespace_and_attribute]


@pytest.fixture(autouse=True)
def _no_celery_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=[False, True], ids=["read-later", "read-already"])
def touch(request: pytest.FixtureRequest) -> Callable[[Celery], None]:
    return (lambda app: app.conf["broker_url"]) if request.param else (lambda _: None)


@pytest.mark.parametrize("make", WAYS, ids=lambda make: make.__name__)
def test_the_app_wins_over_the_profile_and_the_fleet_over_the_app(
    make: Callable[[], Celery], touch: Callable[[Celery], None]
) -> None:
    app = make()
    touch(app)
    settings.apply(app, BROKER, is_worker=True)
    assert app.conf.task_acks_late is False
    assert app.conf.worker_prefetch_multiplier == 7
    assert app.conf.task_track_started is True, "not set by the app: the profile's"
    assert app.conf.broker_url == app.conf.broker_read_url == app.conf.broker_write_url == BROKER.url
    assert app.conf.result_backend == BROKER.url
    connection = app.connection_for_write()
    assert connection.as_uri(include_password=True).partition("://")[2] == BROKER.url.partition("://")[2]


@pytest.mark.parametrize("key", PROFILE)
def test_an_app_without_settings_has_the_profile(key: str) -> None:
    app = Celery("a")
    settings.apply(app, BROKER, is_worker=True)
    assert app.conf[key] == PROFILE[key]


def test_settings_that_come_after_still_win_over_the_profile_and_not_over_the_fleet() -> None:
    app = Celery("a")
    settings.apply(app, BROKER, is_worker=False)
    app.config_from_object(Config)
    assert app.conf.task_acks_late is False
    assert app.conf.broker_url == BROKER.url


def test_the_visibility_timeout_stands_in_all_three_places_and_the_prefix_in_both() -> None:
    app = Celery("a")
    app.conf.broker_transport_options = {"visibility_timeout": 5, "global_keyprefix": "x", "priority_steps": [0, 5]}
    settings.apply(app, BROKER, is_worker=True)
    conf = app.conf
    assert conf.broker_transport_options["visibility_timeout"] == 1800
    assert conf.result_backend_transport_options == {"visibility_timeout": 1800, "global_keyprefix": "fleet:"}
    assert conf["visibility_timeout"] == 1800
    assert conf.broker_transport_options["global_keyprefix"] == "fleet:"
    assert conf.broker_transport_options["unacked_restore_interval"] == 10
    assert conf.broker_transport_options["priority_steps"] == [0, 5], "the app's other options stay"


def test_the_environment_of_celery_does_not_move_an_app_to_another_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://elsewhere")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "redis://elsewhere")
    app = Celery("a")
    settings.apply(app, BROKER, is_worker=False)
    assert (app.conf.broker_url, app.conf.result_backend) == (BROKER.url, BROKER.url)


def test_an_app_that_used_its_results_while_it_was_imported_is_moved() -> None:
    app = Celery("a", backend="cache+memory://")
    assert type(app.backend).__name__ == "CacheBackend"
    settings.apply(app, BROKER, is_worker=True)
    backend: Any = app.backend
    assert type(backend).__name__ == "RedisBackend"
    assert backend.connparams["host"] == "10.0.0.5"
    assert backend.get_key_for_task("7") == b"fleet:celery-task-meta-7"


def test_a_worker_takes_the_built_in_jobs_whatever_its_app_accepts() -> None:
    app = Celery("a")
    app.conf.accept_content = ["pickle"]
    settings.apply(app, BROKER, is_worker=True)
    assert app.conf.accept_content == ["pickle", "json"]
    assert app.conf.worker_direct is True


def test_a_worker_takes_jobs_by_the_fleets_transport_and_nothing_cuts_them_short() -> None:
    app = Celery("a")
    app.conf.worker_cancel_long_running_tasks_on_connection_loss = True
    settings.apply(app, BROKER, is_worker=True)
    assert app.connection_for_read().transport_cls == settings.TRANSPORT
    assert app.conf.worker_cancel_long_running_tasks_on_connection_loss is False
    assert app.conf.result_backend_always_retry is True


ROUTED = replace(BROKER, default_queue="light", routes={"reports.*": "heavy", "plain.*": "heavy"})


def own_dict() -> dict[str, str]:
    return {"plain.routed": "special"}


def own_list() -> list[object]:
    return [{"plain.routed": {"queue": "special"}}]


def own_function() -> object:
    return lambda name, *_, **__: {"queue": "special"} if name == "plain.routed" else None


@pytest.mark.parametrize("is_worker", [True, False], ids=["worker", "program"])
@pytest.mark.parametrize("own", [own_dict, own_list, own_function])
def test_the_apps_routes_are_tried_before_the_fleets(
    own: Callable[[], Any], touch: Callable[[Celery], None], is_worker: bool
) -> None:
    app = Celery("a")
    app.conf.task_routes = own()
    touch(app)
    settings.apply(app, ROUTED, is_worker=is_worker)
    names = ["plain.routed", "plain.add", "reports.make", "other"]
    assert [app.amqp.router.route({}, name)["queue"].name for name in names] == ["special", "heavy", "heavy", "light"]
    settings.apply(app, ROUTED, is_worker=is_worker)
    assert len(app.conf.task_routes) == 2, "once only"


def test_an_app_that_published_while_it_was_imported_is_routed_too() -> None:
    app = Celery("a")
    assert app.amqp.router.route({}, "reports.make")["queue"].name == "celery"
    settings.apply(app, ROUTED, is_worker=False)
    assert app.amqp.router.route({}, "reports.make")["queue"].name == "heavy"


def test_the_default_queue_of_the_app_wins_over_the_fleets() -> None:
    app = Celery("a")
    app.conf.task_default_queue = "own"
    settings.apply(app, ROUTED, is_worker=False)
    assert app.amqp.router.route({}, "other")["queue"].name == "own"


def test_routes_of_namespaced_settings_are_found() -> None:
    app = Celery("a")
    app.config_from_object({"CELERY_TASK_ROUTES": own_dict()}, namespace="CELERY")
    settings.apply(app, ROUTED, is_worker=False)
    assert [app.amqp.router.route({}, name)["queue"].name for name in ("plain.routed", "plain.add")] == [
        "special", "heavy"
    ]  # fmt: skip


def test_routes_and_default_queue_are_read_from_the_environment() -> None:
    broker = settings.read(GOOD | {"FLEET_ROUTES": '{"a.*": "heavy"}', "FLEET_DEFAULT_QUEUE": "light"})
    assert (broker.routes, broker.default_queue) == ({"a.*": "heavy"}, "light")
    assert (settings.read(GOOD).routes, settings.read(GOOD).default_queue) == ({}, None)


def test_a_publisher_is_given_nothing_of_a_worker() -> None:
    app = Celery("a")
    app.conf.accept_content = ["pickle"]
    settings.apply(app, BROKER, is_worker=False)
    assert app.conf.accept_content == ["pickle"]
    assert app.conf.worker_direct is False


def test_rediss_checks_the_certificate() -> None:
    import ssl

    app = Celery("a")
    settings.apply(app, Broker("rediss://u:p@h:6380/0", "f:", 60, ca_file="/ca.pem"), is_worker=False)
    assert app.conf.broker_use_ssl == {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/ca.pem"}
    assert app.conf.redis_backend_use_ssl == app.conf.broker_use_ssl


GOOD = {"REDIS_URL": "redis://u:pw@h/0", "FLEET_KEY_PREFIX": "f:", "FLEET_VISIBILITY_TIMEOUT": "60"}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name} not set"):
        settings.read({key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("REDIS_URL", "amqp://u:topsecret@h", "REDIS_URL does not start with"),
        ("FLEET_VISIBILITY_TIMEOUT", "1h", "not a number of seconds: '1h'"),
        ("FLEET_ROUTES", '["a"]', "FLEET_ROUTES is not a JSON object"),
        ("FLEET_ROUTES", '{"a": 1}', "FLEET_ROUTES is not a JSON object"),
        ("FLEET_VISIBILITY_TIMEOUT", "0", "not a number of seconds: '0'"),
    ],
)
def test_what_is_wrong_is_named_and_no_password_shown(name: str, value: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        settings.read(GOOD | {name: value})
    assert "topsecret" not in str(caught.value)


def test_the_password_is_not_in_the_representation() -> None:
    assert "pw" not in repr(settings.read(GOOD))


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    return


@pytest.mark.usefixtures("environment")
def test_configure_returns_the_same_app() -> None:
    app = Celery("a")
    assert settings.configure(app) is app
    assert app.conf.broker_transport_options["global_keyprefix"] == "f:"


def test_publishers_record_what_they_submit_where_fleetctl_is_installed() -> None:
    app = Celery("a")
    settings.apply(app, BROKER, is_worker=False)
    assert app.connection_for_write().transport_cls == settings.TRANSPORT
    environ = {"REDIS_URL": BROKER.url, "FLEET_KEY_PREFIX": "fleet:", "FLEET_VISIBILITY_TIMEOUT": "1800"}
    assert "broker_transport" not in settings.for_publishers(environ), "it could not be imported there"
