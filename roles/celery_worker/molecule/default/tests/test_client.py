"""The host of the other tests, told to only publish: after them, since it loses its units."""

from __future__ import annotations

from typing import Any

from scenario import CONVERGE, ROLL, play

CLIENT = {"celery_worker_runs_units": False, "celery_worker_units": []}


def test_a_host_that_only_publishes_has_no_unit(host: Any) -> None:
    code, _, said = play(CONVERGE, ROLL, **CLIENT)
    assert code == 0, said
    assert host.check_output("systemctl list-units --all --plain --no-legend 'fleet-worker@*' | wc -l") == "0"
    assert host.check_output("find /etc/systemd/system -name 'fleet-worker*'") == ""
    assert host.check_output("fleet-app printenv FLEET_DEFAULT_QUEUE") == "special"
    code, changed, said = play(CONVERGE, ROLL, **CLIENT)
    assert (code, changed) == (0, 0), said
