#!/usr/bin/env python3
"""What a host is and how it feels: facts, no verdicts. Runs on hosts as a text sent over SSH and leaves nothing there.

The standard library alone, Python 3.9. One JSON request a line on stdin, one answer a line on stdout, until the end of
stdin; started without requests, or on a terminal, it answers once:

    {"units": ["worker-1"], "storage": "/shared/fleet", "exports": true, "redis": true, "postgres": true, "seconds": 3}
    {"facts": {"host": {...}, "memory": {...}, "units": {...}, "storage": {...}, ...}, "problems": {part: why},
     "time": epoch, "took": seconds}

Each part has its own limit and none holds up another: what may hang in the kernel (the storage, the NFS server) is
touched by a process that nobody waits for; the rest are threads with limits on their sockets. All keys may be absent.
Passwords are read on the host; neither arguments nor answers carry them.
"""
# Without pathlib, which costs each host more to import than all else here; and in Python 3.9 a socket's timeout is no
# TimeoutError.
# ruff: noqa: PTH103, PTH108, PTH110, PTH112, PTH118, PTH123, PTH208, UP041

from __future__ import annotations

import contextlib
import errno
import json
import os
import pwd
import select
import signal
import socket
import struct
import sys
import threading
import time

TYPE_CHECKING = False  # of typing, which need not be imported for it
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Facts = dict[str, Any]
    Tell = Callable[[str], None]

CONFIG = "/etc/fleet"
USER = "fleet"
ROOT = "/"  # tests have one of their own
SECONDS = 3.0
MORE_SECONDS = 1.5  # for a part to say that its limit has passed
_ALARM_SECONDS = 60
_SERVICES = ("nfs-server", "redis-server", "postgresql@*", "docker", "chrony", "systemd-timesyncd")
_SHOWN = (
    "Id,LoadState,ActiveState,SubState,Result,NRestarts,MainPID,MemoryCurrent,MemoryMax,TasksCurrent,TasksMax,"
    "ActiveEnterTimestampMonotonic,ControlGroup,UnitFileState"
)
_UNIT = "fleet-worker@"
_NO_LIMIT = 1 << 60  # what has no limit is told as a number near 2^63 or 2^64
_KINDS = {"WRONGPASS": "password", "NOAUTH": "password", "NOPERM": "permission", "LOADING": "loading"}


