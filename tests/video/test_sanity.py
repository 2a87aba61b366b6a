"""Frames that a camera could have seen pass; frames that only arithmetic makes are named."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from sana_wm.errors import HandoffError
from sana_wm.video.frame_record import pack_statistics, read_statistics
from sana_wm.video.sanity import Finding, FrameStatistics, SanityLimits, judge_frames, measure_frame, warn_of_frames

HEIGHT, WIDTH = 256, 384
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def grey(luma):
    return np.repeat(np.clip(luma, 0, 255).round()[..., None], 3, -1).astype(np.uint8)


SCENE = grey(90 + 40 * np.sin(COLUMNS / 23) + 30 * np.sin(ROWS / 17) + RNG.normal(0, 4, (HEIGHT, WIDTH)))
FLAT = np.zeros((HEIGHT, WIDTH))


def covered(picture, rows, columns, value):
    changed = picture.copy()
    changed[rows, columns] = value
    return changed


def dots(share, luma, ground):
    return grey(np.where(np.random.default_rng(1).random((HEIGHT, WIDTH)) < share, luma, ground))


LEGITIMATE = {
    "starry night": dots(0.001, 255, 2),
    "crushed black": grey(FLAT),
    "fog": grey(FLAT + 200),
    "white page": grey(np.where((COLUMNS % 97 < 2) & (ROWS % 53 < 20), 0, 255)),
    "letterbox on the grid": covered(covered(SCENE, slice(0, 32), slice(None), 0), slice(224, 256), slice(None), 0),
    "pillarbox on the grid": covered(covered(SCENE, slice(None), slice(0, 64), 0), slice(None), slice(320, 384), 0),
    "silhouette from the middle down": covered(SCENE, slice(128, 256), slice(None), 0),
    "dark doorway off the grid": covered(SCENE, slice(40, 256), slice(75, 200), 0),
    "neon sign": covered(grey(FLAT), slice(100, 150), slice(90, 200), (255, 0, 0)),
    "snowfall": dots(0.05, 255, 120),
    "blizzard of single pixels": dots(0.1, 255, 40),
    "grain of a fast film": grey(60 + RNG.normal(0, 25, (HEIGHT, WIDTH))),
    "colour grain": (SCENE.astype(float) + RNG.normal(0, 12, SCENE.shape)).clip(0, 255).astype(np.uint8),
    "blinds of 16 rows": grey(np.where(ROWS % 32 < 16, 220, 30)),
    "fence before a scene": np.where((COLUMNS % 16 < 6)[..., None], np.uint8(0), SCENE),
    "checkered floor": grey(np.where((COLUMNS // 32 + ROWS // 32) % 2, 230, 20)),
    "whip pan": grey(np.repeat(SCENE[:, :, 0].astype(float).mean(1, keepdims=True), WIDTH, 1)),
    "decoded noise of random weights": (127 + RNG.normal(0, 42, SCENE.shape)).clip(0, 255).astype(np.uint8),
}
SCRAMBLED = SCENE.reshape(16, 16, WIDTH, 3)[np.random.default_rng(1).permutation(16)].reshape(SCENE.shape)
BROKEN = {
    "noise": (NOISE, "hold tiles of colour noise"),
    "one garbage tile": (covered(SCENE, slice(64, 128), slice(96, 160), NOISE[:64, :64]), "hold tiles of colour noise"),
    "grey noise": (np.repeat(NOISE[..., :1], 3, -1), "are noise"),
    "checkerboard": (grey(255 * ((COLUMNS + ROWS) % 2)), "are a checkerboard"),
    "half never written": (
        covered(SCENE, slice(None), slice(0, 192), 0),
        "hold a saturated block cut at the latent grid",
    ),
    "one tile white": (
        covered(SCENE, slice(64, 128), slice(96, 160), 255),
        "hold a saturated block cut at the latent grid",
    ),
    "every fourth row": (covered(SCENE, slice(1, None, 4), slice(None), 0), "have rows or columns without a picture"),
    "every other column": (
        covered(SCENE, slice(None), slice(1, None, 2), 128),
        "have rows or columns without a picture",
    ),
    "bands out of order": (SCRAMBLED, "have their blocks out of order"),
}


@pytest.mark.parametrize("name", LEGITIMATE)
def test_what_a_camera_may_see_passes(name):
    assert judge_frames([measure_frame(LEGITIMATE[name])] * 12) == []


@pytest.mark.parametrize("name", BROKEN)
def test_what_only_arithmetic_makes_is_named(name):
    frame, kind = BROKEN[name]
    scene, broken = measure_frame(SCENE), measure_frame(frame)
    assert judge_frames([scene] * 4) == []
    assert judge_frames([scene] * 4 + [broken] * 4 + [scene] * 3) == [Finding(kind, 4, 7)]


def test_one_frame_is_not_enough_for_a_sign_that_needs_several():
    scene, comb = measure_frame(SCENE), measure_frame(BROKEN["every fourth row"][0])
    assert judge_frames([scene, comb, scene, comb, comb]) == []


def small(kind, rng):
    noise = rng.normal(128, 43, (64, 96, 3))
    ramp = np.broadcast_to(np.linspace(40, 200, 96)[None, :, None], (64, 96, 3))
    made = {
        "noise": noise,
        "black": np.zeros((64, 96, 3)),
        "grey": np.full((64, 96, 3), 97.0),
        "saturated": np.where(noise > 128, 255, 0),
        "smooth": ramp,
        "night": np.clip(rng.normal(12, 6, (64, 96, 3)), 0, 255),
    }[kind]
    return made.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["noise"] * 6, []),
        (["night"] * 6, []),
        (["noise"] * 4 + ["black"] * 2, [Finding("black", 4, 5)]),
        (["grey"] + ["noise"] * 5, [Finding("constant", 0, 0)]),
        (["noise", "noise", "noise", "saturated", "saturated"], [Finding("saturated", 3, 4)]),
        (["noise", "noise", "smooth", "noise", "noise"], [Finding("almost without detail", 2, 2)]),
        (["black", "grey", "grey"], [Finding("black", 0, 0), Finding("constant", 1, 2)]),
        ([], []),
    ],
)
def test_what_may_be_meant_is_a_warning(kinds, expected):
    rng = np.random.default_rng(0)
    assert warn_of_frames([measure_frame(small(kind, rng)) for kind in kinds]) == expected


def test_limits_of_warnings_can_be_set():
    statistics = [measure_frame(small("noise", np.random.default_rng(0)))]
    assert list(map(str, warn_of_frames(statistics, SanityLimits(constant_std=100)))) == ["frames 0-0 constant"]


def test_statistics_come_back_value_for_value(tmp_path):
    statistics = [measure_frame(LEGITIMATE[name]) for name in ("fog", "neon sign")]
    path = tmp_path / "00000.npz"
    path.write_bytes(pack_statistics(statistics))
    read = read_statistics(path)
    assert len(read) == 2
    for before, after in zip(statistics, read, strict=True):
        for field in fields(FrameStatistics):
            assert np.array_equal(getattr(before, field.name), getattr(after, field.name)), field.name
            assert type(getattr(after, field.name)) is type(getattr(before, field.name)), field.name


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\x93NUMPY", pack_statistics([measure_frame(SCENE)])[:300]])
def test_damaged_statistics_are_refused(tmp_path, content):
    path = tmp_path / "00000.npz"
    path.write_bytes(content)
    with pytest.raises(HandoffError, match="holds no statistics of frames"):
        read_statistics(path)
