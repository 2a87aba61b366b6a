"""The demo: a tiny checkpoint, a picture that we draw, a manifest that runs them."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

from sana_wm.camera.of_manifest import load_trajectory
from sana_wm.camera.preview import Scene, fitting_backdrop
from sana_wm.drafting.camera_preview import write_preview
from sana_wm.drafting.camera_view import view_of_manifest
from sana_wm.drafting.drawn_picture import CAMERA_HEIGHT, FOCAL_SHARE, draw_picture, intrinsics_of
from sana_wm.durable import durable_file, is_part, remove_tree, write_durably
from sana_wm.errors import UsageError
from sana_wm.manifest.model import Manifest
from sana_wm.modules import run_module
from sana_wm.names import Variant
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.sealed import has_seal, write_sealed
from sana_wm.variants import MODELS

#: Enough to see something move.
LEAST_FRAMES = 17
PICTURE_NAME, PICTURE_SIZE = "road.png", (1280, 704)
#: Half of the model's: nothing is lost of noise, and two models take the time of one.
VIDEO_SIZE = (640, 352)
#: Five seconds that show a motion: ahead, ahead in a curve, ahead again.
ACTION = "w-28,wl-24,wj-28"
PROMPT = "A village street runs to the mountains under a low sun, lamps and windows lit."


def draw_scene(folder: Path, action: str) -> dict[str, dict[str, Any]]:
    """Save the picture in a folder; returns the sections `input` and `camera` of a manifest beside it."""
    with durable_file(folder / PICTURE_NAME) as part:
        draw_picture(*PICTURE_SIZE).save(part)
    return {
        "input": {"image": PICTURE_NAME, "prompt": PROMPT},
        "camera": {"action": action, "intrinsics": intrinsics_of(*PICTURE_SIZE)},
    }


def write_demo(folder: Path, variant: Variant = "bidirectional") -> Path:
    """Make everything the demo of a model needs in a folder; what is there is used again.

    Args:
        folder: For all of it; made if missing.
        variant: Which model.

    Returns:
        The manifest's path; its run directory lies beside it, by the model's name.

    Raises:
        UsageError: Something lies in the folder, and no demo made it.
    """
    folder = folder.resolve()
    _take(folder)
    manifest = {
        "version": 1,
        "name": f"demo: tiny random weights of the {MODELS[variant].title}",
        "model": _tiny_model(folder / "checkpoints", variant),
        **draw_scene(folder, ACTION),
        "video": {
            "num_frames": max(LEAST_FRAMES, MODELS[variant].least_frames),
            "width": VIDEO_SIZE[0],
            "height": VIDEO_SIZE[1],
            "overlay": True,
        },
        "stage1": {"num_inference_steps": 4},
        "output_dir": variant,
    }
    path = folder / f"{variant}.json"
    write_durably(path, json.dumps(manifest, indent=2) + "\n")
    return path


def write_demo_preview(folder: Path, manifest: Manifest) -> Path:
    """Draw the whole path through the picture, of which the tiny runs take the first frames only."""
    num_frames = len(load_trajectory(manifest))
    view = view_of_manifest(
        manifest.model_copy(update={"video": manifest.video.model_copy(update={"num_frames": num_frames})})
    )
    path = folder / "camera.mp4"
    write_preview(view, Scene(fitting_backdrop(view.trajectory), CAMERA_HEIGHT), path)
    return path


def commands_after(folder: Path) -> tuple[tuple[str, str], ...]:
    """What comes next, for a shell, each with what it does: from no weights to a video of the demo's picture.

    Args:
        folder: The demo's, as it was named.
    """
    picture, fov_deg = folder / PICTURE_NAME, 2 * math.degrees(math.atan(0.5 / FOCAL_SHARE))
    run = shlex.join(["run", str(picture), "--prompt", PROMPT, "--fov-deg", f"{fov_deg:.0f}"])
    return (
        ("sana-wm weights download", "the released weights, by you, under their licences; goes on wherever it stops"),
        (f"sana-wm {run} --move push-in:3s,pan-left:2s", "a draft of this picture, or of yours in its place"),
        (f"sana-wm promote runs/{picture.stem}_draft", "the same video with full effort"),
    )


def _take(folder: Path) -> None:
    """Mark a new or empty folder as a demo's; only in one so marked is anything replaced or removed."""
    mark = folder / "demo.json"
    if has_seal(mark) or RunDirectory(folder / "run").is_ours():  # an early release's demos had no mark
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
    """The tiny checkpoint of a model in a folder as a manifest names it; written unless it is there."""
    checkpoint, section_file = folder / variant, folder / f"{variant}.json"
    if section_file.is_file():
        return json.loads(section_file.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    remove_tree(checkpoint)  # of a demo that was stopped while it wrote this
    asked = ["tiny", "--variant", variant, "--out", str(checkpoint)]
    section = run_module("sana_wm.weights", asked, quiet=True)
    write_durably(section_file, section)
    return json.loads(section)