class Trouble(Exception):  # noqa: N818  # no error of this program: what a part says of the host
    """What a part says of itself when it fails: `kind` one word, and a text without secrets."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


# --- files of the kernel ---------------------------------------------------------------------------------------------


def text(path: str) -> str:
    """Return the text of a file, "" when there is none or it may not be read."""
    try:
        with open(ROOT + path.lstrip("/"), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def number(path: str) -> int | None:
    """Return the number in a file, None when there is none ("max" is none)."""
    word = text(path).strip()
    return int(word) if word.isdigit() else None


def numbers(path: str) -> dict[str, int]:
    """Return the numbers of a file of lines `name number`."""
    rows = (line.replace(":", " ").split() for line in text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def variables(path: str) -> dict[str, str]:
    """Return the variables of a file of lines KEY=VALUE, simple quotes taken off."""
    pairs = (line.partition("=") for line in text(path).splitlines() if "=" in line)
    return {key: value.strip("'\"") for key, _, value in pairs if not key.startswith("#")}


def groups() -> dict[str, str]:
    """Return controller -> directory of the control group that holds all of this machine; {} for a whole computer."""
    markers = {"memory": ("memory.current", "memory.usage_in_bytes"), "pids": ("pids.current",), "cpu": ("cpu.stat",)}
    found: dict[str, str] = {}
    for line in text("/proc/1/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        path = path[: -len("/init.scope")] if path.endswith("/init.scope") else path.rstrip("/")
        directory = f"/sys/fs/cgroup/{names}{path}" if names else f"/sys/fs/cgroup{path}"
        for name in names.split(",") if names else markers:
            if name not in found and any(os.path.exists(f"{ROOT}{directory}/{one}") for one in markers.get(name, ())):
                found[name] = directory
    return found


def source() -> str:
    """Tell whose figures files of /proc have: guests share the kernel, and its figures, of their computer."""
    return "shared kernel" if text("/run/systemd/container").strip() else "kernel"


def host() -> Facts:
    """Return who this is."""
    environment = variables(CONFIG + "/environment")
    return {
        "machine_id": text("/etc/machine-id").strip(),
        "boot_id": text("/proc/sys/kernel/random/boot_id").strip(),
        "hostname": os.uname().nodename,
        "fleet": environment.get("FLEET_NAME"),
        "fleet_host": environment.get("FLEET_HOST"),
        "stamp": text(CONFIG + "/stamp").strip() or None,
        "kernel": os.uname().release,
        "system": variables("/etc/os-release").get("PRETTY_NAME"),
        "python": ".".join(map(str, sys.version_info[:2])),
        "is_guest": source() != "kernel",
        "uptime_seconds": float((text("/proc/uptime").split() or ["0"])[0]),
        "needs_reboot": os.path.exists(ROOT + "run/reboot-required"),
    }


def load() -> Facts:
    """Return the load averages, and the processors by which they are divided."""
    one, five = text("/proc/loadavg").split()[:2]
    pressure = text(groups().get("cpu", "/none") + "/cpu.pressure") or text("/proc/pressure/cpu")
    stalled = [float(word[6:]) for word in pressure.split() if word.startswith("avg60=")]
    return {
        "one": float(one),
        "five": float(five),
        "cpus": len(os.sched_getaffinity(0)),
        "stalled_percent": stalled[0] if stalled else None,
        "source": source(),
    }


def memory() -> Facts:
    """Return bytes of memory and swap: the control group's, where one limits this machine."""
    info = {key: value * 1024 for key, value in numbers("/proc/meminfo").items()}
    answer: Facts = {
        "total": info.get("MemTotal"),
        "available": info.get("MemAvailable"),
        "swap_total": info.get("SwapTotal"),
        "swap_free": info.get("SwapFree"),
        "source": source(),
        "own": None,  # what this machine uses, where a control group counts it
    }
    group = groups().get("memory")
    used = _used(group) if group else None
    if group is None or used is None:
        return answer
    answer["own"] = used
    limit = number(group + "/memory.max") or number(group + "/memory.limit_in_bytes") or _NO_LIMIT
    if limit < (answer["total"] or _NO_LIMIT):
        swap = number(group + "/memory.swap.max") or 0
        free = max(0, swap - (number(group + "/memory.swap.current") or 0))
        answer.update(total=limit, available=max(0, limit - used), swap_total=swap, swap_free=free)
        answer["source"] = "control group"
    return answer


def _used(group: str) -> int | None:
    """Return the bytes of a control group without the cache that it gives back when memory is short."""
    current = number(group + "/memory.current") or number(group + "/memory.usage_in_bytes")
    stat = numbers(group + "/memory.stat")
    cache = stat.get("total_inactive_file", stat.get("inactive_file", 0))
    return None if current is None else max(0, current - cache)


def pids() -> Facts:
    """Return how many threads there are and may be."""
    group = groups().get("pids")
    limit = number(group + "/pids.max") if group else None
    if group and limit is not None:
        return {"used": number(group + "/pids.current"), "limit": limit, "source": "control group"}
    limits = [number("/proc/sys/kernel/pid_max"), number("/proc/sys/kernel/threads-max")]
    used = int(text("/proc/loadavg").split()[3].partition("/")[2])
    return {"used": used, "limit": min(one for one in limits if one is not None), "source": source()}


def files() -> Facts:
    """Return how many file handles there are and may be."""
    used, _, limit = text("/proc/sys/fs/file-nr").split()
    return {"used": int(used), "limit": int(limit), "source": source()}


