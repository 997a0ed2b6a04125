"""Costs: of priced hosts, of some, of none, of those that cost nothing."""

from __future__ import annotations

import pytest

from fleetctl.core.cost import cost
from fleetctl.model import Host


def hosts(*prices: float | None) -> tuple[Host, ...]:
    return tuple(Host(f"h{n}", f"id{n}", f"10.0.0.{n}", price=price) for n, price in enumerate(prices, 1))


def test_prices_add_up_to_an_hour_a_month_of_730_hours_and_a_job() -> None:
    found = cost(hosts(0.5, 0.25), "static", jobs_per_hour=300)
    assert (found.per_hour, found.per_month, found.per_job) == (0.75, 547.5, 0.0025)
    assert (found.is_at_least, found.reason) == (False, None)


def test_a_host_without_a_price_makes_it_at_least() -> None:
    found = cost(hosts(0.5, None), "static", jobs_per_hour=None)
    assert (found.per_hour, found.is_at_least, found.unpriced) == (0.5, True, ("h2",))


def test_without_any_price_the_costs_are_not_known_and_the_key_is_named() -> None:
    found = cost(hosts(None, None), "static", jobs_per_hour=10)
    assert (found.per_hour, found.per_month, found.per_job, found.is_at_least) == (None, None, None, False)
    assert "provider.hosts[].price" in str(found.reason)


@pytest.mark.parametrize("rate", [None, 0.0])
def test_while_no_job_ends_what_one_costs_is_not_known(rate: float | None) -> None:
    found = cost(hosts(0.5), "static", jobs_per_hour=rate)
    assert (found.per_hour, found.per_job) == (0.5, None)
    assert "no job has ended" in str(found.reason)


def test_local_hosts_cost_nothing_and_say_so() -> None:
    found = cost(hosts(None), "local", jobs_per_hour=None)
    assert (found.per_hour, found.per_month, found.per_job, found.is_at_least) == (0, 0, 0, False)
    assert found.note == "local hosts cost nothing"
