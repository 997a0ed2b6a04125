"""ansible-playbook as the Converger, on this computer: how a rolling restart halts, and what is left of a killed run.

The hosts of a roll are directories: `systemctl` and the release's Python are scripts that note what they were asked.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetctl.adapters import assets
from fleetctl.adapters.ansible import AnsiblePlaybook
from fleetctl.adapters.state import State
from fleetctl.errors import LockError
from fleetctl.model import ConvergeReport

# Each event is a file of its own, named by its time: not every file system appends whole lines of two writers.
SYSTEMCTL = """#!/bin/sh
case $1 in restart) shift; for unit; do : > "{log}/$(date +%s%N) restart $unit"; done ;; esac
"""
AGENT = """#!{python}
import json, pathlib, sys, time
request = json.load(sys.stdin)
for unit in request["units"]:
    pathlib.Path("{log}", f"{{time.time_ns()}} prove {{unit}}").touch()
checks = [{{"name": f"{{unit}} runs a job", "is_ok": unit not in {broken}, "detail": "no job ran", "fix": "journalctl"}}
          for unit in request["units"]]
print(json.dumps({{"event": "result", "checks": checks}}))
"""
# What joining finds out and writes, then the playbook that is tested, then what follows it in site.yml.
PLAYBOOK = """
- name: Join
  hosts: all
  tags: [join]
  tasks:
    - name: Say which units are stale
      ansible.builtin.set_fact:
        __celery_worker_home: {directory}/{{{{ inventory_hostname }}}}
        __celery_worker_units_directory: {directory}/{{{{ inventory_hostname }}}}
        __celery_worker_due:
          stdout_lines: "{{{{ ['stale fleet-worker@' ~ inventory_hostname ~ '-1.service'] if stale else [] }}}}"
    - name: Tell the stale
      ansible.builtin.group_by:
        key: celery_worker_stale
      when: stale

- name: Roll
  ansible.builtin.import_playbook: {playbooks}/roll.yml

- name: Stamps
  hosts: all
  tags: [join]
  tasks:
    - name: Stamp
      ansible.builtin.command: touch {directory}/{{{{ inventory_hostname }}}}/stamp
      changed_when: true
"""


class Roll:
    """Hosts whose units are to be restarted, and what became of them."""

    def __init__(self, directory: Path, state: State) -> None:
        self.directory, self._state = directory, state
        self.log = directory / "log"
        self.log.mkdir()
        (directory / "bin").mkdir()
        _program(directory / "bin" / "systemctl", SYSTEMCTL.format(log=self.log))

    def run(self, hosts: dict[str, dict[str, Any]], *, broken: tuple[str, ...] = ()) -> ConvergeReport:
        for host in hosts:
            (self.directory / host / f"fleet-worker@{host}-1.service.d").mkdir(parents=True, exist_ok=True)
            agent = AGENT.format(python=sys.executable, log=self.log, broken=[f"{host}-1" for host in broken])
            _program(self.directory / host / "venv" / "bin" / "python", agent)
        playbook = self.directory / "play.yml"
        playbook.write_text(PLAYBOOK.format(directory=self.directory, playbooks=assets.root() / "playbooks"))
        shared = {"ansible_connection": "local", "stale": True}
        inventory = {"all": {"hosts": list(hosts), "vars": shared}, "_meta": {"hostvars": hosts}}
        return AnsiblePlaybook(self._state).converge(
            str(playbook), inventory, phase="converge", limit=list(hosts), tags=["join"], on_event=lambda _: None
        )  # fmt: skip

    @property
    def story(self) -> list[str]:
        return [path.name.partition(" ")[2] for path in sorted(self.log.iterdir())]

    def marked(self) -> list[str]:
        return sorted(path.parents[1].name for path in self.directory.glob("*/*.d/unproven"))

    def stamped(self) -> list[str]:
        return sorted(path.parent.name for path in self.directory.glob("*/stamp"))


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State("t", {"FLEETCTL_HOME": str(tmp_path / "home")})


@pytest.fixture
def roll(tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch) -> Roll:
    (tmp_path / "hosts").mkdir()
    made = Roll(tmp_path / "hosts", state)
    monkeypatch.setenv("PATH", f"{made.directory / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("ANSIBLE_ASYNC_DIR", str(tmp_path / "async"))
    return made


def test_each_batch_is_proven_before_the_next_one_is_restarted(roll: Roll) -> None:
    report = roll.run({"h1": {}, "h2": {}, "h3": {"stale": False}})
    restarts = [f"{verb} {unit}" for host in ("h1", "h2") for verb, unit in
                (("restart", f"fleet-worker@{host}-1.service"), ("prove", f"{host}-1"))]  # fmt: skip
    assert roll.story == restarts
    assert (report.halted, report.unfinished, roll.marked()) == (False, (), [])
    assert roll.stamped() == ["h1", "h2", "h3"]


def test_a_unit_that_runs_no_job_halts_the_roll_at_its_batch(roll: Roll) -> None:
    hosts: dict[str, dict[str, Any]] = {f"h{number}": {} for number in range(1, 9)}
    report = roll.run(hosts, broken=("h3",))  # a quarter is two: h3 is in the second batch
    assert sorted(line for line in roll.story if line.startswith("prove")) == [f"prove h{n}-1" for n in (1, 2, 3, 4)]
    assert sum(line.startswith("restart") for line in roll.story) == 4
    assert report.halted
    assert report.unfinished == tuple(host for host in hosts if host != "h3")
    assert "h3-1 runs a job: no job ran (journalctl)" in report.hosts[2].errors[0]
    assert roll.stamped() == []
    assert roll.marked() == ["h3"], "the next run restarts it again, and before those that still have their old release"


def test_a_host_that_cannot_be_reached_halts_the_roll_too(roll: Roll) -> None:
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    hosts: dict[str, dict[str, Any]] = {"h1": gone, **{f"h{number}": {} for number in range(2, 9)}}
    report = roll.run(hosts)
    assert report.halted
    assert roll.story == ["restart fleet-worker@h2-1.service", "prove h2-1"]
    assert roll.stamped() == []


LONG = """
- name: Long
  hosts: all
  tasks:
    - name: Wait
      ansible.builtin.command: sleep 4242{number}
