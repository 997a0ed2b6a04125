"""An app whose jobs die, refuse themselves, or are slow."""

import os
import time
from pathlib import Path

from celery import Celery
from celery.exceptions import Reject
from celery.worker.request import Request

app = Celery("mortal")


def note(path):
    with Path(path).open("a") as file:
        file.write("x")


@app.task(name="mortal.die")
def die(path, lives=99):
    """Note the attempt, and kill the process that runs it as often as told."""
    note(path)
    if len(Path(path).read_text()) <= lives:
        os.kill(os.getpid(), 9)
    return "alive"


@app.task(name="mortal.die_once", reject_on_worker_lost=False)
def die_once(path):
    """Kill the process, by a task that is not to be repeated."""
    note(path)
    os.kill(os.getpid(), 9)


@app.task(name="mortal.refuse")
def refuse(path):
    """Ask to be delivered again five times."""
    note(path)
    if len(Path(path).read_text()) <= 5:
        raise Reject("not now", requeue=True)
    return "done"


class Mine(Request):
    """A class of requests of the app's own, which says that it was used."""

    def on_accepted(self, *args, **kwargs):
        note("mine")
        return super().on_accepted(*args, **kwargs)


@app.task(name="mortal.own", Request=Mine)
def own(path):
    """Kill the process once, under a class of requests of its own."""
    return die.run(path, 1)


@app.task(name="mortal.slow")
def slow(path, seconds):
    """Note the start and take so long."""
    note(path)
    time.sleep(seconds)
    return "done"
