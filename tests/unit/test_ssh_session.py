"""Sessions over SSH, against a server on this computer that runs no program: it answers lines as it is told to."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fleetctl.adapters.ssh import FabricRemote
from fleetctl.errors import ConnectError
from fleetctl.model import Host

Program = Callable[[paramiko.Channel], None]


class Door(paramiko.ServerInterface):
    """Lets everybody in, and starts the server's program for each command."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def get_allowed_auths(self, username: str) -> str:
        del username
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        del username, key
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        del kind, chanid
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._server.commands.append(command.decode())
        threading.Thread(target=self._server.program, args=(channel,), daemon=True).start()
        return True


@dataclass
class Server:
    """An SSH server. `program` acts for every command; `is_mute`: it takes connections and says nothing."""

    key: paramiko.PKey
    listener: socket.socket
    program: Program
    is_mute: bool = False
    connections: int = 0
    commands: list[str] = field(default_factory=list)
    transports: list[paramiko.Transport] = field(default_factory=list)

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                transport = paramiko.Transport(connection)
                self.transports.append(transport)
                if not self.is_mute:
                    transport.add_server_key(self.key)
                    transport.start_server(event=threading.Event(), server=Door(self))


def echo(channel: paramiko.Channel) -> None:
    with channel.makefile("rb") as lines:
        first = lines.readline()
        for line in lines:
            channel.sendall(first.strip() + b" " + line)


def die(channel: paramiko.Channel) -> None:
    channel.recv(1)  # the client has been told that its command was started
    channel.sendall_stderr(b"bash: python3: command not found\n")
    channel.send_exit_status(127)
    channel.close()


def be_silent(channel: paramiko.Channel) -> None:
    time.sleep(5)
    channel.close()


def private_key(path: Path) -> paramiko.Ed25519Key:
    made = Ed25519PrivateKey.generate()
    path.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    return paramiko.Ed25519Key.from_private_key_file(str(path))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Server(private_key(tmp_path / "host"), listener, echo)
        private_key(tmp_path / "client")
        thread = threading.Thread(target=made.run, daemon=True)
        thread.start()
        yield made
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for transport in made.transports:
            transport.close()
            if made.is_mute:
                transport.sock.close()


@pytest.fixture
def host(server: Server, tmp_path: Path) -> Host:
    key = f"ssh-ed25519 {base64.b64encode(server.key.asbytes()).decode()}"
    port = server.listener.getsockname()[1]
    return Host("one", "i-1", "127.0.0.1", port=port, key_file=tmp_path / "client", host_keys=(key,))


def test_a_session_answers_lines_until_it_is_closed_and_its_connection_serves_the_next(
    server: Server, host: Host, tmp_path: Path
) -> None:
    with FabricRemote(tmp_path / "known") as remote:
        for name in ("first", "second"):
            with remote.session(host, ["the program", "-x"], stdin=f"{name}\n", timeout=5) as session:
                assert [session.ask(line, timeout=5) for line in ("a", "b")] == [f"{name} a", f"{name} b"]
    assert server.connections == 1
    assert server.commands == ["'the program' -x"] * 2


def test_a_user_other_than_root_becomes_root(server: Server, host: Host, tmp_path: Path) -> None:
    other = Host(**{**vars(host), "become": True})
    with FabricRemote(tmp_path / "known") as remote, remote.session(other, ["x"], stdin="a\n", timeout=5) as session:
        session.ask("b", timeout=5)
    assert server.commands == ["sudo -n -- x"]


def test_a_program_that_ended_says_its_last_words(server: Server, host: Host, tmp_path: Path) -> None:
    server.program = die
    with (
        FabricRemote(tmp_path / "known") as remote,
        pytest.raises(ConnectError, match="one: the program ended: bash: python3: command not found"),
        remote.session(host, ["python3"], timeout=5) as session,
    ):
        session.ask("a", timeout=5)


def test_no_answer_costs_its_limit_and_the_next_session_has_a_new_connection(
    server: Server, host: Host, tmp_path: Path
) -> None:
    with FabricRemote(tmp_path / "known") as remote:
        server.program = be_silent
        began = time.monotonic()
        with (
            pytest.raises(ConnectError, match="one: no answer within"),
            remote.session(host, ["x"], timeout=5) as session,
        ):
            session.ask("a", timeout=0.3)
        assert time.monotonic() - began < 5
        server.program = echo
        with remote.session(host, ["x"], stdin="a\n", timeout=5) as session:
            assert session.ask("b", timeout=5) == "a b"
    assert server.connections == 2


def test_a_machine_that_takes_connections_and_says_nothing_costs_the_limit(
    server: Server, host: Host, tmp_path: Path
) -> None:
    """As one that is frozen: its kernel goes on answering."""
    server.is_mute = True
    began = time.monotonic()
    with (
        FabricRemote(tmp_path / "known") as remote,
        pytest.raises(ConnectError, match="one: "),
        remote.session(host, ["x"], timeout=1),
    ):
        pass
    assert time.monotonic() - began < 10


def test_another_host_key_is_refused(host: Host, tmp_path: Path) -> None:
    other = base64.b64encode(private_key(tmp_path / "other").asbytes()).decode()
    wrong = Host(**{**vars(host), "host_keys": (f"ssh-ed25519 {other}",)})
    with (
        FabricRemote(tmp_path / "known") as remote,
        pytest.raises(ConnectError, match="not the pinned one"),
        remote.session(wrong, ["x"], timeout=5),
    ):
        pass
