"""A camera path: poses, the keys that made them, and how many frames a video can take from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.actions import MAX_ACTION_FRAMES, HeldKeys
from sana_wm.errors import UsageError
from sana_wm.variants import BIDIRECTIONAL, ReleasedModel

#: The longest action's poses: 1024 latent frames.
MAX_NUM_FRAMES = MAX_ACTION_FRAMES + 1


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A camera path.

    Attributes:
        c2w: (F, 4, 4) float32, camera-to-world, OpenCV axes; as made or read, the first is the identity.
        held_keys: The F - 1 frames' keys, where an action string made the path: `held_keys[i]` led from pose i to
            pose i + 1.
    """

    c2w: NDArray[np.float32]
    held_keys: HeldKeys | None = None

    def __len__(self) -> int:
        """How many poses there are."""
        return len(self.c2w)

    def first(self, num_frames: int, *, model: ReleasedModel = BIDIRECTIONAL) -> Trajectory:
        """The part that a video of `num_frames` takes; `model` as in `valid_num_frames_near`.

        Raises:
            UsageError: `num_frames` is none that can be made, or more than there are poses; the nearest are named.
        """
        check_num_frames(num_frames, available=len(self), model=model)
        return Trajectory(self.c2w[:num_frames], self.held_keys and self.held_keys[: num_frames - 1])

    def without_first(self, count: int) -> Trajectory:
        """The path from pose `count` on, for a video whose first `count` frames were dropped."""
        return Trajectory(self.c2w[count:], self.held_keys and self.held_keys[count:])


def valid_num_frames_near(num_frames: int, *, available: int, model: ReleasedModel = BIDIRECTIONAL) -> tuple[int, ...]:
    """The valid video lengths next to `num_frames`.

    Args:
        num_frames: Wanted length; itself the answer if valid.
        available: Poses at hand, the upper bound.
        model: That makes it.

    Returns:
        Nearest first, of two equally near ones the longer first; one, two or, where the path is too short, none.
    """
    least, step = model.least_frames, model.frames_step
    if available < least:
        return ()
    available = min(available, MAX_NUM_FRAMES)
    longest = available - (available - 1) % step
    wanted = min(max(num_frames, least), longest)
    below = wanted - (wanted - 1) % step
    candidates = {below} if below == wanted else {below, below + step}
    return tuple(sorted(candidates, key=lambda length: (abs(length - num_frames), -length)))


def check_num_frames(num_frames: int, *, available: int, model: ReleasedModel = BIDIRECTIONAL) -> None:
    """Refuse a video length that the model or the camera path cannot give; arguments as of `valid_num_frames_near`.

    Raises:
        UsageError: Names the nearest valid lengths.
    """
    near = valid_num_frames_near(num_frames, available=available, model=model)
    if num_frames in near:
        return
    if not near:
        raise UsageError(
            "the camera path is too short for a video",
            got=f"{available} poses",
            expected=f"{model.least_frames} or more",
            next_step="Lengthen the path: an action of N frames gives N + 1 poses, "
            f"so {model.least_frames - 1} or more.",
        )
    raise UsageError(
        f"num_frames must be {model.frames_step}k + 1, {MAX_NUM_FRAMES} at most, "
        f"and the camera path has {available} poses",
        got=num_frames,
        expected=" or ".join(map(str, near)),
        next_step=f"Set num_frames to {near[0]}, or change the camera path.",
    )