"""
FLEETCTL = """
import sys
from pathlib import Path
from fleetctl.adapters.ansible import AnsiblePlaybook
from fleetctl.adapters.state import State
state = State("t", {{"FLEETCTL_HOME": {home!r}}})
hosts = {{"all": {{"hosts": ["h1", "h2"], "vars": {{"ansible_connection": "local"}}}}}}
with state.lock("test"):
    AnsiblePlaybook(state).converge(
        {playbook!r}, hosts, phase="converge", limit=["h1", "h2"], tags=None, on_event=lambda _: None
    )
"""


@pytest.fixture
def killed(tmp_path: Path, state: State) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """A fleetctl in the midst of a run, and all that it has started: ansible-playbook first."""
    playbook = tmp_path / "long.yml"
    playbook.write_text(LONG.format(number=os.getpid()))
    code = FLEETCTL.format(home=str(state.path.parent), playbook=str(playbook))
    fleetctl = subprocess.Popen([sys.executable, "-c", code])
    started: list[int] = []

    def is_waiting() -> bool:
        started[:] = _descendants(fleetctl.pid)
        return sum(f"sleep\x004242{os.getpid()}".encode() in _cmdline(pid) for pid in started) >= 2

    try:
        _until(is_waiting)
        yield fleetctl, started
    finally:
        fleetctl.kill()
        fleetctl.wait()
        for pid in filter(_lives, started):
            os.kill(pid, signal.SIGKILL)


def test_nothing_of_a_run_outlives_a_killed_fleetctl(
    killed: tuple[subprocess.Popen[bytes], list[int]], state: State
) -> None:
    fleetctl, started = killed
    assert len(started) >= 5  # ansible-playbook, a worker for each host, and what they run
    fleetctl.kill()
    fleetctl.wait()
    _until(lambda: not any(map(_lives, started)))
    with state.lock("next"):
        pass


def test_the_fleet_stays_locked_until_the_run_has_ended(
    killed: tuple[subprocess.Popen[bytes], list[int]], state: State
) -> None:
    fleetctl, started = killed
    os.kill(started[0], signal.SIGSTOP)  # a run that takes its time to end
    fleetctl.kill()
    fleetctl.wait()
    with pytest.raises(LockError), state.lock("too early"):
        pass
    os.kill(started[0], signal.SIGCONT)
    _until(lambda: not any(map(_lives, started)))
    with state.lock("next"):
        pass


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found[1:]


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
