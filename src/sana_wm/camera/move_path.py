"""The camera path of named moves: an action where keys do exactly the same, else poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.actions import MAX_ACTION_FRAMES, Segment
from sana_wm.camera.description import headings_deg
from sana_wm.camera.dialects import DIALECTS, action_trajectory
from sana_wm.camera.moves import MOVE_STEP, MOVE_TURN_DEG, Move, parse_moves
from sana_wm.camera.trajectory import Trajectory
from sana_wm.errors import UsageError

Array = NDArray[np.float64]

#: The dialect whose keys start and stop at once, as moves do.
DIALECT = "pr379"


@dataclass(frozen=True, eq=False)
class MovePath:
    """A camera path made of named moves.

    Attributes:
        moves: Each with its number of frames.
        fps: Frames a second.
        trajectory: N + 1 poses for N frames; the first one is where it starts.
        action: That does exactly the same in the dialect `pr379` at the speeds below, or `None`: it takes poses.
        translation_speed: Scene units per frame, of `action`.
        rotation_speed_deg: Degrees per frame, of `action`.
    """

    moves: tuple[Move, ...]
    fps: int
    trajectory: Trajectory
    action: str | None
    translation_speed: float
    rotation_speed_deg: float

    @property
    def num_frames(self) -> int:
        """N."""
        return len(self.trajectory) - 1

    @property
    def told(self) -> str:
        """What it takes, in words."""
        each = ", ".join(f"{move.name} {move.num_frames}" for move in self.moves)
        return f"the moves take {self.num_frames} frames, {self.num_frames / self.fps:g} s at {self.fps} fps: {each}"


def resolve_move(
    text: str, fps: int = 16, *, num_frames: int | None = None, start: NDArray[np.floating] | None = None
) -> MovePath:
    """The camera path of named moves.

    Args:
        text: See `sana_wm.camera.moves`.
        fps: Frames a second.
        num_frames: Frames of the whole way, one fewer than its poses: what those with a time leave of it is shared
            among those without, the first ones a frame longer where it does not divide. The others' times stay as
            they are.
        start: (4, 4) camera-to-world pose that the way starts from, in a world whose -y is up; the identity if left
            out.

    Raises:
        UsageError: A move is none, has no time where `num_frames` gives none, or looks up or down too far.
    """
    moves = _timed(parse_moves(text, fps=fps), num_frames, fps)
    first = np.eye(4) if start is None else start.astype(np.float64)
    poses = _roll_out(moves, first)
    speeds = _common_speeds(moves)
    if speeds is None:
        usual = float(MOVE_STEP), float(MOVE_TURN_DEG)
        return MovePath(moves, fps, Trajectory(poses.astype(np.float32)), None, *usual)
    action = ",".join(str(_segment(move)) for move in moves)
    as_keys = action_trajectory(action, dialect=DIALECT, translation_speed=speeds[0], rotation_speed_deg=speeds[1])
    trajectory = as_keys if start is None else Trajectory(poses.astype(np.float32), as_keys.held_keys)
    return MovePath(moves, fps, trajectory, action, *speeds)


def _timed(moves: Sequence[Move], num_frames: int | None, fps: int) -> tuple[Move, ...]:
    """The moves with their times."""
    timed = sum(move.num_frames or 0 for move in moves)
    waiting = [number for number, move in enumerate(moves) if move.num_frames is None]
    if waiting:
        left = None if num_frames is None else num_frames - timed
        if left is None or left < len(waiting):
            raise UsageError(
                f"move {waiting[0] + 1} of {len(moves)}, {moves[waiting[0]].name}, has no time",
                got="nothing that says how long" if left is None else f"{max(left, 0)} frames that the others leave",
                expected="a time for each move, or a length of the whole that leaves some",
                next_step=f"Write for example {moves[waiting[0]].name}:2s, which is {2 * fps} frames.",
            )
        share, rest = divmod(left, len(waiting))
        times = {number: share + (place < rest) for place, number in enumerate(waiting)}
        moves = [replace(move, num_frames=times.get(number, move.num_frames)) for number, move in enumerate(moves)]
    total = sum(move.num_frames or 0 for move in moves)
    if total > MAX_ACTION_FRAMES:
        raise UsageError(
            "the moves take too many frames together",
            got=total,
            expected=f"{MAX_ACTION_FRAMES} at most",
            next_step="Shorten them: the model's position table ends there.",
        )
    return tuple(moves)


def _common_speeds(moves: Sequence[Move]) -> tuple[float, float] | None:
    """Scene units and degrees a frame, where keys do all the moves and one speed of each kind serves them."""
    travelling = {move.speed for move in moves if move.kind.travels} or {Decimal(1)}
    turning = {move.speed for move in moves if move.kind.turns} or {Decimal(1)}
    if any(move.kind.key is None for move in moves) or len(travelling) > 1 or len(turning) > 1:
        return None
    return float(MOVE_STEP * travelling.pop()), float(MOVE_TURN_DEG * turning.pop())


def _segment(move: Move) -> Segment:
    assert move.num_frames is not None  # `_timed` sees to it
    key = move.kind.key
    return Segment(frozenset() if key in (None, "none") else frozenset(key), move.num_frames)


def _roll_out(moves: Sequence[Move], start: Array) -> Array:
    """Poses (N + 1, 4, 4): turning about the vertical, looking up and down about the camera's own x axis."""
    forward, right, up, yaw_steps, pitch_steps = np.concatenate(
        [np.tile(_step(move), (move.num_frames or 0, 1)) for move in moves]
    ).T
    yaw, pitch = np.cumsum(yaw_steps), np.cumsum(pitch_steps)
    (start_yaw_deg,), (start_pitch_deg,) = headings_deg(start[None])
    _require_level(moves, start_pitch_deg + np.degrees(pitch))
    heading = np.radians(start_yaw_deg) + yaw - yaw_steps / 2  # a chord of a circle leads half way between its ends
    poses = np.tile(start, (len(yaw) + 1, 1, 1))
    moved = poses[1:]
    moved[:, :3, :3] = _about_vertical(yaw) @ start[:3, :3] @ _about_x(pitch)
    moved[:, 0, 3] += np.cumsum(forward * np.sin(heading) + right * np.cos(heading))
    moved[:, 1, 3] -= np.cumsum(up)
    moved[:, 2, 3] += np.cumsum(forward * np.cos(heading) - right * np.sin(heading))
    return poses


