"""The same step for many machines at once; one that fails does not keep the others from theirs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from fleetctl.errors import ProviderError

WORKERS = 16

T = TypeVar("T")


def each(
    act: Callable[[T], None],
    items: Sequence[T],
    *,
    on_done: Callable[[T], None] = lambda _: None,
    cancelled: threading.Event | None = None,
) -> None:
    """Call `act` for every item, and `on_done` in the caller's thread as each ends well.

    Raise the first ProviderError after all have ended. An interrupt sets `cancelled`, which `act` may watch.
    """
    errors: list[ProviderError] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        running = {pool.submit(act, item): item for item in items}
        try:
            for future in as_completed(running):
                try:
                    future.result()
                except ProviderError as exc:
                    errors.append(exc)
                else:
                    on_done(running[future])
        except BaseException:
            if cancelled is not None:
                cancelled.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if errors:
        count = f"{len(errors)} of {len(items)} failed; the first: " if errors[1:] else ""
        raise ProviderError(count + errors[0].message, hint=errors[0].hint) from errors[0]
