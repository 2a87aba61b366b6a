"""Cameras that can be computed and are hardly meant: data in, words out, with numbers and the likely cause.

Each function returns one string a doubt, none where all is plausible. Only `require_pixels` refuses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.actions import Segment
from sana_wm.camera.dialects import Dialect
from sana_wm.camera.field_of_view import doubt_about, field_of_view_deg, plausible_deg
from sana_wm.camera.moves import MOVE_STEP, MOVE_TURN_DEG, Move
from sana_wm.camera.rigid import rigid_inverse
from sana_wm.errors import UsageError

Array = NDArray[np.float64]

#: What the model was trained with: frames a second, and a walk's step in scene units (the demos have 0.0175 and 0.055).
TRAINED_FPS = 16
USUAL_STEP = 0.05
#: A step is worth a word from this many times the usual one on, or from this part of it down.
STEP_FACTOR = 4.0
#: What a step's size says of its unit, as parts of a metre.
UNITS = ((1000.0, "millimetres"), (100.0, "centimetres"))
#: Steps below this are standing still: the grid of poses leaves 5e-7.
STANDING = 1e-5
#: A jump: this many of the path's usual steps, or this many degrees, between two poses.
JUMP_STEPS, JUMP_DEG = 10.0, 30.0
#: Shares of the way that lead forwards: below the first, a path moves against its view; below the second it is not
#: clearly forwards, and another reading that is, by the third, was probably meant.
AGAINST_VIEW, NOT_FORWARDS, FORWARDS = -0.5, 0.5, 0.95

#: How far from the picture's middle a principal point may lie, as a share of its width or height.
OFF_CENTRE = 0.1
#: How far fx / fy may be from 1: sensors have square pixels (the demos have 0.96).
ANISOTROPY = 0.1
#: How much a focal length may change from one frame to the next: quicker than any zoom.
ZOOM_A_FRAME = 0.1
#: Focal lengths and principal points below these are no pixels, but shares of a picture's size.
NORMALISED_FOCAL, NORMALISED_POINT = 20.0, 2.0


def doubts_about_fps(fps: int) -> list[str]:
    """About a video's frame rate."""
    if fps == TRAINED_FPS:
        return []
    return [
        f"the model was trained at {TRAINED_FPS} frames a second; at {fps} the camera passes its path "
        f"{fps / TRAINED_FPS:.2g} times as quickly, and the refiner's time axis changes"
    ]


def doubts_about_action(segments: Sequence[Segment], dialect: Dialect) -> list[str]:
    """About keys of one segment that cancel each other.

    With inertia a pair that is held for one frame is a way to stop: `camera convert` writes it.
    """
    pairs = (("w", "s"), dialect.strafe_keys, dialect.yaw_keys, ("i", "k"))
    return [
        f"segment {number}, {segment}: {one} and {other} cancel each other"
        for number, segment in enumerate(segments, start=1)
        for one, other in pairs
        if {one, other} <= segment.keys and not (dialect.inertia and segment.num_frames == 1)
    ]


def doubts_about_moves(moves: Sequence[Move]) -> list[str]:
    """About moves that are much quicker or slower than what the model was shown."""
    doubts: list[str] = []
    for number, move in enumerate(moves, start=1):
        for amount, usual, words in (
            (move.step, float(MOVE_STEP), "goes {:.3g} scene units"),
            (move.turn_deg, float(MOVE_TURN_DEG), "turns {:.3g} degrees"),
        ):
            slow = amount < usual / STEP_FACTOR and not move.kind.orbits  # a wide orbit turns slowly
            if amount and (slow or amount > usual * STEP_FACTOR):
                doubts.append(
                    f"move {number}, {move.name}, {words.format(amount)} a frame, {amount / usual:.2g} times the usual "
                    f"{usual:g}: is it meant? @1 is the usual speed"
                )
    return doubts


def doubts_about_length(num_poses: int, num_frames: int) -> list[str]:
    """About poses that a video does not use."""
    if num_poses <= num_frames:
        return []
    return [
        f"the video takes the first {num_frames} of its {num_poses} poses; the last {num_poses - num_frames} go unused"
    ]