def space(path: str) -> Facts:
    """Return bytes and inodes of a file system, as others than root may use it. Hangs where a storage does."""
    of = os.statvfs(path)
    return {
        "total": of.f_blocks * of.f_frsize,
        "available": of.f_bavail * of.f_frsize,
        "inodes": of.f_files,
        "inodes_free": of.f_favail,
    }


def oom() -> Facts | None:
    """Return how often the kernel killed for want of memory, and how long ago it last did, where that can be known."""
    group = groups().get("memory")
    kills = _oom_kills(group) if group else None
    if kills is not None:
        return {"kills": kills, "last_seconds": None, "source": "control group"}
    if source() != "kernel":
        return None
    kills = numbers("/proc/vmstat").get("oom_kill")
    return {"kills": kills, "last_seconds": _last_oom() if kills else None, "source": "kernel"}


def _oom_kills(group: str) -> int | None:
    return {**numbers(group + "/memory.oom_control"), **numbers(group + "/memory.events")}.get("oom_kill")


def _last_oom() -> float | None:
    """Return the age of the last such line in the kernel's own log; lines that it has dropped are not known."""
    last: float | None = None
    try:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        while True:
            try:
                record = os.read(log, 8192)
            except BrokenPipeError:  # a record was overwritten meanwhile
                continue
            if b"oom-kill:" in record or b"Out of memory" in record:
                last = int(record.split(b",")[2]) / 1e6
    except OSError:
        return None if last is None else max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - last)
    finally:
        os.close(log)


def clock() -> Facts:
    """Return whether timesyncd has set the clock (None: it does not say); the time itself is in every answer."""
    return {"is_synchronized": os.path.exists(ROOT + "run/systemd/timesync/synchronized") or None}


# --- systemd ---------------------------------------------------------------------------------------------------------


def run(argv: list[str], seconds: float) -> str:
    """Return what a program printed; Trouble when it does not end in time. subprocess would cost its import."""
    read, write = os.pipe()
    quiet = os.open(os.devnull, os.O_RDWR)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TERM": "dumb"}
    try:
        ends = [(os.POSIX_SPAWN_DUP2, one, to) for to, one in enumerate((quiet, write, quiet))]
        child = os.posix_spawnp(argv[0], argv, environment, file_actions=ends)
    except OSError as exc:
        os.close(read)
        raise Trouble("absent", f"{argv[0]}: {exc.strerror}") from None
    finally:
        os.close(write)
        os.close(quiet)
    said, limit = b"", time.monotonic() + seconds
    try:
        while True:
            if not select.select([read], [], [], max(0.0, limit - time.monotonic()))[0]:
                os.kill(child, signal.SIGKILL)
                raise Trouble("timeout", f"{argv[0]} gave no answer within {seconds:g} s")
            piece = os.read(read, 65536)
            if not piece:
                return said.decode(errors="replace")
            said += piece
    finally:
        os.close(read)
        threading.Thread(target=os.waitpid, args=(child, 0), daemon=True).start()


def systemd(request: Facts) -> Facts:
    """Return the fleet's units, the services that are there, and what failed: two programs side by side."""
    failed: list[str] = []
    seconds: float = request["seconds"]
    thread = threading.Thread(target=lambda: failed.extend(_failed(seconds)), daemon=True)
    thread.start()
    names = [*(f"{_UNIT}{unit}.service" for unit in request["units"]), f"{_UNIT}*.service"]
    names += [f"{name}.service" for name in _SERVICES]
    shown = run(["systemctl", "show", "--no-pager", f"--property={_SHOWN}", *names], seconds)
    if not shown.strip():
        raise Trouble("absent", "systemd gave no answer")
    units, services = {}, {}
    for block in shown.split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.strip().splitlines())
        name = values.get("Id", "")[: -len(".service")]
        if name.startswith(_UNIT):
            units[name[len(_UNIT) :]] = _unit(values)
        elif name and values.get("LoadState") == "loaded":
            is_enabled = values.get("UnitFileState", "").startswith("enabled")
            services[name] = {"state": values["ActiveState"], "sub": values["SubState"], "is_enabled": is_enabled}
    thread.join(seconds)
    return {"units": units, "services": services, "failed": failed}


