"""What the video overlay shows of a camera path: pressed keys and turning.

Source: `diffusion/utils/action_overlay.py` of NVlabs/Sana PR #379.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.actions import HeldKeys
from sana_wm.camera.trajectory import Trajectory

#: Columns of `Motion.keys`.
OVERLAY_KEYS = "wasd"

#: Columns of `read_keys`: going, then looking, both as they lie on a keyboard.
ALL_KEYS = "wasdijkl"

#: A step counts as a pressed key above 30 % of the path's quick steps (95th percentile), and above this many units.
KEY_THRESHOLD_SHARE = 0.3
MIN_STEP = 0.005

#: Turning is shown relative to the path's quick turns, which count for at least this many degrees a frame.
MIN_TURN_DEG = 0.5
#: Turning counts as a pressed key above this share of that.
TURN_KEY_SHARE = 0.3
QUICK_PERCENTILE = 95

#: Weight of the newest frame in the smoothed turning.
SMOOTHING = 0.35

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Motion:
    """What each of F video frames shows; frame i shows the way from pose i to pose i + 1, the last one repeats.

    Attributes:
        keys: (F, 4) bool, W, A, S, D.
        yaw: (F,) float64 in [-1, 1], over 0 where the camera turns right.
        pitch: (F,) float64 in [-1, 1], over 0 where the camera looks up: a drawing whose y axis points down must
            flip it.
    """

    keys: NDArray[np.bool_]
    yaw: Array
    pitch: Array


def read_motion(trajectory: Trajectory) -> Motion:
    """What to show of a camera path.

    Where an action string made the path, the keys are those that it holds, whatever they do in its dialect; else they
    are read off the motion: W/S for forward/back, A/D for left/right in the camera's own axes.

    Args:
        trajectory: F poses.
    """
    poses = trajectory.c2w.astype(np.float64)
    steps = np.linalg.inv(poses[:-1]) @ poses[1:]
    if len(steps) == 0:
        steps = np.eye(4)[None]
    yaw_deg, pitch_deg = _turning_deg(steps[:, :3, :3])
    held_keys = trajectory.held_keys
    keys = _keys_from_steps(steps[:, :3, 3]) if not held_keys else _keys_from_action(held_keys)
    last = np.minimum(np.arange(len(poses)), len(steps) - 1)
    return Motion(keys[last], _smoothed_share(yaw_deg)[last], _smoothed_share(pitch_deg)[last])


def read_keys(trajectory: Trajectory) -> NDArray[np.bool_]:
    """All keys of a camera path, (F, 8) bool in the order of `ALL_KEYS`; as in `Motion`, the last row repeats.

    Where an action string made the path, they are those that it holds; else W/S and A/D are read off the way, J/L and
    I/K off the turning.

    Args:
        trajectory: F poses.
    """
    last = np.minimum(np.arange(len(trajectory)), max(0, len(trajectory) - 2))
    if trajectory.held_keys:
        return np.array([[key in held for key in ALL_KEYS] for held in trajectory.held_keys])[last]
    poses = trajectory.c2w.astype(np.float64)
    steps = np.linalg.inv(poses[:-1]) @ poses[1:] if len(poses) > 1 else np.eye(4)[None]
    yaw, pitch = (_share(turning_deg) for turning_deg in _turning_deg(steps[:, :3, :3]))
    looking = [pitch > TURN_KEY_SHARE, yaw < -TURN_KEY_SHARE, pitch < -TURN_KEY_SHARE, yaw > TURN_KEY_SHARE]
    return np.concatenate([_keys_from_steps(steps[:, :3, 3]), np.stack(looking, axis=1)], axis=1)[last]


def _turning_deg(rotations: Array) -> tuple[Array, Array]:
    """Yaw and pitch of `Ry(yaw) @ Rx(pitch) @ Rz(roll)` (intrinsic YXZ Euler angles), in degrees."""
    yaw = np.arctan2(rotations[:, 0, 2], rotations[:, 2, 2])
    pitch = np.arcsin(np.clip(-rotations[:, 1, 2], -1.0, 1.0))
    return np.degrees(yaw), np.degrees(pitch)


def _keys_from_action(held_keys: HeldKeys) -> NDArray[np.bool_]:
    return np.array([[key in held for key in OVERLAY_KEYS] for held in held_keys])


def _keys_from_steps(steps: Array) -> NDArray[np.bool_]:
    """W, A, S, D (N, 4) from steps (N, 3) in camera axes."""
    right, forward = steps[:, 0], steps[:, 2]
    right_threshold, forward_threshold = _key_threshold(right), _key_threshold(forward)
    return np.stack(
        [
            forward > forward_threshold,
            right < -right_threshold,
            forward < -forward_threshold,
            right > right_threshold,
        ],
        axis=1,
    )


def _key_threshold(steps: Array) -> float:
    return max(MIN_STEP, KEY_THRESHOLD_SHARE * float(np.percentile(np.abs(steps), QUICK_PERCENTILE)))


def _smoothed_share(turning_deg: Array) -> Array:
    """`_share` as an exponential moving average that starts at 0."""
    shares = _share(turning_deg)
    smoothed = np.empty_like(shares)
    average = 0.0
    for frame, share in enumerate(shares):
        average += SMOOTHING * (share - average)
        smoothed[frame] = average
    return smoothed


def _share(turning_deg: Array) -> Array:
    """Turning as a share of the path's quick turns, in [-1, 1]."""
    quick_deg = max(MIN_TURN_DEG, float(np.percentile(np.abs(turning_deg), QUICK_PERCENTILE)))
    return np.clip(turning_deg / quick_deg, -1.0, 1.0)
