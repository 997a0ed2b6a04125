"""Asks many hosts the same at once, each in a session of its own: one that is dead costs its own answer alone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from fleetctl.core.health_values import Answer
from fleetctl.errors import ConnectError
from fleetctl.model import Host
from fleetctl.ports import Remote, Session

CONNECT_SECONDS = 5.0  # for each step of the way in
PROBE_SECONDS = 10.0  # a probe ends within 5 s; a host under load takes a few to start it
AT_ONCE = 64  # connections that are being made
AGAIN_SECONDS = 5.0  # between two attempts to reach a host that was not reached
_SHOWN = 80  # letters of an answer that cannot be read

# The probe's text comes on stdin, before the requests; -I and -S keep what the host has installed out of it.
_LOADER = "import sys; b = sys.stdin.buffer; exec(compile(b.read(int(b.readline())), 'probe', 'exec'))"
ARGV = ("python3", "-I", "-S", "-c", _LOADER)

Clock = Callable[[], float]


class Visit(threading.Thread):
    """One host: asked when told to, in one session as long as that holds. `answer` is its last."""

    def __init__(
        self, remote: Remote, host: Host, request: Mapping[str, Any], text: str, clock: Clock, gate: threading.Semaphore
    ) -> None:
        super().__init__(daemon=True, name=f"visit to {host.name}")
        self.host = host
        self.answer: Answer | None = None
        self.is_done = threading.Event()
        self._remote, self._text, self._clock, self._gate = remote, text, clock, gate
        self._line = json.dumps(request)
        self._lock = threading.Lock()
        self._told = threading.Event()
        self._is_over = False
        self._stack = ExitStack()
        self._session: Session | None = None
        self._began = 0.0

    @property
    def is_prompt(self) -> bool:
        """Tell whether it is worth waiting for: it has answered the last time, or was not asked yet."""
        return self.answer is None or self.answer.error is None

    def ask(self) -> None:
        """Have the host asked, unless it still is, or was not reached a moment ago."""
        now = time.monotonic()
        with self._lock:
            if self._told.is_set() or (not self.is_prompt and now - self._began < AGAIN_SECONDS):
                return
            self._began = now
            self.is_done.clear()
            self._told.set()

    def end(self) -> None:
        with self._lock:
            self._is_over = True
            self._told.set()

    def late(self) -> Answer:
        """Return the answer of a host that has not given one yet: its last, or that it gave none."""
        waited = time.monotonic() - self._began
        if self.answer is not None and waited < CONNECT_SECONDS:
            return self.answer
        now = self._clock()
        return Answer(error=f"{self.host.name}: no answer for {waited:.0f} s", sent=now - waited, received=now)

    def run(self) -> None:
        while True:
            self._told.wait()
            if self._is_over:
                break
            answer = self._asked()
            with self._lock:
                self.answer = answer
                if not self._is_over:
                    self._told.clear()
                self.is_done.set()
        self._close()

    def _asked(self) -> Answer:
        sent = self._clock()
        try:
            if self._session is not None:
                return self._exchange(self._session)
            with self._gate:
                sent = self._clock()
                stdin = f"{len(self._text.encode())}\n{self._text}"
                opened = self._remote.session(self.host, ARGV, stdin=stdin, timeout=CONNECT_SECONDS)
                self._session = self._stack.enter_context(opened)
                return self._exchange(self._session)
        except ConnectError as error:
            self._close()
            return Answer(error=error.message, sent=sent, received=self._clock())

    def _exchange(self, session: Session) -> Answer:
        sent = self._clock()
        line = session.ask(self._line, timeout=PROBE_SECONDS)
        answer = parse(line, sent=sent, received=self._clock())
        if answer.error is not None:
            self._close()
        return answer

    def _close(self) -> None:
        self._session = None
        self._stack.close()


class Visits:
    """Visits to many hosts, by rounds. `on_answer` is told each host that answered, as it does."""

    def __init__(
        self, remote: Remote, requests: Sequence[tuple[Host, Mapping[str, Any]]], text: str, *, clock: Clock
    ) -> None:
        gate = threading.Semaphore(AT_ONCE)
        self._visits = [Visit(remote, host, request, text, clock, gate) for host, request in requests]

    def __enter__(self) -> Visits:
        for visit in self._visits:
            visit.start()
        return self

    def __exit__(self, *_: object) -> None:
        for visit in self._visits:
            visit.end()

    def ask(self) -> None:
        """Begin a round."""
        for visit in self._visits:
            visit.ask()

    def wait(self, seconds: float, *, for_all: bool) -> None:
        """Return when the round is over, or `seconds` are; without `for_all` hosts that were lost hold up nothing."""
        deadline = time.monotonic() + seconds
        for visit in [visit for visit in self._visits if for_all or visit.is_prompt]:
            visit.is_done.wait(max(0.0, deadline - time.monotonic()))

    @property
    def answers(self) -> dict[str, Answer]:
        """The last answer of each host."""
        return {
            visit.host.name: visit.answer if visit.is_done.is_set() and visit.answer else visit.late()
            for visit in self._visits
        }

    def reached(self, names: Sequence[str]) -> Host | None:
        """Return the first of these hosts that has answered, None as long as none has."""
        found = {visit.host.name: visit.host for visit in self._visits if visit.answer and not visit.answer.error}
        return next((found[name] for name in names if name in found), None)


def parse(line: str, *, sent: float, received: float) -> Answer:
    """Return the answer that a line holds; one that cannot be read is an error, and says how it begins."""
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    facts = value.get("facts") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(facts, dict):
        return Answer(error=f"its answer cannot be read: {line[:_SHOWN]!r}", sent=sent, received=received)
    when, took = value.get("time"), value.get("took")
    problems = value.get("problems")
    return Answer(
        facts=facts,
        problems={str(part): str(why) for part, why in problems.items()} if isinstance(problems, dict) else {},
        time=float(when) if isinstance(when, int | float) else None,
        took=float(took) if isinstance(took, int | float) else 0.0,
        sent=sent,
        received=received,
    )