def doubts_about_path(c2w: NDArray[np.floating]) -> list[str]:
    """About the size of steps, and jumps.

    Args:
        c2w: (F, 4, 4), one a frame of the video.
    """
    poses = c2w.astype(np.float64)
    lengths = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    moving = lengths[lengths > STANDING]
    doubts: list[str] = []
    usual = float(np.median(moving)) if moving.size else USUAL_STEP
    ratio = usual / USUAL_STEP
    if not 1 / STEP_FACTOR <= ratio <= STEP_FACTOR:
        unit = next((name for factor, name in UNITS if factor / 3 < ratio < factor * 3), None)
        cause = (
            f"are its positions in {unit}?" if unit else "are its positions in another unit, or of another frame rate?"
        )
        times = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"
        doubts.append(f"it moves {usual:.3g} scene units a frame, {times} times the usual {USUAL_STEP:g}: {cause}")
    jumps = np.flatnonzero(lengths > JUMP_STEPS * usual)
    if jumps.size:
        first = int(jumps[0])
        doubts.append(
            f"it jumps {lengths[first]:.3g} scene units from pose {first} to {first + 1}, {lengths[first] / usual:.0f} "
            f"times its usual step{_further(jumps.size)}: were poses lost, or two paths joined?"
        )
    cosines = (np.trace(np.swapaxes(poses[:-1, :3, :3], 1, 2) @ poses[1:, :3, :3], axis1=1, axis2=2) - 1) / 2
    turns_deg = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    turns = np.flatnonzero(turns_deg > JUMP_DEG)
    if turns.size:
        first = int(turns[0])
        doubts.append(
            f"it turns {turns_deg[first]:.0f} degrees from pose {first} to {first + 1}{_further(turns.size)}: were "
            "poses lost, or axes exchanged?"
        )
    return doubts


def doubts_about_convention(c2w: Array, read_as: str) -> list[str]:
    """About poses that move against their view, as those of another convention do.

    Args:
        c2w: (F, 4, 4) as read, in the file's world: the other reading depends on it.
        read_as: The convention that was assumed.
    """
    share = forward_share(c2w)
    if share is None or share >= NOT_FORWARDS:
        return []
    if share < AGAINST_VIEW:
        others = {"opencv_c2w": "OpenCV axes", "opengl_c2w": "OpenGL axes", "opencv_w2c": "world-to-camera"}
        causes = ", or ".join(f"{words} ({name})" for name, words in others.items() if name != read_as)
        return [
            f"it moves against its view, {-share:.0%} of its way backwards, read as {read_as}: is it in {causes}? "
            "camera.poses_convention says so; if it backs away on purpose, all is well"
        ]
    inverse = forward_share(rigid_inverse(c2w))
    if inverse is not None and inverse > FORWARDS:
        other = "opencv_c2w" if read_as == "opencv_w2c" else "opencv_w2c"
        return [
            f"it hardly looks where it goes, {share:.0%} of its way forwards, read as {read_as}; as {other} it would, "
            f"{inverse:.0%}: is it in that convention? camera.poses_convention says so"
        ]
    return []


