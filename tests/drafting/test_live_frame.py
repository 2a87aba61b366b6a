"""The last frame of a path that is still being made is the one that the preview ends with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.conftest import draw_picture

from sana_wm.drafting.camera_view import ActionPath, view_of_motion
from sana_wm.drafting.live_frame import LIVE_WIDTH_PX, draw_last_frame, view_with_size
from sana_wm.errors import UsageError


def last_frame(picture: Path, action: str, *, width: int = 1280, height: int = 704) -> np.ndarray:
    view = view_of_motion(ActionPath(action, "pr379"), picture, 70.0)
    return draw_last_frame(view_with_size(view, width=width, height=height))


def test_it_has_the_video_s_proportions_and_shows_where_the_camera_is(tmp_path: Path) -> None:
    picture = draw_picture(tmp_path / "road.png")
    first, turned, back = (last_frame(picture, action) for action in ("none-1", "l-16", "l-16,j-16"))
    assert first.shape == (round(LIVE_WIDTH_PX * 704 / 1280), LIVE_WIDTH_PX, 3)
    assert np.abs(first.astype(int) - turned).mean() > 2
    assert np.abs(first.astype(int) - back).mean() < 1
    assert last_frame(picture, "w-8", width=704, height=1280).shape[:2] == (
        round(LIVE_WIDTH_PX * 1280 / 704),
        LIVE_WIDTH_PX,
    )


def test_another_picture_of_the_same_name_is_seen(tmp_path: Path) -> None:
    picture = draw_picture(tmp_path / "road.png")
    before = last_frame(picture, "w-8")
    from PIL import Image

    Image.new("RGB", (200, 120), "white").save(picture)
    assert last_frame(picture, "w-8").mean() > before.mean() + 50


def test_without_a_picture_there_is_none() -> None:
    with pytest.raises(UsageError, match="needs a picture"):
        draw_last_frame(view_of_motion(ActionPath("w-8", "pr379"), None, None))
