"""An app that reserves four jobs for each slot, with jobs that are acknowledged early or late, and end in many ways."""

import time
from pathlib import Path

from celery import Celery
from celery.exceptions import Ignore, Reject

app = Celery("mixed")
app.conf.update(worker_prefetch_multiplier=4, worker_disable_prefetch=False, task_reject_on_worker_lost=True)


def wait(path):
    """Hold the slot until the file is there."""
    while path and not Path(path).exists():
        time.sleep(0.02)


@app.task(name="mixed.late", acks_late=True)
def late(path=None):
    """Be acknowledged at the end."""
    wait(path)


@app.task(name="mixed.early", acks_late=False)
def early(path=None):
    """Be acknowledged at the start."""
    wait(path)


def once(path):
    """Return whether this is the first time."""
    if Path(path).exists():
        return False
    Path(path).write_text("x")
    return True


def again(self):
    """Ask for a second run, twice."""
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return "done"


app.task(name="mixed.retry_late", bind=True, acks_late=True)(again)
app.task(name="mixed.retry_early", bind=True, acks_late=False)(again)


@app.task(name="mixed.fail_late", acks_late=True)
def fail_late():
    """Fail."""
    raise ValueError("secret")


@app.task(name="mixed.fail_early", acks_late=False)
def fail_early():
    """Fail."""
    raise ValueError("secret")


@app.task(name="mixed.refuse", acks_late=True)
def refuse():
    """Refuse the job for good."""
    raise Reject("no", requeue=False)


@app.task(name="mixed.refuse_once", acks_late=True)
def refuse_once(path):
    """Refuse the job once, to have it again."""
    if once(path):
        raise Reject("not now", requeue=True)


@app.task(name="mixed.ignore", acks_late=True)
def ignore():
    """End without a result."""
    raise Ignore


@app.task(name="mixed.replace", bind=True, acks_late=True)
def replace(self):
    """Become another job of the same id."""
    raise self.replace(late.si())


@app.task(name="mixed.replace_early", bind=True, acks_late=False)
def replace_early(self):
    """Become another job of the same id."""
    raise self.replace(early.si())


@app.task(name="mixed.too_long", acks_late=True, time_limit=1)
def too_long():
    """Outlast the time limit."""
    time.sleep(60)


@app.task(name="mixed.too_long_early", acks_late=False, time_limit=1)
def too_long_early():
    """Outlast the time limit."""
    time.sleep(60)
