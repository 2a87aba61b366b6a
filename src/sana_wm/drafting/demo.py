"""The demo: a tiny checkpoint, a picture that we draw, a manifest that runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sana_wm.drafting.drawn_picture import draw_picture, intrinsics_of
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
PROMPT = "A village street runs to the mountains under a low sun, lamps and windows lit."


def draw_scene(folder: Path, action: str) -> dict[str, dict[str, Any]]:
    """Save the picture in a folder; returns the sections `input` and `camera` of a manifest beside it."""
    with durable_file(folder / "road.png") as part:
        draw_picture(*PICTURE_SIZE).save(part)
    return {
        "input": {"image": "road.png", "prompt": PROMPT},
        "camera": {"action": action, "intrinsics": intrinsics_of(*PICTURE_SIZE)},
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
