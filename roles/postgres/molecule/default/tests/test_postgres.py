"""The database of the role postgres, asked over the network as a job asks it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest


@pytest.fixture
def login(variables: dict[str, Any]) -> dict[str, Any]:
    return {
        "host": variables["ansible_host"],
        "dbname": variables["postgres_database"],
        "user": variables["postgres_role"],
        "password": variables["postgres_password"],
        "connect_timeout": 5,
    }


def test_the_unit_runs_and_starts_with_the_system(host: Any) -> None:
    service = host.service("postgresql@15-main")
    assert service.is_running
    assert service.is_enabled


def test_it_listens_on_the_given_address_and_loopback_only(host: Any, address: str) -> None:
    assert host.socket(f"tcp://{address}:5432").is_listening
    assert host.socket("tcp://127.0.0.1:5432").is_listening
    assert not host.socket("tcp://0.0.0.0:5432").is_listening


def test_the_role_owns_its_database_and_works_in_it(login: dict[str, Any]) -> None:
    with psycopg.connect(**login) as connection:
        connection.execute("CREATE TABLE probe (id int PRIMARY KEY, word text)")
        connection.execute("INSERT INTO probe VALUES (1, 'größer')")
        assert connection.execute("SELECT word FROM probe").fetchone() == ("größer",)
        connection.execute("DROP TABLE probe")
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)


def test_settings_arrive(login: dict[str, Any]) -> None:
    with psycopg.connect(**login) as connection:
        assert connection.execute("SHOW max_connections").fetchone() == ("60",)
        assert connection.execute("SHOW log_min_duration_statement").fetchone() == ("500ms",)
        assert connection.execute("SHOW password_encryption").fetchone() == ("scram-sha-256",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"password": "not-the-password"}, "password authentication failed"),
        ({"password": ""}, "no password supplied"),
        ({"dbname": "postgres"}, "no pg_hba.conf entry"),
        ({"user": "postgres"}, "no pg_hba.conf entry"),
    ],
    ids=["wrong password", "no password", "another database", "the superuser"],
)
def test_everything_else_is_refused(login: dict[str, Any], change: dict[str, str], message: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=message):
        psycopg.connect(**login | change)


def test_the_password_is_in_no_file_and_no_journal(host: Any, login: dict[str, Any]) -> None:
    assert host.run("grep -rqF %s /etc/postgresql /var/log/postgresql", login["password"]).rc == 1
    assert login["password"] not in host.check_output("journalctl --no-pager")
