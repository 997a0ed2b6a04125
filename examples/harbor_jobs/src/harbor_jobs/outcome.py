"""What came of one run, and the rewards that its tests wrote, in Harbor's format."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class Outcome:
    """`rewards` by name, empty where the tests wrote none; `error`: why there is none, or why it does not count."""

    rewards: Mapping[str, float] = field(default_factory=dict)
    exit_codes: Mapping[str, int | None] = field(default_factory=dict)
    error: str | None = None

    @property
    def reward(self) -> float | None:
        """Return the reward named `reward`, else the mean of all."""
        if "reward" in self.rewards:
            return self.rewards["reward"]
        return sum(self.rewards.values()) / len(self.rewards) if self.rewards else None

    @property
    def state(self) -> str:
        """Return `done` for a run whose tests gave a reward above 0 with nothing else wrong."""
        return DONE if self.error is None and (self.reward or 0) > 0 else FAILED


class RewardError(ValueError):
    """The tests wrote no reward, or one that is none."""


def read_rewards(directory: Path) -> dict[str, float]:
    """Return the rewards in reward.json, else the one in reward.txt; RewardError where neither tells.

    As harbor 0.25 does (verifier/verifier.py): numbers alone, and finite ones.
    """
    path, text = directory / "reward.json", directory / "reward.txt"
    if _is_file(path):
        try:
            rewards = json.loads(path.read_bytes())
        except ValueError as exc:
            raise RewardError(f"{path.name} is not JSON") from exc
    elif _is_file(text):
        try:
            rewards = {"reward": float(text.read_bytes())}
        except ValueError as exc:
            raise RewardError(f"{text.name} holds no number") from exc
    else:
        raise RewardError("the tests wrote no reward: neither verifier/reward.txt nor verifier/reward.json is there")
    return checked(rewards)


def checked(rewards: object) -> dict[str, float]:
    """Return what is a table of finite numbers as such; RewardError for all else."""
    if not isinstance(rewards, dict) or not rewards:
        raise RewardError("the rewards are not a table of numbers")
    for name, value in rewards.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise RewardError(f"the reward {name!r} is not a finite number")
    return {str(name): float(value) for name, value in rewards.items()}


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