def _failed(seconds: float) -> list[str]:
    argv = ["systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager"]
    with contextlib.suppress(Trouble):
        return [line.split()[0] for line in run(argv, seconds).splitlines() if line.split()]
    return []


def _unit(values: dict[str, str]) -> Facts:
    def count(key: str) -> int | None:
        value = values.get(key, "")
        return int(value) if value.isdigit() and int(value) < _NO_LIMIT else None

    entered, pid, group = count("ActiveEnterTimestampMonotonic"), count("MainPID"), values.get("ControlGroup")
    is_active = values.get("ActiveState") == "active"
    bases = ("/sys/fs/cgroup", "/sys/fs/cgroup/memory")
    own = [f"{base}{group}" for base in bases if group and os.path.isdir(f"{ROOT}{base}{group}")]
    used = [size for size in map(_used, own) if size is not None]
    kills = [kills for kills in map(_oom_kills, own) if kills is not None]
    stat = text(f"/proc/{pid}/stat").rpartition(")")[2].split() if pid else []
    return {
        "load": values.get("LoadState"),
        "state": values.get("ActiveState"),
        "sub": values.get("SubState"),
        "result": values.get("Result"),
        "is_enabled": values.get("UnitFileState", "").startswith("enabled"),
        "restarts": count("NRestarts"),
        "pid": pid or None,
        "process": stat[0] if stat else None,  # the main process's state: T is stopped, D waits for a disk
        "children": children(pid) if pid else None,
        "memory": used[0] if used else count("MemoryCurrent"),
        "memory_limit": count("MemoryMax"),
        "oom_kills": kills[0] if kills else None,
        "tasks": count("TasksCurrent"),
        "tasks_limit": count("TasksMax"),
        "active_seconds": time.clock_gettime(time.CLOCK_MONOTONIC) - entered / 1e6 if entered and is_active else None,
    }


def children(pid: int) -> int:
    """Return how many processes a process has made that still are."""
    if os.path.exists(f"/proc/{pid}/task/{pid}/children"):
        threads = os.listdir(f"/proc/{pid}/task")
        return sum(len(text(f"/proc/{pid}/task/{thread}/children").split()) for thread in threads)
    stats = (text(f"/proc/{name}/stat").rpartition(")")[2].split() for name in os.listdir("/proc") if name.isdigit())
    return sum(len(words) > 1 and words[1] == str(pid) for words in stats)


# --- what may hang in the kernel -------------------------------------------------------------------------------------

_given_up: dict[str, int] = {}  # part -> process that SIGKILL had not ended


class Aside:
    """Work in a process that nobody waits for: one that hangs in the kernel outlives SIGKILL.

    `work` gets a function to tell each step before it is made, so that it is known where it hangs. While a process
    hangs, no second one is sent after it. Forks: to be made before this program has threads.
    """

    def __init__(self, part: str, work: Callable[[Tell], Facts]) -> None:
        self.part, self.pid, self.steps, self.read = part, 0, [""], -1
        if part in _given_up and _is_alive(_given_up[part]):
            return
        _given_up.pop(part, None)
        self.read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setsid()
                if os.fork() == 0:
                    _be_aside(write, work)
            finally:
                os._exit(0)
        os.close(write)
        os.waitpid(child, 0)

    def wait(self, seconds: float) -> Facts:
        """Return what `work` returned. Trouble when it raised, or did not end in time."""
        if self.read < 0:
            raise Trouble("hung", "the process that touched it last time still hangs")
        said, limit = b"", time.monotonic() + seconds
        try:
            while select.select([self.read], [], [], max(0.0, limit - time.monotonic()))[0]:
                piece = os.read(self.read, 65536)
                said += piece
                *lines, said = said.split(b"\n")
                for kind, value in map(json.loads, lines):
                    if kind == "pid":
                        self.pid = value
                    elif kind == "step":
                        self.steps.append(value)
                    elif kind == "value":
                        return dict(value)
                    else:
                        raise Trouble(kind, value)
                if not piece:
                    raise Trouble("ended", "the process that touched it was ended")
        finally:
            os.close(self.read)
        if self.pid:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
            _given_up[self.part] = self.pid
        raise Trouble("hung", f"no answer within {seconds:g} s, at: {self.steps[-1]}")


