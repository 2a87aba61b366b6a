"""An action string of one dialect, written in another so that the camera takes the very same path."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.actions import Segment, held_keys_per_frame, parse_action
from sana_wm.camera.dialects import DIALECTS, Dialect, roll_out
from sana_wm.errors import UsageError

#: How near to its limit a pitch in float32 counts as stopped there.
ANGLE_TOLERANCE_DEG = 0.01


def convert_action(
    action: str, *, source: str, target: str, translation_speed: float, rotation_speed_deg: float
) -> str:
    """Write an action in another dialect; the poses are bit for bit the same.

    Keys are exchanged by what they do. A dialect with inertia coasts where keys are released, but jumps to what is
    held as soon as a new key goes down: there, a pair of keys that cancel each other is pressed for one frame.

    Args:
        action: In the dialect `source`.
        source: A name in `DIALECTS`.
        target: A name in `DIALECTS`.
        translation_speed: Scene units per frame, for both.
        rotation_speed_deg: Degrees per frame, for both.

    Returns:
        The action in the dialect `target`.

    Raises:
        UsageError: The action is malformed, or `target` cannot express the path; the first frame that differs is named.
    """
    segments = parse_action(action)
    from_dialect, to_dialect = DIALECTS[source], DIALECTS[target]
    exchanged = [Segment(_exchange(one.keys, from_dialect, to_dialect), one.num_frames) for one in segments]
    if to_dialect.inertia and not from_dialect.inertia:
        exchanged = _stopped_short(exchanged, to_dialect)
    wanted, got = (
        roll_out(
            held_keys_per_frame(ones),
            dialect,
            translation_speed=translation_speed,
            rotation_speed_deg=rotation_speed_deg,
        )
        for ones, dialect in ((segments, from_dialect), (exchanged, to_dialect))
    )
    differs = (wanted != got).any(axis=(1, 2))
    if differs.any():
        frame = int(differs.argmax())
        cause = _cause(wanted[frame], got[frame], from_dialect.pitch_limit_deg, to_dialect.pitch_limit_deg)
        raise UsageError(
            f"dialect {target} cannot express this path of dialect {source}",
            got=f"another pose from frame {frame} on, {cause}",
            expected="the same poses",
            next_step="Take the poses instead: sana-wm camera export, then camera.poses in the manifest.",
        )
    return ",".join(map(str, exchanged))


def _exchange(keys: frozenset[str], source: Dialect, target: Dialect) -> frozenset[str]:
    """Keys that do in `target` what `keys` do in `source`."""
    names = dict(zip((*source.strafe_keys, *source.yaw_keys), (*target.strafe_keys, *target.yaw_keys), strict=True))
    return frozenset(names.get(key, key) for key in keys)


def _stopped_short(segments: Sequence[Segment], dialect: Dialect) -> list[Segment]:
    """Segments whose motion begins at once: where no new key goes down, a pair that cancels does for a frame."""
    stopped: list[Segment] = []
    held_before = frozenset[str]()
    for segment in segments:
        if segment.keys == held_before or segment.keys - held_before:
            stopped.append(segment)
        else:
            pairs = (("i", "k"), dialect.strafe_keys, dialect.yaw_keys, ("w", "s"))
            usable = (frozenset(pair) for pair in pairs if not set(pair) & segment.keys and set(pair) - held_before)
            jumping = segment.keys | next(usable, frozenset())  # none is left only where all pairs are held
            stopped.append(Segment(jumping, 1))
            if segment.num_frames > 1:
                stopped.append(Segment(segment.keys, segment.num_frames - 1))
        held_before = stopped[-1].keys
    return stopped


def _cause(wanted: NDArray[np.float32], got: NDArray[np.float32], *limits_deg: float) -> str:
    """Why two poses differ: pitch stops at a limit in one dialect only, or the camera coasts in one only."""
    steepest_deg = np.degrees(np.arcsin(np.abs([wanted[1, 2], got[1, 2]]).max()))
    if steepest_deg > min(limits_deg) - ANGLE_TOLERANCE_DEG:
        return f"where pitch meets the limit, {limits_deg[0]:g} degrees in one and {limits_deg[1]:g} in the other"
    return "where the camera coasts after a release in one of them"
