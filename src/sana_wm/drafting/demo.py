"""The demo: a tiny checkpoint, a picture that we draw, a manifest that runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sana_wm.durable import durable_file, is_part, remove_tree, write_durably
from sana_wm.errors import UsageError
from sana_wm.modules import run_module
from sana_wm.names import Variant
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.sealed import has_seal, write_sealed
from sana_wm.variants import MODELS

#: Enough to see something move.
LEAST_FRAMES = 17
PICTURE_SIZE = (1280, 704)


def draw_picture() -> Image.Image:
    """A road to the horizon under a low sun, 1280x704: something with depth, owed to nobody."""
    width, height = PICTURE_SIZE
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(0, 1, height))
    horizon = 0.5
    sky = np.stack([0.35 + 0.6 * y, 0.5 + 0.4 * y, 0.85 - 0.2 * y], axis=-1)
    sun = np.exp(-(((x - 0.35) / 0.12) ** 2 + ((y - 0.38) / 0.16) ** 2))[..., None]
    sky += sun * (0.6, 0.45, 0.1)
    depth = np.clip(y - horizon, 1e-3, None)
    stripes = 0.5 + 0.5 * np.sin(3.0 / depth)
    ground = np.stack([0.25 + 0.1 * stripes, 0.42 + 0.12 * stripes, 0.2 + 0.05 * stripes], axis=-1)
    road = (np.abs(x) < 0.9 * depth)[..., None]
    ground = np.where(road, 0.3 + 0.06 * stripes[..., None], ground)
    line = (np.abs(x) < 0.03 * depth)[..., None] & (stripes > 0.5)[..., None]
    ground = np.where(line, 0.9, ground)
    picture = np.where((y < horizon)[..., None], sky, ground)
    return Image.fromarray((picture.clip(0, 1) * 255).round().astype(np.uint8))


def draw_scene(folder: Path, action: str) -> dict[str, dict[str, Any]]:
    """Save the picture in a folder; returns the sections `input` and `camera` of a manifest beside it."""
    with durable_file(folder / "road.png") as part:
        draw_picture().save(part)
    width, height = PICTURE_SIZE
    return {
        "input": {"image": "road.png", "prompt": "A road runs to the horizon under a low sun."},
        "camera": {"action": action, "intrinsics": [width * 0.8, width * 0.8, width / 2, height / 2]},
    }


def write_demo(folder: Path, variant: Variant = "bidirectional") -> Path:
    """Make everything the demo needs in a folder; what is there is used again.

    Args:
        folder: For all of it; made if missing.
        variant: Which model; its checkpoint takes the place of another's.

    Returns:
        The manifest's path.

    Raises:
        UsageError: Something lies in the folder, and no demo made it.
    """
    folder = folder.resolve()
    _take(folder)
    num_frames = max(LEAST_FRAMES, MODELS[variant].least_frames)
    manifest = {
        "version": 1,
        "name": f"demo: tiny random weights of the {MODELS[variant].title}",
        "model": _tiny_model(folder, variant),
        **draw_scene(folder, f"w-{num_frames - 9},wl-8"),
        "video": {"num_frames": num_frames, "overlay": True},
        "stage1": {"num_inference_steps": 4},
        "output_dir": "run",
    }
    path = folder / "manifest.json"
    write_durably(path, json.dumps(manifest, indent=2) + "\n")
    return path


def _take(folder: Path) -> None:
    """Mark a new or empty folder as a demo's; only in one so marked is anything replaced or removed."""
    mark = folder / "demo.json"
    if has_seal(mark) or RunDirectory(folder / "run").is_ours():
        return
    present = sorted(path.name for path in folder.iterdir() if not is_part(path)) if folder.is_dir() else []
    if present or folder.is_file():
        raise UsageError(
            f"{folder} is not empty and no demo made it",
            got=", ".join(present[:5]) or "a file",
            expected="a new or empty folder, or that of an earlier demo",
            next_step="Choose another --out.",
        )
    write_sealed(mark, json.dumps({"made_by": "sana-wm demo"}, indent=2))


def _tiny_model(folder: Path, variant: Variant) -> dict[str, Any]:
    """The tiny checkpoint in a folder as a manifest names it; written unless it is there."""
    checkpoint, section_file = folder / "checkpoint", folder / "model.json"
    if section_file.is_file() and json.loads(section_file.read_text()).get("variant") == variant:
        return json.loads(section_file.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    section_file.unlink(missing_ok=True)
    remove_tree(checkpoint)  # of a demo that was stopped while it wrote this, or of another model
    asked = ["tiny", "--variant", variant, "--out", str(checkpoint)]
    section = run_module("sana_wm.weights", asked, quiet=True)
    write_durably(section_file, section)
    return json.loads(section)