def forward_share(c2w: Array) -> float | None:
    """How much of its way a camera moves along its view, -1 to 1; `None` where it stands still."""
    steps = np.diff(c2w[:, :3, 3], axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    if not (lengths > STANDING).any():
        return None
    return float((steps * c2w[:-1, :3, 2]).sum() / lengths.sum())


def require_pixels(rows: NDArray[np.floating], picture_size: tuple[int, int]) -> None:
    """Refuse intrinsics that cannot be pixels of the input image.

    Args:
        rows: (F, 4) `[fx, fy, cx, cy]`, one a frame.
        picture_size: Width, height of the input image, in pixels.

    Raises:
        UsageError: They are shares of its size, or the first principal point, which is the image's own, lies outside.
    """
    fx, fy, cx, cy = map(float, rows[0])
    width, height = picture_size
    if max(fx, fy) < NORMALISED_FOCAL and max(abs(cx), abs(cy)) < NORMALISED_POINT:
        raise UsageError(
            "intrinsics are normalised, not in pixels",
            got=[round(number, 6) for number in (fx, fy, cx, cy)],
            expected=f"pixels of the input image, {width}x{height}",
            next_step=f"Multiply fx and cx by its width, {width}, and fy and cy by its height, {height}.",
        )
    if not (0 <= cx <= width and 0 <= cy <= height):
        raise UsageError(
            "the principal point lies outside the input image",
            got=f"cx {cx:g}, cy {cy:g}",
            expected=f"a point in {width}x{height}, mostly its middle",
            next_step=_other_size(cx, cy, picture_size) or "Give fx, fy, cx, cy in pixels of the input image.",
        )


def doubts_about_lens(rows: NDArray[np.floating], picture_size: tuple[int, int]) -> list[str]:
    """About the principal point, fx / fy and changes from frame to frame, over every row.

    Args:
        rows: (F, 4) `[fx, fy, cx, cy]`, one a frame.
        picture_size: Width, height of the input image, in pixels.
    """
    width, height = picture_size
    values = rows.astype(np.float64)
    doubts: list[str] = []
    off_centre = np.abs(values[:, 2:] / (width, height) - 0.5).max(axis=1)
    if off_centre.max() > OFF_CENTRE:
        row = int((off_centre > OFF_CENTRE).argmax())
        _, _, cx, cy = values[row].tolist()
        cause = _other_size(cx, cy, picture_size) or "They are in pixels of the input image."
        where = f" in row {row}" if row else ""
        doubts.append(f"a principal point{where} at {cx:g}, {cy:g}, far from the middle of {width}x{height}. {cause}")
    ratios = values[:, 0] / values[:, 1]
    if (odd := np.abs(np.log(ratios)) > np.log1p(ANISOTROPY)).any():
        row = int(odd.argmax())
        where = f" in row {row}" if row else ""
        doubts.append(
            f"fx / fy{where} is {ratios[row]:.3g}, and pixels are square: were they scaled by width and height apart?"
        )
    changes = np.abs(np.diff(np.log(values[:, :2]), axis=0)).max(axis=1, initial=0)
    if (jumps := np.flatnonzero(changes > np.log1p(ZOOM_A_FRAME))).size:
        first = int(jumps[0])
        doubts.append(
            f"fx jumps from {values[first, 0]:g} in row {first} to {values[first + 1, 0]:g} in row {first + 1}"
            f"{_further(jumps.size)}: are the rows of one picture size?"
        )
    return doubts


def doubts_about_view(cropped: NDArray[np.floating], *, height: int, width: int) -> list[str]:
    """About the fields of view of every row, the widest or narrowest first.

    Args:
        cropped: (F, 4) `[fx, fy, cx, cy]` in pixels of the video.
        height: Of the video, in pixels.
        width: Of the video, in pixels.
    """
    distinct = np.unique(cropped, axis=0)
    views = np.array([field_of_view_deg(row, width=width, height=height) for row in distinct.tolist()])
    first = field_of_view_deg(cropped[0].tolist(), width=width, height=height)
    doubts: list[str] = []
    plausible_across, (low, high) = plausible_deg(width=width, height=height)
    across = [
        doubt
        for angle in (first[0], views[:, 0].max(), views[:, 0].min())
        if (doubt := doubt_about(float(angle), plausible_across))
    ]
    doubts += across[:1]
    odd = [angle for angle in (first[1], views[:, 1].max(), views[:, 1].min()) if not low <= angle <= high]
    if odd:
        doubts.append(f"a field of view of {odd[0]:.1f} degrees from top to bottom, outside {low:g} to {high:g}")
    return [f"{doubt}; they are in pixels of the input image" for doubt in doubts]


def _other_size(cx: float, cy: float, picture_size: tuple[int, int]) -> str | None:
    """Of which picture a principal point would be the middle, if that has the image's proportions."""
    width, height = picture_size
    if min(cx, cy) <= 0:
        return None
    if abs(2 * cx / height - 1) < OFF_CENTRE and abs(2 * cy / width - 1) < OFF_CENTRE:
        return "Width and height look exchanged: was the picture turned?"
    if abs(np.log(cx / cy * height / width)) > np.log1p(OFF_CENTRE):
        return None
    factor = width / (2 * cx)
    return f"They look like those of a picture of {2 * cx:.0f}x{2 * cy:.0f}: multiply all four by {factor:.3g}."


def _further(count: int) -> str:
    return f", and at {count - 1} further places" if count > 1 else ""
