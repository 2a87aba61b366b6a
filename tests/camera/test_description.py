from __future__ import annotations

import numpy as np
import pytest

from sana_wm.camera.actions import parse_action
from sana_wm.camera.description import describe_path, describe_segments, key_words
from sana_wm.camera.dialects import DIALECTS, action_trajectory
from sana_wm.camera.trajectory import Trajectory


def test_a_path_in_numbers() -> None:
    facts = describe_path(action_trajectory("w-80,jw-40,w-40,lw-60,w-100"), fps=16)
    assert (facts.num_poses, facts.seconds) == (321, 20.0)
    assert facts.length == pytest.approx(320 * 0.05, abs=1e-3)
    assert facts.displacement < facts.length
    assert facts.mean_turn_deg_per_s == pytest.approx(100 * 1.2 / 20, abs=1e-3)
    assert facts.peak_turn_deg_per_s == pytest.approx(1.2 * 16, abs=1e-3)
    assert facts.final_yaw_deg == pytest.approx(20 * 1.2, abs=1e-3)
    assert facts.final_pitch_deg == 0


def test_more_than_a_whole_turn_counts_as_such() -> None:
    assert describe_path(action_trajectory("l-320"), fps=16).final_yaw_deg == pytest.approx(384, abs=1e-2)


def test_a_single_pose_does_nothing() -> None:
    facts = describe_path(Trajectory(np.eye(4, dtype=np.float32)[None]), fps=16)
    assert (facts.seconds, facts.length, facts.mean_turn_deg_per_s, facts.peak_turn_deg_per_s) == (0, 0, 0, 0)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_segments_say_what_they_did(dialect: str) -> None:
    """In `smoothed` the last segment coasts: it turns although it holds nothing that turns."""
    action = {"pr379": "w-20,wj-10,none-20", "smoothed": "w-20,wa-10,none-20"}[dialect]
    trajectory = action_trajectory(action, dialect=dialect)
    straight, turning, idle = describe_segments(parse_action(action), trajectory, DIALECTS[dialect])
    assert (straight.held, straight.first_frame, straight.last_frame) == ("forward", 0, 20)
    assert straight.length == pytest.approx(1, abs=1e-4)
    assert (turning.held, turning.first_frame, turning.last_frame) == ("forward, turn left", 20, 30)
    assert turning.yaw_deg == pytest.approx(-12, abs=1e-3)
    assert idle.held == "nothing"
    assert (idle.length > 0.4) == (dialect == "smoothed")
    assert (idle.yaw_deg < -10) == (dialect == "smoothed")


def test_a_refused_look_shows_in_the_segment() -> None:
    (up,) = describe_segments(parse_action("i-100"), action_trajectory("i-100"), DIALECTS["pr379"])
    assert up.pitch_deg == pytest.approx(84, abs=1e-2)


def test_segments_end_with_the_path() -> None:
    trajectory = action_trajectory("w-20,j-20,l-20").first(25)
    facts = describe_segments(parse_action("w-20,j-20,l-20"), trajectory, DIALECTS["pr379"])
    assert [(one.first_frame, one.last_frame) for one in facts] == [(0, 20), (20, 24)]


@pytest.mark.parametrize(
    ("keys", "dialect", "words"),
    [
        ("ad", "pr379", "nothing"),
        ("sdk", "pr379", "back, step right, look down"),
        ("sdk", "smoothed", "back, turn right, look down"),
        ("wjl", "smoothed", "forward"),
    ],
)
def test_keys_in_words(keys: str, dialect: str, words: str) -> None:
    assert key_words(frozenset(keys), DIALECTS[dialect]) == words
