"""Measures a look of `fleetctl capacity` beside `celery inspect`, in one run: `./invoke bench --what capacity`.

On a fleet of ten workers: the look that the agent takes, and `inspect active` + `reserved` + `stats`, by turns in one
process on a worker host, imports and the first connection apart; then again with one worker dead. Medians, seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fleetctl.adapters.providers.local import LocalProvider
from fleetctl.adapters.wiring import wire

NAME = "bench-capacity"
BIN = Path(sys.executable).parent

#: Runs on a worker host by fleet-app. argv: key prefix, rounds.
LOOKS = """
import json, os, statistics, sys, time
from celery import Celery
from fleetctl.worker import client, settings, survey
broker = settings.read(os.environ)
redis, app = client.connect(broker), Celery("bench")
settings.apply(app, broker, is_worker=False)
def look():
    return len(survey.answer(survey.take(redis, broker.key_prefix))["units"])
def inspect():
    found = app.control.inspect()
    return min(len(found.active()), len(found.reserved()), len(found.stats()))
seconds = {"look": [], "inspect": []}
answers = {name: act() for name, act in (("look", look), ("inspect", inspect))}
for _ in range(int(sys.argv[1])):
    for name, act in (("look", look), ("inspect", inspect)):
        began = time.monotonic()
        act()
        seconds[name].append(time.monotonic() - began)
print(json.dumps({"units": answers, **{name: statistics.median(of) for name, of in seconds.items()}}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleetctl-bench-") as scratch:
        spec = Path(scratch) / "fleet.yml"
        pool = f"{{count: {options.workers}, concurrency: 6}}"
        spec.write_text(f"name: {NAME}\nprovider: {{kind: local}}\npools:\n  worker: {pool}\n")
        os.environ["FLEETCTL_SPEC"] = str(spec)
        try:
            fleetctl("deploy", "--json")
            alive = looks(options.rounds)
            provider = wire(spec).provider
            assert isinstance(provider, LocalProvider)  # noqa: S101  as the file above says
            provider.kill(f"worker-{options.workers}")
            dead = looks(options.rounds)
        finally:
            fleetctl("destroy", "--yes")
    figures = {
        "all alive": alive,
        "one dead": dead,
        "ratios": {
            "inspect / look": round(alive["inspect"] / alive["look"], 1),
            "look, one dead / all alive": round(dead["look"] / alive["look"], 2),
        },
    }
    print(json.dumps(figures, indent=2))


def looks(rounds: int) -> dict[str, Any]:
    """Return what was measured on a worker: Celery's control is not for those that only publish."""
    return dict(json.loads(fleetctl("ssh", "worker-1", "fleet-app", "python", "-", str(rounds), stdin=LOOKS)))


def fleetctl(*arguments: str, stdin: str = "") -> str:
    """Run fleetctl on the benchmark's fleet; return its stdout."""
    done = subprocess.run(
        [str(BIN / "fleetctl"), *arguments], input=stdin, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    main()
