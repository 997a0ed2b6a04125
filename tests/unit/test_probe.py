"""The probe on this computer, in a process of its own and a bare environment, as a host would run it."""

from __future__ import annotations

import ast
import base64
import contextlib
import hashlib
import hmac
import json
import os
import shlex
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetctl import probe
from fleetctl.adapters import assets
from fleetctl.workflows.visits import ARGV
from tests.stalling import Stalling, stalling

__all__ = ["stalling"]  # a fixture

PASSWORD = "pa:ss w0rd"
ANYBODY = "nobody" if os.geteuid() == 0 else None
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def start(text: str) -> subprocess.Popen[str]:
    """Start the probe by its loader, as over SSH."""
    process = subprocess.Popen(
        [sys.executable, *ARGV[1:]], env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(f"{len(text.encode())}\n{text}")
    return process


def changed(root: Path) -> str:
    """Return the probe's text with another root for the fleet's files, and a user that is there."""
    text = assets.probe().replace('CONFIG = "/etc/fleet"', f'CONFIG = "{root}/etc/fleet"')
    return text.replace('USER = "fleet"', f'USER = "{ANYBODY or "fleet"}"')


def asked(*requests: Any, root: Path | None = None, seconds: float = 20) -> list[Any]:
    """Return the answers to requests."""
    process = start(changed(root) if root else assets.probe())
    lines = "".join(f"{request if isinstance(request, str) else json.dumps(request)}\n" for request in requests)
    said, errors = process.communicate(lines, timeout=seconds)
    assert (process.returncode, errors) == (0, "")
    return [json.loads(line) for line in said.splitlines()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc" / "fleet").mkdir(parents=True)
    (tmp_path / "etc" / "fleet" / "environment").write_text("# none\nFLEET_NAME=demo\nFLEET_HOST='worker-1'\n")
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    return tmp_path


def write_credentials(root: Path, **urls: str) -> None:
    (root / "etc" / "fleet" / "credentials.json").write_text(json.dumps(urls))


def test_a_bare_computer_says_what_it_is_and_which_parts_it_lacks() -> None:
    (said,) = asked({"redis": True, "postgres": True, "exports": True, "units": ["worker-1"]})
    facts = said["facts"]
    assert facts["host"]["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert facts["host"]["stamp"] is None
    assert 0 < facts["memory"]["available"] <= facts["memory"]["total"]
    assert 0 < facts["pids"]["used"] < facts["pids"]["limit"]
    assert 0 < facts["disk"]["available"] < facts["disk"]["total"]
    assert facts["load"]["cpus"] >= 1
    assert (facts["redis"]["kind"], facts["postgres"]["kind"]) == ("absent", "absent")
    assert facts["exports"]["exports"] == []
    assert abs(said["time"] - time.time()) < 30
    assert set(said["problems"]) <= {"systemd"}


def test_a_line_that_is_no_request_is_answered_as_such_and_the_next_one_is_answered() -> None:
    first, second, third = asked("nonsense", "[1]", {})
    assert "not a JSON object" in first["error"]
    assert "not a JSON object" in second["error"]
    assert third["facts"]["host"]["hostname"] == os.uname().nodename


def test_without_a_request_it_answers_once() -> None:
    assert len(asked()) == 1


def test_it_is_of_the_standard_library_alone_and_of_ascii() -> None:
    text = assets.probe()
    ast.parse(text, feature_version=(3, 9))
    assert text.isascii()  # Ansible counts letters where the loader counts bytes
    names = "import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"{text.replace('os._exit(0)  # without', 'return  # without')}\n{names}"],
        env=ENVIRONMENT, input="", capture_output=True, text=True, check=True,
    )  # fmt: skip
    roots = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()} - {"__main__"}
    assert {name for name in roots if not name.startswith("_")} <= sys.stdlib_module_names
    assert not {"pathlib", "subprocess", "typing", "ssl", "urllib"} & roots  # each would cost every host its import


def test_the_storage_is_written_flushed_read_and_removed_as_the_fleet_s_user(root: Path) -> None:
    storage = root / "storage"
    storage.mkdir()
    storage.chmod(0o777)
    (said,) = asked({"storage": str(storage)}, root=root)
    of = said["facts"]["storage"]
    assert (of["error"], of["kind"], of["mount"]) == (None, None, None)
    assert of["seconds"] > 0
    assert of["space"]["total"] > 0
    assert list((storage / ".fleetctl").iterdir()) == []
    if ANYBODY:
        assert (storage / ".fleetctl").owner() == ANYBODY


@pytest.mark.skipif(ANYBODY is None, reason="only root can become another user")
def test_a_storage_that_the_user_may_not_write_says_so(root: Path) -> None:
    storage = root / "storage"
    storage.mkdir(mode=0o755)
    (said,) = asked({"storage": str(storage)}, root=root)
    assert said["facts"]["storage"]["kind"] == "EACCES"


def test_a_storage_that_is_not_there_says_so(root: Path) -> None:
    (said,) = asked({"storage": str(root / "none")}, root=root)
    assert said["facts"]["storage"]["kind"] == "ENOENT"


def hold(storage: Path) -> None:
    """Let every write to the storage wait for ever: pipes that nobody reads, under all names that a probe may take."""
    (storage / ".fleetctl").mkdir(parents=True)
    (storage / ".fleetctl").chmod(0o777)
    storage.chmod(0o777)
    for number in range(64):
        os.mkfifo(storage / ".fleetctl" / f"health-{os.uname().nodename}-{number}")
        (storage / ".fleetctl" / f"health-{os.uname().nodename}-{number}").chmod(0o666)


def test_a_storage_that_hangs_is_given_up_and_all_else_is_answered(root: Path) -> None:
    hold(root / "storage")
    began = time.monotonic()
    (said,) = asked({"storage": str(root / "storage"), "seconds": 1}, root=root)
    assert time.monotonic() - began < 6
    of = said["facts"]["storage"]
    assert (of["kind"], of["error"]) == ("hung", "no answer within 1 s, at: write")
    assert said["facts"]["host"]["fleet_host"] == "worker-1"


def test_a_storage_from_which_sigkill_frees_nobody_holds_up_neither_this_answer_nor_the_next(
    stalling: Stalling, root: Path
) -> None:
    (stalling.path / ".fleetctl").mkdir(mode=0o777)
    (stalling.path / ".fleetctl").chmod(0o777)
    for path in stalling.path.parents[:3]:
        path.chmod(0o755)
    request = {"storage": str(stalling.path), "seconds": 1}
    stalling.stall()
    process = start(changed(root))
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = []
        for _ in range(2):
            began = time.monotonic()
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            said.append(json.loads(process.stdout.readline())["facts"]["storage"])
            assert time.monotonic() - began < 6
        process.stdin.close()
        assert process.stdout.read() == ""  # the pipes end though a process of it still hangs
        assert process.wait(5) == 0
        assert [of["kind"] for of in said] == ["hung", "hung"]
        assert "last time" in said[1]["error"]  # no second process was sent after the first
        stalling.go_on()
        (after,) = asked(request, root=root)
        assert after["facts"]["storage"]["error"] is None
    finally:
        stalling.go_on()
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def test_a_program_that_hangs_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(probe.Trouble, match=r"no answer within 0\.2 s"):
        probe.run(["sleep", "30"], 0.2)
    assert time.monotonic() - began < 5
    assert probe.run(["printf", "a b"], 5) == "a b"


SHOWN = """Id=fleet-worker@worker-1.service
LoadState=loaded
ActiveState=active
SubState=running
Result=success
NRestarts=2
MainPID=%d
MemoryCurrent=104857600
MemoryMax=18446744073709551615
TasksCurrent=7
TasksMax=100
ActiveEnterTimestampMonotonic=1000000
ControlGroup=
UnitFileState=enabled

Id=redis-server.service
LoadState=loaded
ActiveState=inactive
SubState=dead
UnitFileState=enabled

Id=docker.service
LoadState=not-found
ActiveState=inactive
SubState=dead
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    """Return a process with one child; both end with its stdin."""
    program = ["sh", "-c", "cat <&3 & echo there; wait", "sh"]
    with subprocess.Popen(["sh", "-c", f"exec 3<&0; exec {shlex.join(program)}"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        yield process


def test_what_systemd_shows_is_read(
    parent: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A systemctl of the test's own stands first on the path."""
    program = tmp_path / "systemctl"
    other = "echo cron.service loaded failed"
    program.write_text(f"#!/bin/sh\ncase $1 in show) cat <<'E'\n{SHOWN % parent.pid}\nE\n;; *) {other} ;; esac")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = probe.systemd({"units": ["worker-1"], "seconds": 5})
    unit = found["units"]["worker-1"]
    assert (unit["state"], unit["restarts"], unit["memory"], unit["memory_limit"]) == ("active", 2, 104857600, None)
    assert (unit["children"], unit["pid"], unit["is_enabled"]) == (1, parent.pid, True)
    assert unit["process"] == "S"
    assert unit["active_seconds"] > 0
    assert found["services"] == {"redis-server": {"state": "inactive", "sub": "dead", "is_enabled": True}}
    assert found["failed"] == ["cron.service"]


def files_of(root: Path, **files: str) -> None:
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


MEMINFO = "MemTotal: 1000 kB\nMemAvailable: 900 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"


@pytest.mark.parametrize(
    ("files", "total", "available", "source"),
    [
        ({"proc__meminfo": MEMINFO}, 1024000, 921600, "kernel"),
        ({"proc__meminfo": MEMINFO, "run__systemd__container": "systemd-nspawn\n"}, 1024000, 921600, "shared kernel"),
        (
            {
                "proc__meminfo": MEMINFO, "proc__1__cgroup": "0::/init.scope\n",
                "sys__fs__cgroup__memory.max": "500000\n",
                "sys__fs__cgroup__memory.current": "300000\n", "sys__fs__cgroup__memory.stat": "inactive_file 100000\n",
            },
            500000, 300000, "control group",
        ),
        (
            {
                "proc__meminfo": MEMINFO, "proc__1__cgroup": "4:memory:/m/init.scope\n",
                "sys__fs__cgroup__memory__m__memory.limit_in_bytes": "500000\n",
                "sys__fs__cgroup__memory__m__memory.usage_in_bytes": "300000\n",
                "sys__fs__cgroup__memory__m__memory.stat": "total_inactive_file 0\n",
            },
            500000, 200000, "control group",
        ),
        (
            {
                "proc__meminfo": MEMINFO, "proc__1__cgroup": "0::/init.scope\n", "sys__fs__cgroup__memory.max": "max\n",
                "sys__fs__cgroup__memory.current": "300000\n",
            },
            1024000, 921600, "kernel",
        ),
    ],
    ids=["a computer", "a guest", "a guest with a limit", "older control groups", "a group without a limit"],
)  # fmt: skip
def test_memory_is_that_of_the_control_group_where_one_limits_it(
    files: dict[str, str], total: int, available: int, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files_of(tmp_path, **files)
    monkeypatch.setattr(probe, "ROOT", f"{tmp_path}/")
    said = probe.memory()
    assert (said["total"], said["available"], said["source"]) == (total, available, source)


def test_kills_for_want_of_memory_are_the_control_group_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = {"sys__fs__cgroup__memory.events": "oom 4\noom_kill 3\n", "sys__fs__cgroup__memory.current": "1\n"}
    files_of(tmp_path, proc__1__cgroup="0::/\n", proc__vmstat="oom_kill 99\n", **events)
    monkeypatch.setattr(probe, "ROOT", f"{tmp_path}/")
    assert probe.oom() == {"kills": 3, "last_seconds": None, "source": "control group"}


def test_the_last_mount_at_a_path_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = "shared:2 - "
    lines = [
        f"30 1 0:40 / /shared/fleet rw,relatime {rest}autofs systemd-1 rw,fd=1",
        f"31 30 0:41 / /shared/fleet ro,relatime {rest}nfs4 10.0.0.1:/shared/fleet rw,vers=4.2",
    ]
    files_of(tmp_path, proc__self__mountinfo="\n".join(lines) + "\n")
    monkeypatch.setattr(probe, "ROOT", f"{tmp_path}/")
    assert probe.mount("/shared/fleet") == {"type": "nfs4", "source": "10.0.0.1:/shared/fleet", "is_read_only": True}
    assert probe.mount("/shared") is None


# --- services: servers that know one password ------------------------------------------------------------------------

Serve = Callable[[socket.socket], None]


@contextlib.contextmanager
def serving(serve: Serve) -> Iterator[int]:
    """Yield the port of a server on this computer that serves each connection by `serve`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError, ValueError, struct.error):
                        serve(connection)

        threading.Thread(target=run, daemon=True).start()
        yield listener.getsockname()[1]
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def serve_redis(connection: socket.socket) -> None:
    known = False
    while data := connection.recv(4096):
        words = data.split(b"\r\n")[2::2]
        if words[0] == b"AUTH":
            known = words[1:] == [b"worker", PASSWORD.encode()]
            connection.sendall(b"+OK\r\n" if known else b"-WRONGPASS invalid username-password pair\r\n")
        else:
            connection.sendall(b"+PONG\r\n" if known else b"-NOAUTH Authentication required.\r\n")


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def body_of(connection: socket.socket, *, has_kind: bool = True) -> bytes:
    head = connection.recv(5 if has_kind else 4, socket.MSG_WAITALL)
    return connection.recv(struct.unpack("!i", head[-4:])[0] - 4, socket.MSG_WAITALL)


def serve_postgres(connection: socket.socket) -> None:
    """Speak SCRAM-SHA-256 as RFC 7677 has it."""
    assert struct.unpack("!i", body_of(connection, has_kind=False))[0] == 80877103
    connection.sendall(b"N")
    assert b"database\0jobs\0" in body_of(connection, has_kind=False)
    connection.sendall(message(b"R", struct.pack("!i", 10) + b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"))
    first = body_of(connection).partition(b"n,,")[2]
    nonce, salt, rounds = first.partition(b"r=")[2] + b"more", b"salt", 4096
    challenge = b"r=%s,s=%s,i=%d" % (nonce, base64.b64encode(salt), rounds)
    connection.sendall(message(b"R", struct.pack("!i", 11) + challenge))
    last = body_of(connection)
    signed = b",".join((first, challenge, last.rpartition(b",p=")[0]))
    salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt, rounds)
    key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
    proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
    if base64.b64decode(last.rpartition(b",p=")[2]) != proof:
        failed = b"SFATAL\0C28P01\0Mpassword authentication failed\0\0"
        connection.sendall(message(b"E", failed))
        return
    server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
    connection.sendall(message(b"R", struct.pack("!i", 12) + b"v=" + base64.b64encode(server)))
    connection.sendall(message(b"R", struct.pack("!i", 0)) + message(b"S", b"a\0b\0") + message(b"Z", b"I"))
    assert body_of(connection) == b"SELECT 1\0"
    connection.sendall(message(b"T", b"") + message(b"D", b"") + message(b"C", b"SELECT 1\0") + message(b"Z", b"I"))


def serve_nothing(connection: socket.socket) -> None:
    time.sleep(3)
    connection.recv(1)


URLS = {"redis": "redis://worker:{}@127.0.0.1:{}/0", "postgres": "postgresql://fleet:{}@127.0.0.1:{}/jobs"}
VARIABLES = {"redis": "REDIS_URL", "postgres": "DATABASE_URL"}
SERVERS: dict[str, Serve] = {"redis": serve_redis, "postgres": serve_postgres}


@pytest.mark.parametrize("name", SERVERS)
def test_a_service_lets_in_the_host_s_password_and_no_other_and_no_answer_carries_it(name: str, root: Path) -> None:
    with serving(SERVERS[name]) as port:
        found = []
        for password in ("pa%3Ass%20w0rd", "wr0ng"):
            write_credentials(root, **{VARIABLES[name]: URLS[name].format(password, port)})
            (said,) = asked({name: True}, root=root)
            found.append(said["facts"][name])
            assert "w0rd" not in json.dumps(said)
            assert "wr0ng" not in json.dumps(said)
    assert (found[0]["error"], found[0]["server"]) == (None, f"127.0.0.1:{port}")
    assert found[0]["seconds"] >= found[0]["reply_seconds"] > 0
    assert (found[1]["kind"], found[1]["seconds"]) == ("password", None)


@pytest.mark.parametrize("name", SERVERS)
def test_a_service_that_is_down_or_says_nothing_costs_its_own_limit(name: str, root: Path) -> None:
    with serving(serve_nothing) as port:
        write_credentials(root, **{VARIABLES[name]: URLS[name].format("x", port)})
        began = time.monotonic()
        (said,) = asked({name: True, "seconds": 0.5}, root=root)
        assert time.monotonic() - began < 5
        assert said["facts"][name]["kind"] == "timeout"
    (said,) = asked({name: True}, root=root)
    assert said["facts"][name]["kind"] == "refused"


def test_credentials_that_cannot_be_read_are_not_repeated(root: Path) -> None:
    write_credentials(root, REDIS_URL="redis://worker:s3cret@host:n0port/0")
    (said,) = asked({"redis": True, "postgres": True}, root=root)
    assert (said["facts"]["redis"]["kind"], said["facts"]["postgres"]["kind"]) == ("credentials", "credentials")
    assert "s3cret" not in json.dumps(said)
    assert "n0port" not in json.dumps(said)
