from __future__ import annotations

import numpy as np
import pytest

from sana_wm.camera.motion import ALL_KEYS
from sana_wm.video.preview_overlay import PreviewOverlay, time_code


def drawn(held: str, *, width: int = 640, height: int = 352) -> np.ndarray:
    keys = np.array([[key in held for key in ALL_KEYS]] * 2)
    frame = np.full((height, width, 3), 100, np.uint8)
    PreviewOverlay(keys, fps=16, width=width, height=height).draw(frame, 0)
    return frame


@pytest.mark.parametrize(("key", "column", "row"), [("w", 0, 0), ("a", 0, 1), ("i", 1, 0), ("l", 1, 1)])
def test_a_held_key_is_bright_in_its_place(key: str, column: int, row: int) -> None:
    bright = (drawn(key).astype(int) - drawn("")).max(axis=2) > 60
    rows, columns = np.nonzero(bright)
    assert bright.any()
    assert (columns.mean() > 320) == bool(column)
    assert (rows.mean() > 300) == bool(row)


@pytest.mark.parametrize(("width", "height"), [(640, 352), (640, 1164), (640, 640), (640, 90)])
def test_it_stays_in_its_corners_whatever_the_shape(width: int, height: int) -> None:
    changed = (drawn("w", width=width, height=height) != 100).any(axis=2)
    assert changed.any()
    assert changed.mean() < 0.3
    assert not changed[:, width // 2 - 10 : width // 2 + 10].all()


def test_a_time_code_says_minutes_seconds_and_hundredths() -> None:
    assert [time_code(index, 16) for index in (0, 1, 321, 961)] == ["00:00.00", "00:00.06", "00:20.06", "01:00.06"]
