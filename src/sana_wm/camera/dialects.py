"""Dialects: what held keys do to the camera, and the poses that follow.

Source: `action_string_to_c2w` of NVlabs/Sana PR #379 (`pr379`); `wm/camera_control.py` of its main branch (`smoothed`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.actions import HeldKeys, held_keys_per_frame, parse_action
from sana_wm.camera.trajectory import Trajectory

#: Upstream's guard against a zero norm. diffusers leaves it out, which moves a 320-frame path by up to 1.6e-5.
NORM_EPSILON = 1e-6

#: Inertia of `smoothed`: one frame's time, and the time constants of speeding up and of coasting, in seconds.
FRAME_TIME_S = 1 / 16
HELD_TIME_CONSTANT_S = 0.45
RELEASED_TIME_CONSTANT_S = 1.0


@dataclass(frozen=True)
class Dialect:
    """A key mapping with its motion model. In every dialect W/S go forward/back and I/K look up/down.

    Attributes:
        strafe_keys: Left key, right key.
        yaw_keys: Key that turns left, key that turns right.
        pitch_limit_deg: Largest pitch either way.
        clamps_pitch: A step over the limit is cut to end on it; otherwise the whole step is refused.
        inertia: Velocities approach their target instead of jumping to it, and coast after release.
    """

    strafe_keys: tuple[str, str]
    yaw_keys: tuple[str, str]
    pitch_limit_deg: float
    clamps_pitch: bool
    inertia: bool


DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "pr379": Dialect(("a", "d"), ("j", "l"), pitch_limit_deg=85.0, clamps_pitch=False, inertia=False),
        "smoothed": Dialect(("j", "l"), ("a", "d"), pitch_limit_deg=60.0, clamps_pitch=True, inertia=True),
    }
)


def action_trajectory(
    action: str, *, dialect: str = "pr379", translation_speed: float = 0.05, rotation_speed_deg: float = 1.2
) -> Trajectory:
    """The camera path of an action string.

    Args:
        action: See `parse_action`.
        dialect: A name in `DIALECTS`.
        translation_speed: World units per frame.
        rotation_speed_deg: Degrees per frame, for yaw and pitch.

    Returns:
        N + 1 poses for N frames of action, the first one the identity, with the keys.

    Raises:
        UsageError: The action string is malformed.
    """
    held_keys = held_keys_per_frame(parse_action(action))
    c2w = roll_out(
        held_keys, DIALECTS[dialect], translation_speed=translation_speed, rotation_speed_deg=rotation_speed_deg
    )
    return Trajectory(c2w, held_keys)


def roll_out(
    held_keys: HeldKeys, dialect: Dialect, *, translation_speed: float, rotation_speed_deg: float
) -> NDArray[np.float32]:
    """Move a camera that starts at the identity.

    Walking stays level: forward and right are the camera's axes without their height. Turning is about the world's
    vertical, looking up and down about the camera's own x axis, so an orientation is `Ry(yaw) @ Rx(pitch)`.

    Args:
        held_keys: N frames.
        dialect: Key mapping and motion model.
        translation_speed: World units per frame.
        rotation_speed_deg: Degrees per frame.

    Returns:
        `c2w`, (N + 1, 4, 4) float32.
    """
    speeds = [translation_speed, translation_speed, np.radians(rotation_speed_deg), np.radians(rotation_speed_deg)]
    velocities = _targets(held_keys, dialect) * speeds
    if dialect.inertia:
        velocities = _with_inertia(held_keys, velocities)
    forward, right, yaw_steps, pitch_steps = velocities.T

    yaw = np.cumsum(yaw_steps)
    pitch = _limited_sum(pitch_steps, limit=float(np.radians(dialect.pitch_limit_deg)), clamps=dialect.clamps_pitch)
    sin_yaw, cos_yaw, sin_pitch, cos_pitch = np.sin(yaw), np.cos(yaw), np.sin(pitch), np.cos(pitch)
    forward = forward * cos_pitch / (np.abs(cos_pitch) + NORM_EPSILON)
    right = right / (1 + NORM_EPSILON)

    c2w = np.tile(np.eye(4), (len(held_keys) + 1, 1, 1))
    moved = c2w[1:]
    moved[:, 0, 0], moved[:, 0, 1], moved[:, 0, 2] = cos_yaw, sin_yaw * sin_pitch, sin_yaw * cos_pitch
    moved[:, 1, 1], moved[:, 1, 2] = cos_pitch, -sin_pitch
    moved[:, 2, 0], moved[:, 2, 1], moved[:, 2, 2] = -sin_yaw, cos_yaw * sin_pitch, cos_yaw * cos_pitch
    moved[:, 0, 3] = np.cumsum(forward * sin_yaw + right * cos_yaw)
    moved[:, 2, 3] = np.cumsum(forward * cos_yaw - right * sin_yaw)
    return c2w.astype(np.float32)


def _targets(held_keys: HeldKeys, dialect: Dialect) -> NDArray[np.float64]:
    """Where the keys pull, (N, 4) of -1, 0 or 1: forward, right, turn right, look up. Opposite keys cancel."""
    axes = (("s", "w"), dialect.strafe_keys, dialect.yaw_keys, ("k", "i"))
    return np.array([[float(up in keys) - float(down in keys) for down, up in axes] for keys in held_keys])


def _with_inertia(held_keys: HeldKeys, targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """First-order lag towards `targets`; pressing a new key jumps straight to the target on all axes at once."""
    velocities = np.empty_like(targets)
    velocity, held_before = np.zeros(4), frozenset[str]()
    for frame, (held, target) in enumerate(zip(held_keys, targets, strict=True)):
        if held - held_before:
            velocity = target
        else:
            time_constants = np.where(np.abs(target) > 1e-12, HELD_TIME_CONSTANT_S, RELEASED_TIME_CONSTANT_S)
            velocity = velocity + (1 - np.exp(-FRAME_TIME_S / time_constants)) * (target - velocity)
        velocities[frame] = velocity
        held_before = held
    return velocities


def _limited_sum(steps: NDArray[np.float64], *, limit: float, clamps: bool) -> NDArray[np.float64]:
    """Running sum that stays within ±`limit`: a step over it is cut short (`clamps`) or refused."""
    sums = np.empty_like(steps)
    total = 0.0
    for frame, step in enumerate(steps):
        if clamps:
            total = min(max(total + step, -limit), limit)
        elif abs(total + step) <= limit:
            total += step
        sums[frame] = total
    return sums
