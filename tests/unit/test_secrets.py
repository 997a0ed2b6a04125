"""The secrets file: private, made once, never echoed."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
import yaml

from fleetctl.adapters import secrets
from fleetctl.adapters.secrets import SecretsFile
from fleetctl.errors import FleetError, SpecError, UsageError
from fleetctl.spec.load import load

OWN = {
    "fleet_secret_postgres_password",
    "fleet_secret_redis_worker_password",
    "fleet_secret_redis_producer_password",
    "fleet_secret_redis_monitor_password",
    "fleet_secret_redis_admin_password",
}
FLEET = """\
name: demo
provider: {kind: local}
pools: {worker: {count: 1, concurrency: 1}}
"""
EXTERNAL = FLEET + "services: {redis: {url: 'redis://u@cache/0', password: 'env:CACHE'}}\n"


class Fleet:
    """A fleet.yml and its state directory."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "fleet.yml"
        self.state = directory / "state" / "demo"
        self.path = self.state / "secrets.yml"
        self.file.write_text(FLEET)

    def ensure(self, *, fetch: secrets.Fetch = "all", **environ: str) -> SecretsFile:
        return secrets.ensure(load(self.file), self.state, environ=environ, spec_file=self.file, fetch=fetch)

    def value(self, name: str) -> str:
        return secrets.read(self.path)[name].get_secret_value()

    def write(self, text: str, mode: int = 0o600) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        self.path.write_text(text)
        self.path.chmod(mode)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def test_each_service_of_the_fleet_gets_passwords_of_its_own(fleet: Fleet) -> None:
    made = fleet.ensure()
    values = {name: value.get_secret_value() for name, value in secrets.read(made.path).items()}
    assert set(made.generated) == set(values) == OWN
    assert len(set(values.values())) == len(OWN)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{40,}", value) for value in values.values())


def test_only_the_owner_may_read_the_file_and_enter_its_directory(fleet: Fleet) -> None:
    before = os.umask(0)
    try:
        fleet.ensure()
    finally:
        os.umask(before)
    assert stat.S_IMODE(fleet.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(fleet.state.stat().st_mode) == 0o700
    assert [path.name for path in fleet.state.iterdir()] == ["secrets.yml"]


def test_a_second_time_changes_nothing(fleet: Fleet) -> None:
    first = fleet.ensure()
    before = fleet.path.stat()
    second = fleet.ensure()
    after = fleet.path.stat()
    assert (first.digest, second.generated) == (second.digest, ())
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_two_fleets_have_different_passwords_and_digests(tmp_path: Path) -> None:
    fleets = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        fleets.append(Fleet(tmp_path / name))
    assert fleets[0].ensure().digest != fleets[1].ensure().digest
    assert all(fleets[0].value(name) != fleets[1].value(name) for name in OWN)


def test_a_password_may_come_from_the_environment_the_first_time(fleet: Fleet) -> None:
    made = fleet.ensure(FLEETCTL_SECRET_POSTGRES_PASSWORD="from-the-environment")
    assert fleet.value("fleet_secret_postgres_password") == "from-the-environment"
    assert made.ignored == ()


def test_a_later_password_of_the_environment_is_ignored_and_said_so(fleet: Fleet) -> None:
    fleet.ensure()
    before = fleet.value("fleet_secret_postgres_password")
    assert fleet.ensure(FLEETCTL_SECRET_POSTGRES_PASSWORD="another-password").ignored == (
        "FLEETCTL_SECRET_POSTGRES_PASSWORD",
    )
    assert fleet.value("fleet_secret_postgres_password") == before


@pytest.mark.parametrize("password", ["", "short", "with a space in it", "colon:at@slash/sign", "hunter2hunter2\n"])
def test_an_unusable_password_of_the_environment_is_refused_unseen(fleet: Fleet, password: str) -> None:
    with pytest.raises(UsageError, match="FLEETCTL_SECRET_REDIS_ADMIN_PASSWORD is not usable") as caught:
        fleet.ensure(FLEETCTL_SECRET_REDIS_ADMIN_PASSWORD=password)
    assert not password or password not in f"{caught.value.message}{caught.value.hint}"
    assert not fleet.path.exists()


def test_a_lost_password_is_generated_beside_the_kept_ones(fleet: Fleet) -> None:
    fleet.write("fleet_secret_postgres_password: kept\nfleet_secret_salt: s\nmine: [1, 2]\n")
    made = fleet.ensure()
    assert set(made.generated) == OWN - {"fleet_secret_postgres_password"}
    assert fleet.value("fleet_secret_postgres_password") == "kept"
    assert yaml.safe_load(fleet.path.read_text())["mine"] == [1, 2]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o700])
