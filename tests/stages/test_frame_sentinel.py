"""The sentinel as the decode uses it, on videos of pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.stages.sentinel_cases import Case, as_frame, changed, drift, verdict

SMALL = drift(96, 160, 65)
NOISE = np.random.default_rng(3).integers(0, 256, (704, 1280, 3), dtype=np.uint8)


def with_garbage(frame):
    spoilt = frame.copy()
    spoilt[32:64, 64:128] = NOISE[:32, :64]
    return spoilt


@pytest.mark.parametrize("begin", [0, 30, 45])
def test_the_verdict_does_not_depend_on_where_a_decode_was_interrupted(tmp_path: Path, begin: int) -> None:
    case = Case(changed(SMALL, with_garbage, begin), SMALL)
    whole = verdict(case, tmp_path)
    assert whole
    assert "colour noise" in whole[0]
    assert verdict(case, tmp_path, resumed_after=1) == whole
    assert verdict(Case(SMALL, SMALL), tmp_path, resumed_after=1) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame[..., ::-1], "channels in the order BGR"),
        (lambda frame: frame[::-1], "upside down"),
        (lambda frame: frame[:, ::-1], "mirrored"),
        (lambda frame: np.roll(frame, 32, 0), "rows shifted by about 32 pixels"),
        (lambda frame: 255 - frame, "a negative"),
        (lambda frame: as_frame(127 + 0.2 * (frame - 127.0)), "contrast times 0.2"),
        (lambda frame: frame * 0 + np.uint8(127), "do not show the input picture"),
    ],
    ids=["swapped channels", "flipped", "mirrored", "shifted", "negative", "wrong scale", "grey"],
)
def test_a_first_frame_unlike_its_picture_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    assert said in verdict(Case(changed(SMALL, change, 0), SMALL), tmp_path)[0]


def test_random_weights_need_not_show_the_picture(tmp_path: Path) -> None:
    noise = [as_frame(np.random.default_rng(t).normal(127, 42, (96, 160, 3))) for t in range(41)]
    assert verdict(Case(noise, SMALL[:41]), tmp_path, knows_pictures=False) == []


def test_what_the_picture_shows_itself_is_no_fault(tmp_path: Path) -> None:
    """A picture of a screen without a signal; the same in a picture of a street is one."""
    screens = changed(SMALL, with_garbage, 0)
    assert verdict(Case(screens, screens), tmp_path) == []
    assert verdict(Case(screens, SMALL), tmp_path) != []


def test_a_picture_that_is_gone_is_not_held_against_the_video(tmp_path: Path) -> None:
    case = Case(changed(SMALL, lambda frame: frame[::-1], 0), SMALL)
    assert verdict(case, tmp_path) != []
    assert verdict(case, tmp_path, keeps_picture=False) == []
