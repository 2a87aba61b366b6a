"""A camera path in numbers and words: how far, how quickly, and what each action segment does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.actions import Segment
from sana_wm.camera.dialects import Dialect
from sana_wm.camera.trajectory import Trajectory

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PathFacts:
    """Of a path of F poses shown at a frame rate.

    Attributes:
        num_poses: F.
        seconds: From the first to the last pose.
        length: Way of the camera, in scene units.
        displacement: Straight line from its start to its end, in scene units.
        mean_turn_deg_per_s: Rotation, about whatever axis, averaged over the path.
        peak_turn_deg_per_s: The quickest rotation between two poses.
        final_yaw_deg: Where it looks in the end, over 0 to the right of its first view.
        final_pitch_deg: The same, over 0 upwards.
    """

    num_poses: int
    seconds: float
    length: float
    displacement: float
    mean_turn_deg_per_s: float
    peak_turn_deg_per_s: float
    final_yaw_deg: float
    final_pitch_deg: float


@dataclass(frozen=True)
class SegmentFacts:
    """What one action segment, or one move, does.

    Attributes:
        spelling: Canonical, as `wj-40`; of a move, its name.
        first_frame: Pose at which it begins.
        last_frame: Pose at which it ends.
        held: What its keys, or its name, ask for, in words.
        length: Way of the camera during it, in scene units.
        yaw_deg: Turn during it, over 0 to the right.
        pitch_deg: Change of pitch, over 0 upwards.
    """

    spelling: str
    first_frame: int
    last_frame: int
    held: str
    length: float
    yaw_deg: float
    pitch_deg: float


def describe_path(trajectory: Trajectory, *, fps: float) -> PathFacts:
    """The numbers of a whole path, relative to its first pose.

    Args:
        trajectory: F poses.
        fps: Poses a second.
    """
    c2w = trajectory.c2w.astype(np.float64)
    positions = c2w[:, :3, 3]
    steps = np.swapaxes(c2w[:-1, :3, :3], 1, 2) @ c2w[1:, :3, :3]
    turns_deg = _rotation_angles_deg(steps)
    seconds = (len(c2w) - 1) / fps
    yaw_deg, pitch_deg = headings_deg(c2w)
    return PathFacts(
        num_poses=len(c2w),
        seconds=seconds,
        length=_length(positions),
        displacement=float(np.linalg.norm(positions[-1] - positions[0])),
        mean_turn_deg_per_s=float(turns_deg.sum() / seconds) if seconds else 0.0,
        peak_turn_deg_per_s=float(turns_deg.max(initial=0.0) * fps),
        final_yaw_deg=float(yaw_deg[-1] - yaw_deg[0]),
        final_pitch_deg=float(pitch_deg[-1] - pitch_deg[0]),
    )


def describe_segments(
    segments: Sequence[Segment], trajectory: Trajectory, dialect: Dialect
) -> tuple[SegmentFacts, ...]:
    """What each segment of an action does to the camera, as far as the path goes.

    Args:
        segments: Of the action that made the path.
        trajectory: The path, or its beginning.
        dialect: The dialect that it was made with.
    """
    return describe_parts([(str(one), one.num_frames, key_words(one.keys, dialect)) for one in segments], trajectory)


def describe_parts(parts: Sequence[tuple[str, int, str]], trajectory: Trajectory) -> tuple[SegmentFacts, ...]:
    """The same for whatever a path is made of: spelling, number of frames, and what is asked for, of each part."""
    c2w = trajectory.c2w.astype(np.float64)
    yaw_deg, pitch_deg = headings_deg(c2w)
    facts: list[SegmentFacts] = []
    start = 0
    for spelling, num_frames, asked in parts:
        end = min(start + num_frames, len(c2w) - 1)
        if end == start:
            break
        facts.append(
            SegmentFacts(
                spelling=spelling,
                first_frame=start,
                last_frame=end,
                held=asked,
                length=_length(c2w[start : end + 1, :3, 3]),
                yaw_deg=float(yaw_deg[end] - yaw_deg[start]),
                pitch_deg=float(pitch_deg[end] - pitch_deg[start]),
            )
        )
        start = end
    return tuple(facts)


def key_words(keys: frozenset[str], dialect: Dialect) -> str:
    """What held keys ask for in a dialect: `forward, turn left`; opposite keys cancel."""
    pairs = {
        ("w", "s"): ("forward", "back"),
        dialect.strafe_keys: ("step left", "step right"),
        dialect.yaw_keys: ("turn left", "turn right"),
        ("i", "k"): ("look up", "look down"),
    }
    words = [
        word
        for pair, names in pairs.items()
        for key, other, word in zip(pair, reversed(pair), names, strict=True)
        if key in keys and other not in keys
    ]
    return ", ".join(words) or "nothing"


def headings_deg(c2w: Array) -> tuple[Array, Array]:
    """Yaw without jumps at half turns, over 0 to the right, and pitch, over 0 upwards; each (F,), of the view axis."""
    forward = c2w[:, :3, 2]
    yaw = np.unwrap(np.arctan2(forward[:, 0], forward[:, 2]))
    pitch = np.arctan2(-forward[:, 1], np.hypot(forward[:, 0], forward[:, 2]))
    return np.degrees(yaw), np.degrees(pitch)


def _length(positions: Array) -> float:
    return float(np.linalg.norm(np.diff(positions, axis=0), axis=1).sum())


def _rotation_angles_deg(rotations: Array) -> Array:
    """Angles of (N, 3, 3) rotations. By the sine too: the cosine alone loses small angles in float32 poses."""
    twice_axis_sine = np.stack(
        [
            rotations[:, 2, 1] - rotations[:, 1, 2],
            rotations[:, 0, 2] - rotations[:, 2, 0],
            rotations[:, 1, 0] - rotations[:, 0, 1],
        ],
        axis=1,
    )
    twice_cosine = np.trace(rotations, axis1=1, axis2=2) - 1
    return np.degrees(np.arctan2(np.linalg.norm(twice_axis_sine, axis=1), twice_cosine))
