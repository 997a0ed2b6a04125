"""Sizes and prices of common types of machines, as guidance for slots a host. Pure.

Prices: on demand, Linux, us-east-1, USD an hour, of the AWS Price List as of 2026-07-20; without disks, addresses and
traffic. Look them up before you rely on them.
"""

from __future__ import annotations

from dataclasses import dataclass

PRICES_AS_OF = "EC2 on demand, us-east-1, 2026-07-20"


@dataclass(frozen=True)
class InstanceType:
    """One type of machine. One that is `is_burstable` has its processors for a share of the time only."""

    name: str
    vcpus: int
    memory_mib: int
    usd_per_hour: float
    is_burstable: bool = False


INSTANCES = (
    InstanceType("t3.large", 2, 8192, 0.0832, is_burstable=True),
    InstanceType("t3.2xlarge", 8, 32768, 0.3328, is_burstable=True),
    InstanceType("m6a.large", 2, 8192, 0.0864),
    InstanceType("m6a.xlarge", 4, 16384, 0.1728),
    InstanceType("m6a.2xlarge", 8, 32768, 0.3456),
    InstanceType("m6a.4xlarge", 16, 65536, 0.6912),
    InstanceType("m7g.large", 2, 8192, 0.0816),
    InstanceType("m7g.2xlarge", 8, 32768, 0.3264),
    InstanceType("m7g.4xlarge", 16, 65536, 0.6528),
    InstanceType("c6a.2xlarge", 8, 16384, 0.3060),
    InstanceType("c7g.2xlarge", 8, 16384, 0.2900),
    InstanceType("r7g.large", 2, 16384, 0.1071),
    InstanceType("r7g.2xlarge", 8, 65536, 0.4284),
)
