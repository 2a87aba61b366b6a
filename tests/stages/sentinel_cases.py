"""Videos for the frame sentinel: what cameras see, what wrong arithmetic makes of it, and latents that stand for both.

The latents are no VAE's: no released weights are at hand. They hold what a VAE's must, the colours of each 32x32 tile
over eight frames, mixed into 128 channels by a fixed map with a strong non-linear part.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sana_wm.durable import sha256_of
from sana_wm.errors import SanityError
from sana_wm.manifest.loading import parse_manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.stages.frame_sentinel import FrameSentinel

Frame = NDArray[np.uint8]
Video = list[Frame]
FRAMES_PER_SEGMENT = 32


@dataclass(frozen=True)
class Case:
    """A video as the decoder gives it, and as it should have been; equal for a legitimate one."""

    shown: Video
    sound: Video
    latents: Callable[[torch.Tensor], torch.Tensor] = lambda latents: latents


def encode(video: Video) -> torch.Tensor:
    """Latents (128, F, h, w) of 8k+1 frames; equal pictures become equal latents."""
    tiles = np.stack([frame.reshape(frame.shape[0] // 32, 32, -1, 32, 3).swapaxes(1, 2) for frame in video])
    halves = tiles.reshape(*tiles.shape[:3], 2, 16, 2, 16, 3).mean((4, 6)).reshape(*tiles.shape[:3], 12) / 64 - 2
    groups = [np.repeat(halves[:1], 8, 0), *(halves[index : index + 8] for index in range(1, len(video), 8))]
    rng = np.random.default_rng(7)
    straight, bent = rng.normal(0, 0.1, (2, 96, 128))
    latents = [np.moveaxis(group, 0, -2).reshape(*halves.shape[1:3], 96) for group in groups]
    mixed = np.stack([one @ straight + 0.3 * np.sin(3 * one @ bent) for one in latents])
    return torch.from_numpy(mixed.transpose(3, 0, 1, 2)).float()


def verdict(
    case: Case, folder: Path, *, knows_pictures: bool = True, keeps_picture: bool = True, resumed_after: int = 0
) -> list[str]:
    """What the sentinel refuses, in words; empty when the video passes.

    Args:
        case: The video.
        folder: Scratch.
        knows_pictures: Whether the VAE is the released one.
        keeps_picture: Whether the input picture is still there.
        resumed_after: After how many segments the decode was interrupted and gone on with.
    """
    run, picture = RunDirectory(folder / "run"), folder / "picture.png"
    Image.fromarray(case.sound[0]).save(picture)
    height, width = case.sound[0].shape[:2]
    manifest = parse_manifest(
        {
            "version": 1,
            "name": "case",
            "model": {"root": str(folder), "gemma_root": str(folder)},
            "input": {"image": str(picture), "prompt": "A street."},
            "camera": {"action": "w-8", "intrinsics": [100.0, 100.0, 64.0, 64.0]},
            "video": {"height": height, "width": width},
            "output_dir": str(run.path),
            "inputs": {"input.image": {"path": str(picture), "sha256": sha256_of(picture)}},
        },
        RunManifest,
    )
    if not keeps_picture:
        picture.unlink()

    def new_sentinel() -> FrameSentinel:
        return FrameSentinel(
            run,
            manifest,
            case.latents(encode(case.sound)),
            stage="vae_decode",
            first_frame=1,
            frames_per_segment=FRAMES_PER_SEGMENT,
            knows_pictures=knows_pictures,
        )

    run.checkpoint_folder("vae_decode").mkdir(parents=True, exist_ok=True)
    sentinel = new_sentinel()
    try:
        for index, frame in enumerate(case.shown[1:]):  # the first frame of a refined video is dropped
            if resumed_after and index == resumed_after * FRAMES_PER_SEGMENT:
                known = sentinel.statistics
                sentinel = new_sentinel()
                sentinel.go_on(known, 0)
            sentinel.take(frame[None])
        sentinel.finish()
    except SanityError as error:
        return str(error.got).split("; ")
    return []


def drift(height: int, width: int, num_frames: int = 57) -> Video:
    """A coloured scene that slides by, with grain."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, : width + 4 * num_frames].astype(np.float32)
    waves = [
        110
        + 50 * np.sin(columns / 97 + shift)
        + 30 * np.sin(rows / 61 + 2 * shift)
        + 15 * np.sin((rows + columns) / 23)
        for shift in (0.0, 0.9, 2.1)
    ]
    wide = np.stack(waves, axis=-1)
    return [as_frame(wide[:, 4 * t : 4 * t + width] + rng.normal(0, 3, (height, width, 1))) for t in range(num_frames)]


def as_frame(values: NDArray[np.floating]) -> Frame:
    """Rounded and clamped, as the decoder does."""
    return np.clip(values, 0, 255).round().astype(np.uint8)


def changed(video: Video, change: Callable[[Frame], Frame], begin: int, end: int | None = None) -> Video:
    """A video with some frames changed."""
    chosen = range(len(video))[begin:end]
    return [change(frame) if index in chosen else frame for index, frame in enumerate(video)]


def from_script(path: Path) -> tuple[dict[str, Video], dict[str, Video], Frame]:
    """The legitimate and the broken videos of the adversarial round's script, and the scene most are made of."""
    source = path.read_text().split("def vid(")[0].split("import numpy as np", 1)[1]
    body = path.read_text().split("def vid(", 1)[1].split("for name,set_")[0]
    source = source.replace("from sana_wm.video.sanity import *", "")
    names: dict[str, object] = {"np": np}
    exec(compile(f"{source}\ndef vid({body}", str(path), "exec"), names)
    return names["L"], names["B"], names["scene"]  # type: ignore[return-value]


def as_json(rows: list[dict[str, object]]) -> str:
    """A row a line."""
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
