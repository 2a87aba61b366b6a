"""Frames against the colours that their latents tell of, on the latent grid alone: no pixels, a map of known shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sana_wm.stages.latent_likeness import LatentLikeness
from sana_wm.video.sanity import FrameStatistics, measure_frame

HEIGHT, WIDTH, FRAMES = 12, 40, 96
PLAIN = measure_frame(np.zeros((64, 64, 3), np.uint8))


def scene(num_frames=FRAMES, speed=0.3):
    """Colours of a scene that slides by, (F, h, w, 3)."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    frames = [
        np.stack(
            [
                110 + 60 * np.sin((columns + speed * t) / 3 + hue) + 30 * np.sin(rows / 2 + 2 * hue)
                for hue in (0, 0.9, 2)
            ],
            axis=-1,
        )
        for t in range(num_frames)
    ]
    return np.stack(frames).clip(0, 255)


def latents_of(colours):
    """(128, F, h, w): of eight frames each, mixed by a fixed map that no linear one undoes; the first is left empty."""
    rng = np.random.default_rng(7)
    straight, bent = rng.normal(0, 0.2, (2, 24, 128))
    groups = colours.reshape(-1, 8, HEIGHT, WIDTH, 3).transpose(0, 2, 3, 1, 4).reshape(-1, HEIGHT, WIDTH, 24) / 64 - 2
    mixed = groups @ straight + 0.3 * np.sin(3 * groups @ bent)
    return torch.from_numpy(np.concatenate([mixed[:1], mixed]).transpose(3, 0, 1, 2))


def statistics_of(colours) -> list[FrameStatistics]:
    fingerprints = (colours.astype(np.float64) * 1e3).astype(np.int64).sum(-1).astype(np.uint32)
    return [
        replace(
            PLAIN,
            colours=frame.round().astype(np.uint8),
            fingerprints=prints,
            textured=np.full(frame.shape[:2], frame.std() > 1),
        )
        for frame, prints in zip(colours, fingerprints, strict=True)
    ]


def findings(shown, sound=None, segment=32):
    """As the sentinel judges: segment by segment, then all; the words of the first that finds anything."""
    statistics = statistics_of(shown)
    likeness = LatentLikeness(latents_of(shown if sound is None else sound), first_frame=1)
    for begin in range(0, len(statistics), segment):
        known = statistics[: begin + segment]
        if found := likeness.judge(known, begin, is_end=len(known) == len(statistics)):
            return sorted(map(str, found))
    return sorted(map(str, likeness.judge(statistics, 0, is_end=True)))


def flashing():
    colours = scene()
    colours[50:52] = 255
    return colours


def tunnel():
    colours = scene()
    colours[40:60] *= 0.02
    return colours


def held():
    """A static camera, a flash, and a pan that ends in the middle of a latent and holds."""
    colours = scene(speed=0.0)
    colours[30] = 255
    colours[50:68] = scene(speed=0.9)[50:68]
    colours[68:] = colours[67]
    return colours


def on_twos():
    """As animation is drawn: every picture is shown twice."""
    return np.repeat(scene()[::2], 2, axis=0)


def cut():
    return np.concatenate([scene()[:45], 255 - scene()[45:]])


@pytest.mark.parametrize(
    "colours",
    [
        scene(),
        scene(speed=0.0),
        scene() * 0 + 200,
        flashing(),
        tunnel(),
        cut(),
        held(),
        on_twos(),
        scene() * np.linspace(1, 0, FRAMES)[:, None, None, None],
        scene(speed=9.0),
    ],
    ids=[
        "slides by",
        "static camera",
        "flat sky",
        "two frames of flash",
        "tunnel",
        "cut",
        "held",
        "on twos",
        "fades out",
        "whip pan",
    ],
)
def test_what_the_latents_tell_of_passes(colours):
    assert findings(colours) == []


def test_channels_swapped_from_some_frame_on():
    shown = scene()
    shown[45:] = shown[45:, ..., ::-1]
    assert "frames 45-63 show what their latents say, channels in the order BGR" in findings(shown, scene())


def test_rows_shifted_from_some_frame_on():
    shown = scene()
    shown[45:] = np.roll(shown[45:], 3, axis=1)
    assert "frames 45-63 show what their latents say, rows shifted by about 96 pixels" in findings(shown, scene())


@pytest.mark.parametrize("colour", [0, 127, 255])
def test_frames_without_a_picture_from_some_frame_on(colour):
    shown = scene()
    shown[70:] = colour
    assert "frames 70-95 do not show what their latents say" in findings(shown, scene())


def test_the_last_frame_black():
    shown = scene()
    shown[-1] = 0
    assert findings(shown, scene()) == ["frames 95-95 do not show what their latents say"]


def test_frames_of_another_video_for_a_while():
    shown = scene()
    shown[48:60] = 255 - shown[48:60]
    assert "frames 48-59 do not show what their latents say" in findings(shown, scene())


def test_a_short_spell_is_a_doubt():
    shown = scene()
    shown[50:54] = 0
    statistics = statistics_of(shown)
    likeness = LatentLikeness(latents_of(scene()), 1)
    assert likeness.judge(statistics, 0, is_end=True) == []
    assert list(map(str, likeness.doubts)) == ["frames 50-53 do not show what their latents say"]


def test_a_frame_repeated_after_a_stall():
    shown = scene()
    shown[50:52] = shown[49]
    assert findings(shown, scene()) == ["frames 50-51 repeat the frame before, in the middle of motion"]


def test_a_part_of_the_picture_that_stands_still():
    shown = scene()
    shown[20:, 2:5, 3:6] = shown[20, 2:5, 3:6]
    found = findings(shown, scene())
    assert found[0] == "frames 24-39 stand still in part while their latents change"


def test_too_few_tiles_are_not_judged():
    """As in the tiny checkpoint's small videos: no map of 128 channels can be fitted to them."""
    shown = scene(16)
    shown[10:] = 0
    assert findings(shown, scene(16)) == []


def test_a_resumed_decode_is_judged_as_one_that_was_not_interrupted():
    shown = scene()
    shown[45:] = 0
    statistics = statistics_of(shown)
    whole, resumed = (LatentLikeness(latents_of(scene()), 1) for _ in range(2))
    assert whole.judge(statistics[:32], 0, is_end=False) == []
    found = whole.judge(statistics[:64], 32, is_end=False)
    assert found == resumed.judge(statistics[:64], 32, is_end=False)
    assert found
