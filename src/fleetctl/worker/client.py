"""A plain client of the fleet's Redis, and the names of its queues' lists, for looks that need no Celery."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from redis import Redis

from fleetctl.worker.settings import Broker

Client = Any  # redis-py's annotations are those of both of its kinds of clients

SECONDS = 10.0
SEPARATOR = "\x06\x16"  # between a queue's name and a priority: kombu's
PRIORITIES = range(10)
_NO_QUEUES = ("fleet:", "load:", "celery-task", "celeryev", "_kombu")  # lists that hold no jobs
_PAGE = 1000


def connect(broker: Broker) -> Client:
    """Return a client; nothing connects yet."""
    tls = {"ssl_ca_certs": broker.ca_file} if broker.ca_file and broker.url.startswith("rediss:") else {}
    return Redis.from_url(broker.url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, **tls)


def lists_of(queue: str) -> list[str]:
    """Return the names of a queue's lists, below the prefix, in the order in which they are taken from."""
    return [queue, *(f"{queue}{SEPARATOR}{priority}" for priority in PRIORITIES if priority)]


def strays(client: Client, prefix: str) -> dict[str, int]:
    """Return the number of messages of every queue below the prefix, known or not; none of those that are empty."""
    names = sorted({key[len(prefix) :] for key in _keys(client, prefix)})
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.llen(prefix + name).lindex(prefix + name, -1)
        answers = pipe.execute(raise_on_error=False)
    found: dict[str, int] = {}
    for name, length, text in zip(names, answers[::2], answers[1::2], strict=True):
        if isinstance(length, int) and length and isinstance(text, bytes) and _is_message(text):
            queue = name.partition(SEPARATOR)[0]
            found[queue] = found.get(queue, 0) + length
    return found


def messages(client: Client, prefix: str, queue: str) -> Iterator[bytes]:
    """Return the messages of a queue page by page, oldest first; one that moves meanwhile may be passed over."""
    for name in lists_of(queue):
        last = -1
        while page := client.lrange(prefix + name, last - _PAGE + 1, last):
            yield from reversed(page)
            last -= _PAGE


def _keys(client: Client, prefix: str) -> Iterator[str]:
    escaped = "".join(f"\\{character}" if character in "*?[]\\" else character for character in prefix)
    for key in client.scan_iter(match=f"{escaped}*", count=_PAGE, _type="list"):
        name = key.decode(errors="replace")
        if not name[len(prefix) :].startswith(_NO_QUEUES) and ".reply.celery.pidbox" not in name:
            yield name


def _is_message(text: bytes) -> bool:
    try:
        message: Any = json.loads(text)
    except ValueError:
        return False
    return isinstance(message, dict) and "body" in message and "properties" in message