def _step(move: Move) -> Array:
    """What a move does in a frame: forward, right, up in scene units; yaw, pitch in radians."""
    kind, step, turn = move.kind, move.step, np.radians(move.turn_deg)
    if move.distance is not None:
        step = 2 * float(move.distance) * np.sin(turn / 2)  # the chord of its arc
    return np.array([kind.forward * step, kind.right * step, kind.up * step, kind.yaw * turn, kind.pitch * turn])


def _require_level(moves: Sequence[Move], pitch_deg: Array) -> None:
    limit = DIALECTS[DIALECT].pitch_limit_deg
    over = np.flatnonzero(np.abs(pitch_deg) > limit + 1e-6)
    tilting = next((move for move in moves if move.kind.pitch), None)
    if not over.size or tilting is None:  # where nothing tilts, it was over the limit before
        return
    raise UsageError(
        f"the moves look {'up' if pitch_deg[over[0]] > 0 else 'down'} too far",
        got=f"{np.abs(pitch_deg).max():.4g} degrees, over the limit from frame {over[0] + 1} on",
        expected=f"{limit:g} degrees at most",
        next_step="Shorten or slow down the tilt.",
    )


def _about_vertical(angles: Array) -> Array:
    """Rotations (N, 3, 3) that turn to the right."""
    turned = np.tile(np.eye(3), (len(angles), 1, 1))
    turned[:, 0, 0] = turned[:, 2, 2] = np.cos(angles)
    turned[:, 0, 2], turned[:, 2, 0] = np.sin(angles), -np.sin(angles)
    return turned


def _about_x(angles: Array) -> Array:
    """Rotations (N, 3, 3) that look up."""
    turned = np.tile(np.eye(3), (len(angles), 1, 1))
    turned[:, 1, 1] = turned[:, 2, 2] = np.cos(angles)
    turned[:, 1, 2], turned[:, 2, 1] = -np.sin(angles), np.sin(angles)
    return turned