def test_a_file_that_others_may_read_is_refused(fleet: Fleet, mode: int) -> None:
    fleet.ensure()
    fleet.path.chmod(mode)
    for use in (fleet.ensure, lambda: secrets.read(fleet.path)):
        with pytest.raises(UsageError, match="may be read by others") as caught:
            use()
        assert caught.value.hint == f"chmod 600 {fleet.path}"


def test_a_file_of_another_user_is_refused(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.ensure()
    monkeypatch.setattr(os, "geteuid", lambda: fleet.path.stat().st_uid + 1)
    with pytest.raises(UsageError, match="belongs to another user"):
        fleet.ensure()


def test_a_link_is_not_followed(fleet: Fleet, tmp_path: Path) -> None:
    fleet.state.mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("x")
    fleet.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="cannot read"):
        fleet.ensure()
    assert (tmp_path / "elsewhere").read_text() == "x"


def test_a_directory_that_others_may_change_is_refused(fleet: Fleet) -> None:
    fleet.state.mkdir(parents=True)
    fleet.state.chmod(0o777)
    with pytest.raises(UsageError, match="others may change") as caught:
        fleet.ensure()
    assert caught.value.hint == f"chmod 700 {fleet.state}"


@pytest.mark.parametrize(
    "text",
    [
        "hunter2",
        "- hunter2",
        "a: [hunter2",
        "fleet_secret_postgres_password: 1234",
        "fleet_secret_app: hunter2",
        "1: hunter2",
        "fleet_secret_app: {A: {B: hunter2}}",
        "fleet_secret_x: !!python/name:hunter2",
    ],
)
def test_a_damaged_file_is_refused_without_showing_it(fleet: Fleet, text: str) -> None:
    fleet.write(text)
    with pytest.raises(UsageError, match="is not what fleetctl wrote") as caught:
        fleet.ensure()
    assert "hunter2" not in f"{caught.value.message}{caught.value.hint}{caught.value.__cause__}"
    assert fleet.path.read_text() == text