def _be_aside(write: int, work: Callable[[Tell], Facts]) -> NoReturn:
    try:
        quiet = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):  # whoever reads this program's output to its end must not wait for this process
            os.dup2(quiet, descriptor)

        def tell(kind: str, value: Any) -> None:
            os.write(write, json.dumps([kind, value]).encode() + b"\n")

        signal.alarm(_ALARM_SECONDS)
        tell("pid", os.getpid())
        try:
            tell("value", work(lambda step: tell("step", step)))
        except Trouble as exc:
            tell(exc.kind, str(exc))
        except OSError as exc:
            kind = errno.errorcode.get(exc.errno or 0, "failed")
            tell("stale" if kind == "ESTALE" else kind, exc.strerror or "failed")
        except Exception as exc:
            tell("failed", type(exc).__name__)
    finally:
        os._exit(0)


def _is_alive(pid: int) -> bool:
    return (text(f"/proc/{pid}/stat").rpartition(")")[2].split() or ["X"])[0] not in "ZX"


def touch(path: str, tell: Tell) -> Facts:
    """Write, flush, read and remove a file as the fleet's user; return the storage's size and the seconds that took."""
    tell("enter")
    _become(USER)
    tell("look")
    size = space(path)
    began = time.monotonic()
    directory = os.path.join(path, ".fleetctl")
    os.makedirs(directory, exist_ok=True)
    name = f"health-{os.uname().nodename}-{os.getpid() % 64}"  # few names: what a killed one left is written over
    data, file = f"{name} {time.time()}\n".encode(), os.path.join(directory, name)
    tell("write")
    with open(file, "wb") as new:
        new.write(data)
        new.flush()
        tell("flush")
        os.fsync(new.fileno())
    tell("read")
    with open(file, "rb") as old:
        found = old.read()
    tell("remove")
    os.unlink(file)
    if found != data:
        raise Trouble("differs", "a file did not hold what was written to it")
    return {"space": size, "seconds": time.monotonic() - began}


def storage(request: Facts, aside: Aside) -> Facts:
    """Return what is mounted at the storage's path, and whether and how fast it can be used."""
    answer: Facts = {"path": request["storage"], "seconds": None, "space": None, "error": None, "kind": None}
    try:
        answer.update(aside.wait(request["seconds"]))
    except Trouble as exc:
        answer.update(error=str(exc), kind=exc.kind)
    answer["mount"] = mount(request["storage"])  # after the touch, which mounts an automount
    return answer


