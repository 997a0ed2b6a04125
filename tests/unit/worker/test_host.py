"""A worker host's files, and commands run as its user."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleetctl.worker import host


def test_an_environment_file_is_read_as_systemd_reads_it() -> None:
    text = """#
# Ansible managed
A=plain
B='it'"'"'s "50%" $HOME \\n'
C=''

D=redis://h?a=b
"""
    assert host.parse_environment(text) == {
        "A": "plain", "B": "it's \"50%\" $HOME \\n", "C": "", "D": "redis://h?a=b"
    }  # fmt: skip


def run(tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "environment").write_text("FLEET_NAME='trial'\n")
    if not (tmp_path / "credentials").exists():
        (tmp_path / "credentials").write_text('{"API_KEY": "k"}')
    options = ["--environment", f"{tmp_path}/environment", "--credentials", f"{tmp_path}/credentials", "--user", "root"]
    return subprocess.run(
        [sys.executable, "-m", "fleetctl.worker.run", *options, *command], capture_output=True, text=True, check=False
    )


def test_a_command_has_the_hosts_variables_and_the_releases_programs(tmp_path: Path) -> None:
    code = "import json, os, sys; print(json.dumps([dict(os.environ), sys.argv[1:]])); sys.exit(3)"
    done = run(tmp_path, "python", "-c", code, "--user", "x")
    environ, arguments = json.loads(done.stdout)
    assert (environ["FLEET_NAME"], environ["API_KEY"]) == ("trial", "k")
    assert environ["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert (arguments, done.returncode) == (["--user", "x"], 3), "the command's own options and status"


@pytest.mark.skipif(os.geteuid() != 0, reason="whoever is not root stays who they are")
def test_root_becomes_the_fleets_user(tmp_path: Path) -> None:
    (tmp_path / "environment").write_text("")
    (tmp_path / "credentials").write_text("{}")
    options = ["--environment", f"{tmp_path}/environment", "--credentials", f"{tmp_path}/credentials"]
    command = [sys.executable, "-m", "fleetctl.worker.run", *options, "--user", "nobody", "/bin/sh", "-c"]
    done = subprocess.run([*command, "id -un; echo $HOME"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "nobody"
    assert done.stdout.split()[1] != os.environ.get("HOME")


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("no-such-program", 127, "fleet-app: no-such-program: no such command\n"),
        ("/etc/hostname/x", 127, "fleet-app: /etc/hostname/x: no such command\n"),
        ("/etc", 126, "fleet-app: /etc: Permission denied\n"),
    ],
)
def test_a_command_that_cannot_be_run_is_named(tmp_path: Path, command: str, code: int, message: str) -> None:
    done = run(tmp_path, command)
    assert (done.returncode, done.stderr) == (code, message)


def test_credentials_that_are_none_are_named_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("topsecret")
    done = run(tmp_path, "true")
    assert (done.returncode, done.stderr) == (1, f"fleet-app: {tmp_path}/credentials: not JSON\n")
