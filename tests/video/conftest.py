"""Moving test frames, small enough that ffmpeg's start is most of the time."""

from __future__ import annotations

import numpy as np
import pytest

WIDTH, HEIGHT = 96, 64


@pytest.fixture
def frames():
    """40 frames of a drifting colour gradient, uint8 (40, 64, 96, 3)."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    shades = [
        np.stack([columns * 2 + 3 * time, rows * 3 + time, (rows + columns) + 5 * time], axis=-1) for time in range(40)
    ]
    return (np.abs(np.stack(shades) % 510 - 255)).astype(np.uint8)


@pytest.fixture
def size():
    """Encoder options that every video of these frames needs."""
    return {"width": WIDTH, "height": HEIGHT, "fps": 16, "preset": "ultrafast"}