def _become(user: str) -> None:
    if os.geteuid() != 0:
        return
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise Trouble("user", f"there is no user {user}") from None
    os.initgroups(user, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def mount(path: str) -> Facts | None:
    """Return the file system that is mounted at a path itself, None where the path is part of another one."""
    found = None
    for line in text("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        words, (kind, what, options) = left.split(), right.split(" ", 2)
        if words[4].replace("\\040", " ") == path.rstrip("/"):
            is_read_only = "ro" in words[5].split(",") or "ro" in options.split(",")
            found = {"type": kind, "source": what, "is_read_only": is_read_only}
    return found


def exports(tell: Tell) -> Facts:
    """Return whom the NFS server lets in ([path, client]), and its threads."""
    tell("exports")
    listed = [line.split() for line in text("/var/lib/nfs/etab").splitlines()]
    pairs = [[words[0], words[1].partition("(")[0]] for words in listed if len(words) > 1]
    tell("threads")
    return {"exports": pairs, "threads": number("/proc/fs/nfsd/threads")}


# --- services --------------------------------------------------------------------------------------------------------


class Wire:
    """A connection to one of the fleet's services, with one limit for all that is done with it."""

    def __init__(self, address: Facts, seconds: float) -> None:
        self.address, self.limit, self.buffer = address, time.monotonic() + seconds, b""
        self.socket = socket.create_connection((address["host"], address["port"]), timeout=seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def secure(self, *, is_verified: bool, is_named: bool) -> None:
        """Go on in TLS; `is_verified`: with a certificate that is trusted, `is_named`: and has the server's name."""
        import ssl

        context = ssl.create_default_context(cafile=self.address["ca"] if is_verified else None)
        context.check_hostname = is_named
        context.verify_mode = ssl.CERT_REQUIRED if is_verified else ssl.CERT_NONE
        self._tick()
        self.socket = context.wrap_socket(self.socket, server_hostname=self.address["host"])

    def send(self, data: bytes) -> None:
        self._tick()
        self.socket.sendall(data)

    def take(self, count: int) -> bytes:
        """Return so many bytes."""
        while len(self.buffer) < count:
            self._more()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def line(self) -> str:
        """Return the next line of text."""
        while b"\r\n" not in self.buffer:
            self._more()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line.decode(errors="replace")

    def _more(self) -> None:
        self._tick()
        piece = self.socket.recv(65536)
        if not piece:
            raise Trouble("closed", "the server closed the connection")
        self.buffer += piece

    def _tick(self) -> None:
        left = self.limit - time.monotonic()
        if left <= 0:
            raise socket.timeout
        self.socket.settimeout(left)


def service(variable: str, port: int, talk: Callable[[Wire, Facts], float], seconds: float) -> Facts:
    """Return how one conversation with a service went: {"server", "seconds", "reply_seconds", "error", "kind"}.

    `talk` logs in, asks once, and returns how long the reply took.
    """
    answer: Facts = dict.fromkeys(("server", "seconds", "reply_seconds", "error", "kind"))
    wire = None
    try:
        address = _address(variable, port)
        answer["server"] = f"{address['host']}:{address['port']}"
        began = time.monotonic()
        wire = Wire(address, seconds)
        answer["reply_seconds"] = talk(wire, address)
        answer["seconds"] = time.monotonic() - began
    except Trouble as exc:
        answer.update(error=str(exc), kind=exc.kind)
    except socket.timeout:
        answer.update(error=f"no answer within {seconds:g} s", kind="timeout")
    except socket.gaierror:
        answer.update(error="its name cannot be resolved", kind="name")
    except OSError as exc:
        is_tls = type(exc).__module__ == "ssl"
        kind = "tls" if is_tls else "refused" if exc.errno == errno.ECONNREFUSED else "unreachable"
        answer.update(error=exc.strerror or type(exc).__name__, kind=kind)
    finally:
        if wire is not None:
            wire.socket.close()
    return answer


def _address(variable: str, port: int) -> Facts:
    """Return the parts of a service's address. One that cannot be read is not repeated, for it holds a password."""
    from urllib.parse import parse_qsl, unquote, urlsplit

    raw = text(CONFIG + "/credentials.json")
    if not raw:
        raise Trouble("absent", f"this host has no {CONFIG}/credentials.json")
    try:
        parts = urlsplit(json.loads(raw)[variable])
        port = parts.port or port
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Trouble("credentials", f"{CONFIG}/credentials.json has no usable {variable}") from None
    return {
        "scheme": parts.scheme,
        "host": parts.hostname or "localhost",
        "port": port,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "path": unquote(parts.path.lstrip("/")),
        "query": dict(parse_qsl(parts.query)),
        "ca": variables(CONFIG + "/environment").get("FLEET_CA_FILE"),
    }


def redis(request: Facts) -> Facts:
    """Log in to Redis as this host's programs do, and ping."""

    def talk(wire: Wire, address: Facts) -> float:
        if address["scheme"] == "rediss":
            wire.secure(is_verified=True, is_named=True)
        if address["password"]:
            _command(wire, "AUTH", *([address["user"]] if address["user"] else []), address["password"])
        began = time.monotonic()
        _command(wire, "PING")
        return time.monotonic() - began

    return service("REDIS_URL", 6379, talk, request["seconds"])


def _command(wire: Wire, *words: str) -> None:
    parts = [word.encode() for word in words]
    wire.send(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
    said = wire.line()
    if said.startswith("-"):
        is_password = "invalid password" in said or "without any password" in said
        raise Trouble("password" if is_password else _KINDS.get(said[1:].split(" ")[0], "failed"), said[1:201])


def postgres(request: Facts) -> Facts:
    """Log in to Postgres as the jobs do, and select one row."""

    def talk(wire: Wire, address: Facts) -> float:
        _secure_postgres(wire, address)
        options = {"user": address["user"], "database": address["path"] or address["user"]}
        options["application_name"] = "fleetctl health"
        body = b"".join(f"{key}\0{value}\0".encode() for key, value in options.items()) + b"\0"
        wire.send(struct.pack("!ii", len(body) + 8, 196608) + body)
        _enter_postgres(wire, address)
        began = time.monotonic()
        wire.send(_message(b"Q", b"SELECT 1\0"))
        while _receive(wire)[0] != b"Z":
            pass
        seconds = time.monotonic() - began
        wire.send(_message(b"X", b""))
        return seconds

    return service("DATABASE_URL", 5432, talk, request["seconds"])


def _secure_postgres(wire: Wire, address: Facts) -> None:
    """Ask for TLS as libpq does: sslmode says whether it must be, and what certificate."""
    mode = address["query"].get("sslmode", "prefer")
    address["ca"] = address["query"].get("sslrootcert", address["ca"])
    if mode in ("disable", "allow"):
        return
    wire.send(struct.pack("!ii", 8, 80877103))
    if wire.take(1) == b"S":
        is_verified = mode in ("verify-ca", "verify-full") or (mode == "require" and bool(address["ca"]))
        wire.secure(is_verified=is_verified, is_named=mode == "verify-full")
    elif mode != "prefer":
        raise Trouble("tls", "the server offers no TLS")


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _receive(wire: Wire) -> tuple[bytes, bytes]:
    """Return the next message that matters: its kind and body. Trouble when it is an error."""
    while True:
        kind = wire.take(1)
        body = wire.take(struct.unpack("!i", wire.take(4))[0] - 4)
        if kind == b"E":
            fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
            code = fields.get(b"C", "")
            name = {"28": "password", "53": "full", "57": "starting"}.get(code[:2], "failed")
            raise Trouble(name, fields.get(b"M", "the server refused")[:200])
        if kind not in b"NSK":
            return kind, body


def _enter_postgres(wire: Wire, address: Facts) -> None:
    password = address["password"].encode()
    while True:
        kind, body = _receive(wire)
        if kind == b"Z":
            return
        if kind != b"R":
            raise Trouble("failed", "the server speaks another protocol")
        (method,) = struct.unpack("!i", body[:4])
        if method == 3:
            wire.send(_message(b"p", password + b"\0"))
        elif method == 5:
            inner = _md5(password + address["user"].encode())
            wire.send(_message(b"p", b"md5" + _md5(inner + body[4:8]) + b"\0"))
        elif method == 10 and b"SCRAM-SHA-256" in body[4:].split(b"\0"):
            _scram(wire, password)
        elif method != 0:
            raise Trouble("failed", f"the server asks for a login of another kind ({method})")


def _md5(data: bytes) -> bytes:
    import hashlib

    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()


def _scram(wire: Wire, password: bytes) -> None:
    """Prove the password, and have the server prove that it knows it (RFC 5802, RFC 7677)."""
    import hashlib
    import hmac
    from base64 import b64decode, b64encode

    def keyed(key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, "sha256")

    nonce = b64encode(os.urandom(18))
    first = b"n=,r=" + nonce
    opening = b"n,," + first
    wire.send(_message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(opening)) + opening))
    challenge = _receive(wire)[1][4:]
    values = {part[:1]: part[2:] for part in challenge.split(b",")}
    if not values.get(b"r", b"").startswith(nonce):
        raise Trouble("failed", "the server's login does not follow the protocol")
    salted = hashlib.pbkdf2_hmac("sha256", password, b64decode(values[b"s"]), int(values[b"i"]))
    last = b"c=biws,r=" + values[b"r"]
    signed = first + b"," + challenge + b"," + last
    key = keyed(salted, b"Client Key")
    signature = keyed(hashlib.sha256(key).digest(), signed)
    proof = (int.from_bytes(key, "big") ^ int.from_bytes(signature, "big")).to_bytes(len(key), "big")
    wire.send(_message(b"p", last + b",p=" + b64encode(proof)))
    if _receive(wire)[1][4:] != b"v=" + b64encode(keyed(keyed(salted, b"Server Key"), signed)):
        raise Trouble("password", "the server does not know the password itself")


# --- one answer ------------------------------------------------------------------------------------------------------


def answer(request: Facts) -> Facts:
    """Return the facts that a request asks for, within its seconds and a little more, whatever hangs."""
    began = time.monotonic()
    nothing: Facts = {
        "units": [],
        "storage": None,
        "exports": False,
        "redis": False,
        "postgres": False,
        "seconds": SECONDS,
    }
    asked: Facts = {**nothing, **request}
    found: Facts = {}
    problems: dict[str, str] = {}

    def act(part: str, work: Callable[[], Facts | None]) -> None:
        try:
            found[part] = work()
        except Trouble as exc:
            problems[part] = str(exc)
        except Exception as exc:
            problems[part] = (exc.strerror if isinstance(exc, OSError) else None) or type(exc).__name__

    slow: dict[str, Callable[[], Facts]] = {}
    if asked["storage"]:
        on_storage = Aside("storage", lambda tell: touch(asked["storage"], tell))
        slow["storage"] = lambda: storage(asked, on_storage)
    if asked["exports"]:
        on_server = Aside("exports", exports)
        slow["exports"] = lambda: on_server.wait(asked["seconds"])
    if asked["redis"]:
        slow["redis"] = lambda: redis(asked)
    if asked["postgres"]:
        slow["postgres"] = lambda: postgres(asked)
    slow["systemd"] = lambda: systemd(asked)
    threads = {part: threading.Thread(target=act, args=(part, work), daemon=True) for part, work in slow.items()}
    for thread in threads.values():
        thread.start()
    for work in (host, load, memory, pids, files, oom, clock):
        act(work.__name__, work)
    act("disk", lambda: space(ROOT))
    for part, thread in threads.items():
        thread.join(max(0.0, began + asked["seconds"] + MORE_SECONDS - time.monotonic()))
        if thread.is_alive():
            problems[part] = f"no answer within {asked['seconds'] + MORE_SECONDS:g} s"
    facts = {part: value for part, value in list(found.items()) if part not in problems}
    facts.update(facts.pop("systemd", {}))
    return {"facts": facts, "problems": dict(problems), "time": time.time(), "took": time.monotonic() - began}


def main() -> None:
    """Answer requests until the end of stdin."""
    lines = iter(()) if sys.stdin.isatty() else iter(sys.stdin.buffer.readline, b"")
    line = next(lines, b"{}")
    while line:
        try:
            request = json.loads(line)
        except ValueError:
            request = None
        said = answer(request) if isinstance(request, dict) else {"error": "the request is not a JSON object"}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
        line = next(lines, b"")
    os._exit(0)  # without waiting for threads that hang


if __name__ == "__main__":
    main()
