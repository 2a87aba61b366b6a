"""Tables of cameras and what is said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sana_wm.camera.actions import parse_action
from sana_wm.camera.dialects import DIALECTS, action_trajectory
from sana_wm.camera.intrinsics import read_intrinsics
from sana_wm.camera.plausibility import (
    doubts_about_action,
    doubts_about_convention,
    doubts_about_fps,
    doubts_about_length,
    doubts_about_lens,
    doubts_about_path,
    doubts_about_view,
    require_pixels,
)
from sana_wm.camera.poses.reading import load_poses, read_poses
from sana_wm.camera.rigid import rigid_inverse
from sana_wm.errors import UsageError

PICTURE = (1691, 930)


def walk(action: str = "w-20,wl-20", **speeds: float) -> np.ndarray:
    return action_trajectory(action, **speeds).c2w.astype(np.float64)


def changed(c2w: np.ndarray, frame: int, offset: float) -> np.ndarray:
    c2w = c2w.copy()
    c2w[frame:, 0, 3] += offset
    return c2w


@pytest.mark.parametrize("name", ["demo_0", "demo_1"])
def test_the_demos_cameras_raise_no_doubt(demo: Path, name: str) -> None:
    path = demo / f"{name}_pose.npy"
    assert read_poses(path).notes == ()
    assert doubts_about_path(load_poses(path).c2w) == []
    assert doubts_about_lens(read_intrinsics(demo / f"{name}_intrinsics.npy", 321), PICTURE) == []


@pytest.mark.parametrize(
    ("c2w", "said"),
    [
        (walk(), []),
        (walk("none-9"), []),
        (walk("none-30,w-10"), []),
        (walk("s-16"), []),
        (
            walk(translation_speed=50),
            ["it moves 50 scene units a frame, 1000 times the usual 0.05: are its"],
        ),
        (
            walk(translation_speed=5),
            ["it moves 5 scene units a frame, 100 times the usual 0.05: are its"],
        ),
        (
            walk(translation_speed=0.4),
            ["it moves 0.4 scene units a frame, 8 times the usual 0.05: are its"],
        ),
        (walk(translation_speed=0.005), ["it moves 0.005 scene units a frame, 0.1 times"]),
        (changed(walk(), 7, 3), ["it jumps 3 scene units from pose 6 to 7, 60 times its usual step: were poses lost"]),
        (
            changed(changed(walk(), 7, 3), 9, -3),
            ["it jumps 3 scene units from pose 6 to 7, 60 times its usual st"],
        ),
        (walk(rotation_speed_deg=40), ["it turns 40 degrees from pose 20 to 21, and at 19 further places"]),
    ],
)
def test_steps_and_jumps(c2w: np.ndarray, said: list[str]) -> None:
    doubts = doubts_about_path(c2w)
    assert len(doubts) == len(said)
    assert all(doubt.startswith(start) for doubt, start in zip(doubts, said, strict=True))


def elsewhere(c2w: np.ndarray) -> np.ndarray:
    """The walk in a world that is turned and far away, as reconstructions have it."""
    world = walk("il-40")[-1]
    world[:3, 3] = 3, -2, 5
    return world @ c2w


OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


@pytest.mark.parametrize(
    ("c2w", "said"),
    [
        (walk(), None),
        (elsewhere(walk()), None),
        (walk("a-20,dl-20"), None),
        (elsewhere(walk("w-20,s-20")), None),
        (walk("l-20"), None),
        (
            walk() @ OPENGL,
            "against its view, 100% of its way backwards, read as opencv_c2w: is it in OpenGL axes (opengl",
        ),
        (elsewhere(walk() @ OPENGL), "against its view"),
        (rigid_inverse(walk()), "against its view"),
        (walk("s-20"), "if it backs away on purpose, all is well"),
        (rigid_inverse(elsewhere(walk("w-40,wj-40"))), "as opencv_w2c it would, 100%"),
    ],
)
def test_motion_against_the_view(c2w: np.ndarray, said: str | None) -> None:
    doubts = doubts_about_convention(c2w, "opencv_c2w")
    assert (doubts == []) if said is None else (said in " ".join(doubts))


def test_the_examples_of_other_conventions_are_doubted(shared_inputs: Path) -> None:
    for name in ("as_w2c", "opengl"):
        (note,) = read_poses(shared_inputs / f"walk_turn_right_{name}.npy").notes
        assert "moves against its view, 100% of its way backwards" in note
    assert "against its view, 87%" in read_poses(shared_inputs / "realestate10k_3x4.npy").notes[0]
    assert "millimetres" in doubts_about_path(load_poses(shared_inputs / "walk_in_millimetres.npy").c2w)[0]


@pytest.mark.parametrize(
    ("action", "dialect", "said"),
    [
        ("w-8,wl-8", "pr379", []),
        ("w-8,ws-8,jl-3", "pr379", ["segment 2, ws-8: w and s cancel each other", "segment 3, jl-3: j and l cancel"]),
        ("ad-8", "pr379", ["segment 1, ad-8: a and d cancel each other"]),
        ("w-8,ik-1,w-8", "smoothed", []),  # a stop, as `camera convert` writes it
        ("w-8,ik-1,w-8", "pr379", ["segment 2, ik-1: i and k cancel each other"]),
    ],
)
def test_keys_that_cancel_each_other(action: str, dialect: str, said: list[str]) -> None:
    doubts = doubts_about_action(parse_action(action), DIALECTS[dialect])
    assert len(doubts) == len(said)
    assert all(start in doubt for doubt, start in zip(doubts, said, strict=True))


def test_unused_poses_and_other_frame_rates() -> None:
    assert doubts_about_length(41, 41) == []
    assert doubts_about_length(41, 9) == ["the video takes the first 9 of its 41 poses; the last 32 go unused"]
    assert doubts_about_fps(16) == []
    assert "at 24 the camera passes its path 1.5 times as quickly" in doubts_about_fps(24)[0]


def rows(*numbers: float, **later: float) -> np.ndarray:
    """Nine rows; from row 5 on all numbers times `times`."""
    values = np.tile(np.array(numbers, dtype=np.float32), (9, 1))
    values[5:] *= later.get("times", 1.0)
    return values


@pytest.mark.parametrize(
    ("intrinsics", "said"),
    [
        (rows(797, 830, 844, 463), []),
        (rows(797, 830, 844, 463, times=1.05), []),
        (
            rows(398, 415, 422, 232),
            ["a principal point at 422, 232, far from the middle of 1691x930. They look"],
        ),
        (rows(1594, 1660, 1688, 926), ["a principal point at 1688, 926"]),
        (rows(797, 830, 0, 0), ["a principal point at 0, 0, far from the middle"]),
        (
            rows(797, 830, 463, 844),
            ["a principal point at 463, 844, far from the middle of 1691x930. Width and"],
        ),
        (rows(797, 2400, 844, 463), ["fx / fy is 0.332, and pixels are square"]),
        (
            rows(797, 830, 844, 463, times=3),
            ["a principal point in row 5 at 2532", "fx jumps from 797 in row 4 to"],
        ),
    ],
)
def test_lenses(intrinsics: np.ndarray, said: list[str]) -> None:
    require_pixels(intrinsics, PICTURE)
    doubts = doubts_about_lens(intrinsics, PICTURE)
    assert len(doubts) == len(said)
    assert all(doubt.startswith(start) for doubt, start in zip(doubts, said, strict=True))


@pytest.mark.parametrize(
    ("intrinsics", "said"),
    [
        (rows(0.47, 0.89, 0.5, 0.5), "Multiply fx and cx by its width, 1691, and fy and cy by its height, 930."),
        (rows(1.7, 1.7, 0, 0), "normalised"),
        (rows(797, 830, 2500, 1500), "lies outside the input image; got cx 2500, cy 1500"),
        (rows(797, 830, -5, 463), "lies outside the input image; got cx -5, cy 463"),
    ],
)
def test_what_cannot_be_pixels_is_refused(intrinsics: np.ndarray, said: str) -> None:
    with pytest.raises(UsageError) as error:
        require_pixels(intrinsics, PICTURE)
    assert said in str(error.value)


def test_every_rows_view_counts_in_both_directions() -> None:
    plain = rows(800, 800, 640, 352)
    assert doubts_about_view(plain, height=704, width=1280) == []
    late = plain.copy()
    late[8, :2] = 200
    assert doubts_about_view(late, height=704, width=1280)[0].startswith("a field of view of 145.3 degrees across")
    flat = rows(800, 4000, 640, 352)
    assert doubts_about_view(flat, height=704, width=1280)[0].startswith("a field of view of 10.1 degrees from top to")
