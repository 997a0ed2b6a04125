"""Ansible callback plugin: one JSON line an event to the file descriptor in $FLEETCTL_EVENTS_FD.

Loaded by ansible-playbook by path, never imported by fleetctl. It also ends the run when the fleetctl that started it
($FLEETCTL_PID) has ended: a run that nobody follows would go on to restart hosts.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections import Counter
from typing import Any

from ansible import context  # type: ignore[import-untyped]  # ansible ships no types
from ansible.plugins.callback import CallbackBase  # type: ignore[import-untyped]

DOCUMENTATION = """
name: fleet_events
type: notification
short_description: progress of a run as JSON lines
description: Written for fleetctl, which draws its progress from them.
"""


ROLL = "roll"  # the tag of tasks whose failure stops a rolling restart
PR_SET_PDEATHSIG = 1  # prctl(2)


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible ships no types
    """Tells plays, tasks, results and the recap."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "fleet_events"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        _end_with(int(os.environ["FLEETCTL_PID"]))
        self._out = os.fdopen(int(os.environ["FLEETCTL_EVENTS_FD"]), "w", buffering=1)
        self._task = ""
        self._began = 0.0
        self._playbook: Any = None
        self._plays = 0
        self._started: set[str] = set()  # a play with `serial` starts once for each batch

    def _tell(self, **event: Any) -> None:
        self._out.write(json.dumps(event) + "\n")

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._playbook = playbook

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Tell, once, how many tasks each host has before it in all plays."""
        self._started.add(play._uuid)
        if self._playbook is None:
            return
        only, skip = context.CLIARGS.get("tags", ()), context.CLIARGS.get("skip_tags", ())
        inventory = play.get_variable_manager()._inventory
        totals: Counter[str] = Counter()
        for each in self._playbook.get_plays():
            tasks = [task for block in each.compile() for task in _flat(block) if not task.action.endswith("meta")]
            count = sum(bool(task.evaluate_tags(only, skip, all_vars={})) for task in tasks)
            for host in inventory.get_hosts(each.hosts):
                totals[host.name] += count
        self._plays = len(self._playbook.get_plays())
        self._playbook = None
        self._tell(event="totals", hosts=totals)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002  # Ansible's signature
        self._close()
        self._task, self._began = task.get_name().strip(), time.monotonic()

    v2_playbook_on_handler_task_start = lambda self, task: self.v2_playbook_on_task_start(task, False)  # noqa: E731

    def v2_runner_on_ok(self, result: Any) -> None:
        self._result(result, "changed" if result._result.get("changed") else "ok")

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._result(result, "skipped")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._result(result, "ignored" if ignore_errors else "failed", self._message(result))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._result(result, "unreachable", self._message(result))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._close()
        self._tell(event="end", is_whole=len(self._started) >= self._plays)
        for host in sorted(stats.processed):
            self._tell(event="recap", host=host, **stats.summarize(host))

    def _result(self, result: Any, status: str, message: str = "") -> None:
        host, is_roll = result._host.get_name(), ROLL in result._task.tags
        self._tell(event="result", host=host, task=self._task, status=status, message=message, is_roll=is_roll)

    def _message(self, result: Any) -> str:
        if result._task.no_log or result._result.get("_ansible_no_log"):
            return "(its output may hold secrets and is hidden)"
        value = result._result
        failed = [item for item in value.get("results", ()) if isinstance(item, dict) and item.get("failed")]
        value = failed[0] if failed else value
        parts = [str(value[key]).strip() for key in ("msg", "stderr", "stdout") if value.get(key)]
        return "\n".join(parts)[:2000]

    def _close(self) -> None:
        if self._task:
            self._tell(event="task", task=self._task, seconds=round(time.monotonic() - self._began, 3))
            self._task = ""


def _end_with(parent: int) -> None:
    """Have the kernel end this process as if by `kill` when `parent` ends. Ansible then ends all that it has forked."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended before
        os.kill(os.getpid(), signal.SIGTERM)


def _flat(block: Any) -> Any:
    for item in [*block.block, *block.rescue, *block.always]:
        if hasattr(item, "block"):
            yield from _flat(item)
        else:
            yield item