def test_references_are_fetched_at_each_deploy(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("-----BEGIN KEY-----\nabc\n-----END KEY-----\n\n")
    fleet.file.write_text(f"{FLEET}app: {{secrets: {{API_KEY: 'env:MY_KEY', TOKEN: 'file:token'}}}}\n")
    first = fleet.ensure(MY_KEY="one")
    passwords = {name: fleet.value(name) for name in OWN}
    assert fleet.value("fleet_secret_app.API_KEY") == "one"
    assert fleet.value("fleet_secret_app.TOKEN") == "-----BEGIN KEY-----\nabc\n-----END KEY-----"
    second = fleet.ensure(MY_KEY="two")
    assert fleet.value("fleet_secret_app.API_KEY") == "two"
    assert first.digest != second.digest
    assert {name: fleet.value(name) for name in OWN} == passwords
    assert fleet.ensure(MY_KEY="one").digest == first.digest


def test_a_secret_that_the_spec_no_longer_names_is_forgotten(fleet: Fleet) -> None:
    fleet.file.write_text(f"{FLEET}app: {{secrets: {{API_KEY: 'env:MY_KEY'}}}}\n")
    fleet.ensure(MY_KEY="one-and-only")
    fleet.file.write_text(FLEET)
    fleet.ensure()
    assert "one-and-only" not in fleet.path.read_text()


def test_every_reference_that_leads_nowhere_is_named_with_its_line(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\x00")
    fleet.file.write_text(f"""{FLEET}services:
  redis: {{url: 'redis://u@cache/0', password: 'env:CACHE'}}
app:
  secrets:
    A: env:UNSET
    B: file:nowhere
    C: file:empty
    D: file:binary
    E: file:/
    F: env:FINE
""")
    with pytest.raises(SpecError) as caught:
        fleet.ensure(FINE="fine", CACHE="two\nlines")
    assert [f"{p.line}: {p.key}: {p.message}" for p in caught.value.problems] == [
        "5: services.redis.password: CACHE in the environment holds a line break or another control character",
        "8: app.secrets.A: there is no UNSET in the environment",
        f"9: app.secrets.B: cannot read {tmp_path}/nowhere: No such file or directory",
        f"10: app.secrets.C: {tmp_path}/empty is empty",
        f"11: app.secrets.D: {tmp_path}/binary is not UTF-8 text",
        "12: app.secrets.E: cannot read /: Is a directory",
    ]
    assert caught.value.problems[1].fix == "export UNSET=..., or write file:PATH"
    assert not fleet.path.exists()


def test_a_command_that_only_reads_takes_what_the_last_deploy_fetched(fleet: Fleet) -> None:
    fleet.file.write_text(f"{EXTERNAL}app: {{secrets: {{API_KEY: 'env:MY_KEY'}}}}\n")
    with pytest.raises(SpecError):
        fleet.ensure(fetch="none")
    deployed = fleet.ensure(MY_KEY="one", CACHE="pass")
    assert fleet.ensure(fetch="none").digest == deployed.digest
    with pytest.raises(SpecError):
        fleet.ensure()


def test_a_plan_sees_a_changed_secret_and_keeps_one_that_it_cannot_resolve(fleet: Fleet) -> None:
    fleet.file.write_text(f"{EXTERNAL}app: {{secrets: {{API_KEY: 'env:MY_KEY'}}}}\n")
    deployed = fleet.ensure(MY_KEY="one", CACHE="pass")
    assert fleet.ensure(fetch="can").digest == deployed.digest
    assert fleet.ensure(fetch="can", MY_KEY="two", CACHE="pass").digest != deployed.digest


def test_a_password_of_the_fleets_own_is_never_sent_to_an_external_service(fleet: Fleet) -> None:
    fleet.ensure()
    fleet.file.write_text(EXTERNAL)
    with pytest.raises(SpecError):
        fleet.ensure(fetch="none")


def test_an_empty_file_is_filled(fleet: Fleet) -> None:
    fleet.write("")
    assert set(fleet.ensure().generated) == OWN


def test_an_external_service_has_the_password_that_is_referred_to(fleet: Fleet) -> None:
    fleet.file.write_text(EXTERNAL)
    made = fleet.ensure(CACHE="p@ss:w/rd")
    assert set(made.generated) == {"fleet_secret_postgres_password"}
    assert fleet.value("fleet_secret_redis_worker_password") == "p@ss:w/rd"


def test_the_password_of_an_external_service_never_becomes_one_of_the_fleets_own(fleet: Fleet) -> None:
    fleet.file.write_text(EXTERNAL)
    fleet.ensure(CACHE="external-password")
    fleet.file.write_text(FLEET)
    assert "fleet_secret_redis_worker_password" in fleet.ensure().generated
    assert "external-password" not in fleet.path.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "$ANSIBLE_VAULT;1.1;AES256\n6162\n",
        "fleet_secret_postgres_password: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n",
    ],
    ids=["the whole file", "one value"],
)
def test_an_encrypted_file_is_left_alone(fleet: Fleet, text: str) -> None:
    fleet.write(text)
    made = fleet.ensure()
    assert made.is_vaulted
    assert fleet.path.read_text() == text
    assert fleet.ensure().digest == made.digest
    with pytest.raises(UsageError, match="is encrypted"):
        secrets.read(fleet.path)


def test_an_encrypted_file_must_be_private_too(fleet: Fleet) -> None:
    fleet.write("$ANSIBLE_VAULT;1.1;AES256\n6162\n", mode=0o644)
    with pytest.raises(UsageError, match="may be read by others"):
        fleet.ensure()


def test_secrets_show_in_no_representation(fleet: Fleet) -> None:
    made = fleet.ensure(FLEETCTL_SECRET_POSTGRES_PASSWORD="hunter2-hunter2-x")
    assert "hunter2" not in f"{made!r} {secrets.read(made.path)!r}"


def test_the_digest_of_a_weak_secret_cannot_be_guessed(tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        fleet = Fleet(tmp_path / name)
        fleet.file.write_text("""\
name: demo
provider: {kind: local}
services:
  postgres: {url: 'postgresql://u@db/x', password: 'env:WEAK'}
  redis: {url: 'redis://u@cache/0', password: 'env:WEAK'}
pools: {worker: {count: 1, concurrency: 1}}
""")
        made = fleet.ensure(WEAK="postgres")
        assert made.generated == ()
        digests.add(made.digest)
    assert len(digests) == 2


def test_a_file_that_is_not_there_is_not_read(fleet: Fleet) -> None:
    with pytest.raises(UsageError, match="there is no") as caught:
        secrets.read(fleet.path)
    assert "fleetctl deploy" in (caught.value.hint or "")


def test_a_failed_write_leaves_the_old_file(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.ensure()
    before = fleet.path.read_text()
    fleet.file.write_text(f"{FLEET}app: {{secrets: {{API_KEY: 'env:MY_KEY'}}}}\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FleetError, match="No space left"):
        fleet.ensure(MY_KEY="one")
    assert fleet.path.read_text() == before
    assert [path.name for path in fleet.state.iterdir()] == ["secrets.yml"]
