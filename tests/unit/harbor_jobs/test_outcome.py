"""Rewards as Harbor's verifier reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harbor_jobs.outcome import Outcome, RewardError, read_rewards


@pytest.mark.parametrize(
    ("files", "rewards"),
    [
        pytest.param({"reward.txt": "1\n"}, {"reward": 1.0}, id="text"),
        pytest.param({"reward.json": '{"speed": 0.5, "style": 1}'}, {"speed": 0.5, "style": 1.0}, id="several"),
        pytest.param({"reward.txt": "0", "reward.json": '{"reward": 1}'}, {"reward": 1.0}, id="JSON goes first"),
    ],
)
def test_rewards_are_read(tmp_path: Path, files: dict[str, str], rewards: dict[str, float]) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert read_rewards(tmp_path) == rewards


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("reward.txt", ""), ("reward.txt", "yes"), ("reward.txt", "nan"), ("reward.txt", "inf"),
        ("reward.json", "{"), ("reward.json", "1"), ("reward.json", "{}"), ("reward.json", '{"reward": "1"}'),
        ("reward.json", '{"reward": true}'), ("reward.json", '{"reward": 1e309}'), ("other.txt", "1"),
    ],
)  # fmt: skip
def test_what_is_no_reward_is_an_error(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(RewardError):
        read_rewards(tmp_path)


def test_a_link_is_no_reward(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("1")
    (tmp_path / "reward.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RewardError, match="no reward"):
        read_rewards(tmp_path)


@pytest.mark.parametrize(
    ("outcome", "state", "reward"),
    [
        (Outcome({"reward": 1.0}), "done", 1.0),
        (Outcome({"reward": 0.25}), "done", 0.25),
        (Outcome({"reward": 0.0}), "failed", 0.0),
        (Outcome({"reward": 1.0}, {}, "late"), "failed", 1.0),
        (Outcome({"a": 0.0, "b": 1.0}), "done", 0.5),
        (Outcome({"a": 0.0, "reward": 0.0}), "failed", 0.0),
        (Outcome(), "failed", None),
    ],
)
def test_done_is_a_reward_above_nought_and_nothing_wrong(outcome: Outcome, state: str, reward: float | None) -> None:
    assert (outcome.state, outcome.reward) == (state, reward)
