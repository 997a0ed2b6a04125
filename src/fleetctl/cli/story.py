"""How progress looks, on stderr: bars on a terminal, plain lines off one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fleetctl.model import Event, OnEvent

_LIVE: list[Progress] = []


def say(line: str) -> None:
    """Tell one line, above the bars where there are some."""
    if _LIVE:
        _LIVE[-1].console.print(line, highlight=False)
    else:
        click.echo(line, err=True)


@contextmanager
def story() -> Iterator[OnEvent]:
    """Yield the callback that tells progress: bars for phases and hosts on a terminal, plain lines off one."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines().take
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )  # fmt: skip
    with Progress(*columns, console=console, redirect_stdout=False) as progress:
        _LIVE.append(progress)
        try:
            yield _Bars(progress).take
        finally:
            _LIVE.pop()


class _Lines:
    """A line when a phase starts and ends, for each note, and every few seconds for the steps."""

    EVERY_SECONDS = 5.0

    def __init__(self) -> None:
        self._began = self._said = time.monotonic()
        self._steps: dict[str, tuple[int, int]] = {}

    def take(self, event: Event) -> None:
        match event.kind:
            case "phase":
                self._began = self._said = time.monotonic()
                self._steps.clear()
                self._say(f"{event.phase}: {event.message}")
            case "note":
                self._say(f"{event.phase}: {event.message}")
            case "step":
                self._steps[event.host or ""] = (event.done, event.total)
                if time.monotonic() - self._said > self.EVERY_SECONDS:
                    self._said = time.monotonic()
                    done, total = (sum(values) for values in zip(*self._steps.values(), strict=True))
                    self._say(f"{event.phase}: {done} of {total} steps; {event.message}")
            case "end":
                self._say(f"{event.phase}: done in {time.monotonic() - self._began:.1f} s")

    def _say(self, text: str) -> None:
        click.echo(text, err=True)


class _Bars:
    """A bar for each phase, and under it one for each host at work."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._phases: dict[str, TaskID] = {}
        self._hosts: dict[str, TaskID] = {}
        self._shares: dict[str, float] = {}

    def take(self, event: Event) -> None:
        match event.kind:
            case "phase":
                self._phases[event.phase] = self._progress.add_task(
                    f"[bold]{event.phase}", total=event.total or None, note=event.message
                )
            case "note":
                self._note(event)
            case "step":
                self._step(event)
            case "end":
                self._end(event.phase)

    def _phase(self, event: Event) -> TaskID:
        if event.phase not in self._phases:
            self._phases[event.phase] = self._progress.add_task(f"[bold]{event.phase}", total=event.total, note="")
        return self._phases[event.phase]

    def _note(self, event: Event) -> None:
        self._progress.update(self._phase(event), note=event.message)

    def _step(self, event: Event) -> None:
        phase = self._phase(event)
        if event.host is None:
            self._progress.update(phase, completed=event.done, total=event.total, note=event.message)
            return
        if event.host not in self._hosts:
            self._hosts[event.host] = self._progress.add_task(f"  {event.host}", total=event.total, note="")
        self._progress.update(self._hosts[event.host], completed=event.done, total=event.total, note=event.message)
        self._shares[event.host] = event.done / event.total if event.total else 0
        self._progress.update(phase, completed=int(sum(self._shares.values())))

    def _end(self, phase: str) -> None:
        for task in self._hosts.values():
            self._progress.remove_task(task)
        self._hosts.clear()
        self._shares.clear()
        task_id = self._phases[phase]
        total = next(task.total for task in self._progress.tasks if task.id == task_id) or 1
        self._progress.update(task_id, completed=total, total=total)
        self._progress.stop_task(task_id)


@contextmanager
def paused() -> Iterator[None]:
    """Take the bars away for a question on the terminal."""
    for progress in _LIVE:
        progress.stop()
    yield
    for progress in _LIVE:
        progress.start()
