"""ansible-playbook as a child process. Implements the Converger port."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fleetctl.adapters import assets
from fleetctl.adapters.privatefile import write_private
from fleetctl.adapters.state import State
from fleetctl.errors import ConvergeError
from fleetctl.model import ConvergeReport, Event, HostRecap, OnEvent, StepTime

_HOSTS_FAILED = {2, 4, 6}  # exit codes that mean: some hosts failed or were unreachable


class AnsiblePlaybook:
    """Runs the project's playbooks with its ansible.cfg, a log of each run kept in the fleet's directory."""

    def __init__(self, state: State) -> None:
        self._state = state

    def converge(
        self,
        playbook: str,
        inventory: Mapping[str, Any],
        *,
        phase: str,
        limit: Sequence[str],
        tags: Sequence[str] | None,
        on_event: OnEvent,
    ) -> ConvergeReport:
        top = assets.root()
        log = self._state.directory("logs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{Path(playbook).stem}.log"
        with tempfile.TemporaryDirectory(prefix="fleetctl-", ignore_cleanup_errors=True) as scratch:
            hosts = Path(scratch) / "inventory.json"
            write_private(hosts, json.dumps(inventory))
            read_end, write_end = os.pipe()
            argv = [_program(), "-i", str(top / "inventory" / "fleet"), str(top / "playbooks" / playbook)]
            argv += ["--limit", ",".join(limit)]
            argv += ["--tags", ",".join(tags)] if tags else []
            environment = os.environ | {
                "ANSIBLE_CONFIG": str(top / "ansible.cfg"),
                "ANSIBLE_CALLBACK_PLUGINS": str(assets.package() / "adapters" / "callbacks"),
                "ANSIBLE_CALLBACKS_ENABLED": "fleet_events",
                "ANSIBLE_SSH_CONTROL_PATH_DIR": scratch,
                "ANSIBLE_FORCE_COLOR": "0",
                "ANSIBLE_NOCOLOR": "1",
                "FLEETCTL_EVENTS_FD": str(write_end),
                "FLEETCTL_INVENTORY": str(hosts),
                "FLEETCTL_PID": str(os.getpid()),
                "PYTHONWARNINGS": "ignore",
            }
            inherited = [write_end]
            if self._state.lock_fd is not None:  # should fleetctl be killed, its lock lasts until the run has ended
                inherited.append(self._state.lock_fd)
            with log.open("w") as output, os.fdopen(read_end) as events:
                process = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                    env=environment, cwd=top, pass_fds=inherited, start_new_session=True,
                )  # fmt: skip
                os.close(write_end)
                story = _Story(phase, limit, on_event)
                try:
                    for line in events:
                        story.take(json.loads(line))
                    code = process.wait()
                except BaseException:
                    _end(process)
                    raise
                finally:
                    _close_masters(Path(scratch))
        if code not in {0, *_HOSTS_FAILED} or not story.is_told:
            tail = "\n".join(log.read_text().strip().splitlines()[-15:])
            raise ConvergeError(f"ansible-playbook {playbook} ended with {code}:\n{tail}", hint=f"less {log}")
        return story.report(log)


class _Story:
    """Turns the callback's lines into progress events and a report."""

    def __init__(self, phase: str, hosts: Sequence[str], on_event: OnEvent) -> None:
        self._phase, self._hosts, self._on_event = phase, hosts, on_event
        self._total: Counter[str] = Counter()
        self._done: Counter[str] = Counter()
        self._errors: dict[str, list[str]] = defaultdict(list)
        self._recaps: dict[str, dict[str, int]] = {}
        self._steps: list[StepTime] = []
        self._is_whole = self._is_halted = False

    def take(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "totals":
                self._total.update(event["hosts"])
            case "task":
                self._steps.append(StepTime(event["task"], event["seconds"]))
            case "result":
                host, task = event["host"], event["task"]
                self._done[host] += 1
                if event["status"] in ("failed", "unreachable"):
                    self._errors[host].append(f"{task}: {event['message']}")
                    self._is_halted |= event["is_roll"]
                total = max(self._total[host], self._done[host])
                self._on_event(Event("step", self._phase, task, host, self._done[host], total))
            case "end":
                self._is_whole = event["is_whole"]
            case "recap":
                self._recaps[event["host"]] = event

    @property
    def is_told(self) -> bool:
        """Whether there was a recap: Ansible ends with the same code when it cannot read a playbook."""
        return bool(self._recaps)

    def report(self, log: Path) -> ConvergeReport:
        hosts = []
        for name in self._hosts:
            recap = self._recaps.get(name)
            if recap is None:
                hosts.append(HostRecap(name))
                continue
            hosts.append(
                HostRecap(
                    name,
                    recap["ok"],
                    recap["changed"],
                    recap["failures"],
                    bool(recap["unreachable"]),
                    tuple(self._errors[name]),
                )
            )
        unfinished = () if self._is_whole else tuple(host.host for host in hosts if host.is_ok)
        return ConvergeReport(tuple(hosts), tuple(self._steps), log, unfinished, self._is_halted)


def _program() -> str:
    beside = Path(sys.executable).parent / "ansible-playbook"
    found = str(beside) if beside.exists() else shutil.which("ansible-playbook")
    if found is None:
        raise ConvergeError("ansible-playbook is not installed", hint="pip install ansible-core")
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a run, with the workers that it has forked."""
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _close_masters(directory: Path) -> None:
    """End the connections that Ansible kept open: their sockets go with the directory."""
    for control in directory.iterdir():
        if control.is_socket():
            subprocess.run(
                ["ssh", "-o", f"ControlPath={control}", "-O", "exit", "fleet"],
                stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False,
            )  # fmt: skip
