from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sana_wm.errors import UsageError
from sana_wm.video.animation import write_animation


def noise(count: int) -> list[NDArray[np.uint8]]:
    """Frames that no codec makes small."""
    random = np.random.default_rng(0)
    return [random.integers(0, 255, (48, 80, 3), np.uint8) for _ in range(count)]


@pytest.mark.parametrize(("name", "every", "step_ms"), [("a.webp", 1, 62), ("a.gif", 2, 120)])
def test_the_motion_keeps_its_pace(tmp_path: Path, name: str, every: int, step_ms: int) -> None:
    """62 ms and not 62.5, 120 and not 125: what the formats can say."""
    written = write_animation(lambda: noise(16), tmp_path / name, fps=16)
    assert (written.num_frames, written.every) == (16 // every, every)
    with Image.open(tmp_path / name) as picture:
        picture.seek(1)
        picture.load()
        assert picture.info["duration"] == step_ms


def test_what_would_be_too_large_takes_fewer_frames(tmp_path: Path) -> None:
    whole = write_animation(lambda: noise(16), tmp_path / "whole.webp", fps=16)
    half = write_animation(lambda: noise(16), tmp_path / "half.webp", fps=16, most_bytes=whole.num_bytes - 1)
    assert (half.num_frames, half.every) == (8, 2)
    assert half.num_bytes < whole.num_bytes


def test_what_is_too_large_with_few_frames_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"too large for a page; got .* MB for 4 frames"):
        write_animation(lambda: noise(16), tmp_path / "a.webp", fps=16, most_bytes=1000)
    assert list(tmp_path.iterdir()) == []
