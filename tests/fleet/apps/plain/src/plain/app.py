"""A Celery app with settings of its own: late acknowledgement off, a route, an annotation, no results for one task."""

import os
import time

from celery import Celery

app = Celery("plain", broker="amqp://nowhere", backend="cache+memory://")
app.conf.update(
    task_acks_late=False,
    task_routes={"plain.routed": {"queue": "special"}},
    task_annotations={"*": {"rate_limit": "1000/s"}},
    worker_prefetch_multiplier=2,
    broker_transport_options={"visibility_timeout": 5, "queue_order_strategy": "sorted"},
)


@app.task(name="plain.environment")
def environment(*names):
    """Return which of the variables are set."""
    return {name: bool(os.environ.get(name)) for name in names}


@app.task(name="plain.value")
def value(name):
    """Return a variable's value."""
    return os.environ[name]


@app.task(name="plain.add")
def add(left, right):
    """Return a sum."""
    return left + right


@app.task(name="plain.total")
def total(numbers):
    """Return the sum of a chord's parts."""
    return sum(numbers)


@app.task(name="plain.slow", acks_late=True)
def slow(seconds):
    """Take so long."""
    time.sleep(seconds)
    return "done"


@app.task(name="plain.routed")
def routed():
    """Run where its route says."""
    return "special"


@app.task(name="plain.die", acks_late=True, max_retries=2, default_retry_delay=0)
def die(path):
    """Note the attempt in a file, then kill the process that runs this job."""
    with open(path, "a") as file:  # noqa: PTH123
        file.write("x")
    os.kill(os.getpid(), 9)
