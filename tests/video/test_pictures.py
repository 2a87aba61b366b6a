from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sana_wm.durable import make_part
from sana_wm.video.contact_sheet import ContactSheet
from sana_wm.video.frame_folder import FrameFolder
from sana_wm.video.overlay import Overlay


def test_a_contact_sheet_shows_the_first_and_the_last_frame(tmp_path, frames):
    sheet = ContactSheet(num_frames=40, fps=16, columns=3, rows=2, thumbnail_width=48)
    for start in range(0, 40, 7):
        sheet.put(frames[start : start + 7])
    sheet.write(tmp_path / "contact_sheet.png")
    assert sorted(sheet.thumbnails) == [0, 8, 16, 23, 31, 39]
    with Image.open(tmp_path / "contact_sheet.png") as picture:
        assert picture.size == (3 * (48 + 6) + 6, 2 * (32 + 6 + 6) + 6)
        first = np.asarray(picture)[6 : 6 + 32, 6 : 6 + 48]
    assert np.abs(first - frames[0].reshape(32, 2, 48, 2, 3).mean((1, 3))).max() <= 1
    assert [path.name for path in tmp_path.iterdir()] == ["contact_sheet.png"]


def test_a_contact_sheet_of_one_frame(tmp_path, frames):
    sheet = ContactSheet(num_frames=1, fps=16)
    sheet.put(frames[:1])
    sheet.write(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.width == 400 + 2 * 6


def test_the_times_on_a_sheet_can_be_read_on_a_telephone(tmp_path):
    sheet = ContactSheet(num_frames=961, fps=16)
    assert len(sheet.chosen) == 12  # however long the video is
    frame, unseen = np.full((1, 352, 640, 3), 128, np.uint8), np.empty((1, 1, 1, 3), np.uint8)
    for index in range(961):
        sheet.put(frame if index in sheet.chosen else unseen)
    sheet.write(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as picture:
        levels = np.asarray(picture.convert("L")).astype(int)
        scale = 368 / picture.width
    label = levels[6 + 220 : 6 + 220 + 50, 6:406]  # beneath the first picture
    rows = np.nonzero((label > 120).any(axis=1))[0]
    assert (rows[-1] - rows[0] + 1) * scale > 7.5  # the height of a digit, in px of a window 400 px wide


def test_frames_become_numbered_pictures(tmp_path, frames):
    folder = FrameFolder(tmp_path / "frames", first_frame=7)
    folder.put(frames[:2])
    folder.put(frames[2:3])
    assert sorted([path.name for path in (tmp_path / "frames").iterdir()]) == ["00007.png", "00008.png", "00009.png"]
    with Image.open(tmp_path / "frames" / "00009.png") as picture:
        assert np.array_equal(np.asarray(picture), frames[2])


def test_what_a_kill_left_of_a_frame_goes_and_what_is_not_ours_stays(tmp_path):
    left = make_part(tmp_path / "00003.png")
    (tmp_path / ".mine.part.png").touch()
    with FrameFolder(tmp_path):
        assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == [".mine.part.png"]


HELD = {"W": (True, False, False, False), "A": (False, True, False, False), "none": (False,) * 4}


def draw(keys=HELD["none"], yaw=0.0, pitch=0.0, width=640, height=352):
    overlay = Overlay(np.array([keys]), np.array([yaw]), np.array([pitch]), width=width, height=height)
    frames = np.full((1, height, width, 3), 128, np.uint8)
    overlay.draw(frames, 0)
    return overlay, frames[0].astype(int)


def knob_shift(**turn):
    """(rightwards, downwards) shift of the light between a turn and rest, in pixels."""
    overlay, rest = draw()
    _, turned = draw(**turn)
    light = np.clip(turned - rest, 0, None).sum(-1)
    rows, columns = np.nonzero(light > 100)
    centre_x, centre_y = overlay.left + overlay.disc_centre[0], overlay.top + overlay.disc_centre[1]
    return columns.mean() - centre_x, rows.mean() - centre_y


def test_looking_up_moves_the_knob_up_and_turning_right_moves_it_right():
    assert knob_shift(pitch=1.0)[1] < -3
    assert knob_shift(pitch=-1.0)[1] > 3
    assert knob_shift(yaw=1.0)[0] > 3
    assert knob_shift(yaw=-1.0)[0] < -3


def test_a_held_key_lights_its_own_tile():
    _, rest = draw()
    for key, (column, row) in {"W": (1, 0), "A": (0, 1)}.items():
        overlay, held = draw(HELD[key])
        rows, columns = np.nonzero(np.abs(held - rest).sum(-1))
        left = overlay.left + overlay.edge + column * (overlay.tile + overlay.gap)
        top = overlay.top + overlay.edge + row * (overlay.tile + overlay.gap)
        assert left - 1 <= columns.min()
        assert columns.max() <= left + overlay.tile + 1
        assert top - 1 <= rows.min()
        assert rows.max() <= top + overlay.tile + 1
        assert held[round(top + 0.15 * overlay.tile), round(left + overlay.tile / 2)].mean() > 200


@pytest.mark.parametrize(("width", "height"), [(1280, 704), (640, 352), (96, 64), (64, 32)])
def test_only_the_panel_in_its_corner_is_touched(width, height):
    overlay, drawn = draw(HELD["W"], 0.5, 0.5, width, height)
    rows, columns = np.nonzero((drawn != 128).any(-1))
    assert columns.min() >= overlay.left
    assert columns.max() < overlay.left + overlay.size[0] <= width
    assert rows.min() >= overlay.top >= 0
    assert rows.max() < overlay.top + overlay.size[1] <= height


def test_frames_beyond_the_trajectory_show_its_last_state():
    keys = np.array([HELD["W"], HELD["A"]])
    overlay = Overlay(keys, np.zeros(2), np.zeros(2), width=640, height=352)
    frames = np.full((3, 352, 640, 3), 128, np.uint8)
    overlay.draw(frames, 1)
    assert np.array_equal(frames[0], draw(HELD["A"])[1])
    assert np.array_equal(frames[0], frames[2])
