from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sana_wm.camera.actions import held_keys_per_frame, parse_action
from sana_wm.camera.dialects import DIALECTS, Dialect, action_trajectory, roll_out

SMOOTHED = DIALECTS["smoothed"]


@pytest.mark.parametrize(
    ("variant", "dialect", "translation_speed", "rotation_speed_deg"),
    [
        ("pr379", DIALECTS["pr379"], 0.05, 1.2),
        ("pr379_fast", replace(DIALECTS["pr379"], pitch_limit_deg=30), 0.055, 2.5),
        ("main", SMOOTHED, 0.025, 0.6),
        ("main_nosmooth", replace(SMOOTHED, inertia=False), 0.025, 0.6),
        ("main_prspeed", replace(SMOOTHED, pitch_limit_deg=85), 0.05, 1.2),
    ],
)
def test_poses_are_upstreams(
    golden: Path, variant: str, dialect: Dialect, translation_speed: float, rotation_speed_deg: float
) -> None:
    reference = np.load(golden / "actions.npz")
    for index, action in enumerate(reference["actions"]):
        held_keys = held_keys_per_frame(parse_action(str(action)))
        c2w = roll_out(held_keys, dialect, translation_speed=translation_speed, rotation_speed_deg=rotation_speed_deg)
        assert c2w.dtype == np.float32
        np.testing.assert_allclose(c2w, reference[f"{variant}_{index:02}"], rtol=0, atol=2e-6, err_msg=str(action))


def test_the_demo_pose_file_is_the_demo_action(demo: Path) -> None:
    trajectory = action_trajectory("w-80,jw-40,w-40,lw-60,w-100", translation_speed=0.055)
    np.testing.assert_allclose(trajectory.c2w, np.load(demo / "demo_0_pose.npy"), rtol=0, atol=2e-5)


@pytest.mark.parametrize(("dialect", "turns_right", "strafes_right"), [("pr379", "l", "d"), ("smoothed", "d", "l")])
def test_dialects_swap_turning_and_strafing(dialect: str, turns_right: str, strafes_right: str) -> None:
    turned = action_trajectory(f"{turns_right}-4", dialect=dialect).c2w[-1]
    strafed = action_trajectory(f"{strafes_right}-4", dialect=dialect).c2w[-1]
    assert turned[0, 2] > 0.05, "forward leans to +x"
    assert (turned[:3, 3] == 0).all()
    assert strafed[0, 3] > 0.15
    assert (strafed[:3, :3] == np.eye(3)).all()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_default_speeds_are_the_manifests(dialect: str) -> None:
    first_steps = action_trajectory("w-1,i-1", dialect=dialect).c2w[1:]
    assert first_steps[0, 2, 3] == pytest.approx(0.05, abs=1e-6)
    assert np.degrees(np.arcsin(-first_steps[1, 1, 2])) == pytest.approx(1.2, abs=1e-5)


@pytest.mark.parametrize(("dialect", "highest_deg"), [("pr379", 84), ("smoothed", 60)])
def test_looking_up_ends_at_the_dialects_limit(dialect: str, highest_deg: float) -> None:
    c2w = action_trajectory("i-100,none-30", dialect=dialect).c2w
    assert np.degrees(np.arcsin(-c2w[-1, 1, 2])) == pytest.approx(highest_deg, abs=1e-3)


def test_the_trajectory_keeps_its_keys() -> None:
    trajectory = action_trajectory("wa-1,none-1")
    assert trajectory.held_keys == (frozenset("wa"), frozenset())
    assert len(trajectory) == 3
