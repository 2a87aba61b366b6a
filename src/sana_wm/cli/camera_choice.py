"""Which camera path the `camera` commands look at: a manifest's, an action's, or that of named moves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sana_wm.cli.manifest import WITHOUT_WEIGHTS
from sana_wm.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from sana_wm.camera.crop import Crop
    from sana_wm.camera.move_path import MovePath
    from sana_wm.drafting.camera_view import ActionPath, CameraView
    from sana_wm.manifest.model import Manifest
    from sana_wm.names import DialectName


def motion_said(
    move: str | None,
    action: str | None,
    dialect: str | None,
    translation_speed: float | None,
    rotation_speed_deg: float | None,
) -> ActionPath | MovePath | None:
    """The camera path that options say, if any; an error for options that do not go together."""
    from sana_wm.camera.move_path import resolve_move
    from sana_wm.drafting.camera_view import ROTATION_SPEED_DEG, TRANSLATION_SPEED, ActionPath

    if action is not None:
        if move is not None:
            raise UsageError("--move and --action exclude each other", expected="one of them")
        known = known_dialect(dialect or "pr379", "--dialect")
        return ActionPath(
            action, known, translation_speed or TRANSLATION_SPEED, rotation_speed_deg or ROTATION_SPEED_DEG
        )
    if (dialect, translation_speed, rotation_speed_deg) != (None, None, None):
        raise UsageError(
            "--dialect and speeds belong to --action", expected="a MANIFEST or moves alone: they hold their own"
        )
    return None if move is None else resolve_move(move)


def action_of_moves(moves: MovePath) -> ActionPath:
    """Moves as an action; its speeds are told, an error says where there is none."""
    from sana_wm.camera.moves import MOVE_STEP, MOVE_TURN_DEG
    from sana_wm.drafting.camera_view import ActionPath

    motion = ActionPath.of_moves(moves)
    if motion is None:
        raise UsageError(
            "no one action does these moves exactly",
            got="an orbit, a crane, or two speeds of one kind",
            expected="moves that keys do, all travelling and all turning at one speed",
            next_step="Take the poses instead: sana-wm camera export --move, then camera.poses in the manifest.",
        )
    if (motion.translation_speed, motion.rotation_speed_deg) != (float(MOVE_STEP), float(MOVE_TURN_DEG)):
        speeds = f"{motion.translation_speed:g} --rotation-speed-deg {motion.rotation_speed_deg:g}"
        typer.echo(f"at --translation-speed {speeds}", err=True)
    return motion


def known_dialect(name: str, option: str) -> DialectName:
    """A dialect's name, or an error that names the option which should have held one."""
    if name not in ("pr379", "smoothed"):
        raise UsageError(
            f"{option} names no dialect",
            got=repr(name),
            expected="pr379 or smoothed",
            next_step=did_you_mean(name, ("pr379", "smoothed")),
        )
    return name


def require_one(manifest_path: Path | None, motion: ActionPath | MovePath | None) -> None:
    """Refuse no camera path, and two."""
    if (manifest_path is None) == (motion is None):
        got = "neither" if motion is None else "both"
        raise UsageError("a camera path comes from one place", got=got, expected="either MANIFEST, --move or --action")


def loaded(manifest_path: Path | None) -> Manifest:
    """The manifest, whatever its weights."""
    from sana_wm.manifest.loading import load_manifest

    assert manifest_path is not None  # `require_one` sees to it
    return load_manifest(manifest_path, WITHOUT_WEIGHTS | os.environ)


@dataclass(frozen=True)
class PictureSaid:
    """What options say of a first frame; a manifest says all of it itself.

    Attributes:
        path: The picture.
        fov_deg: What it shows from left to right.
        size: Width, height of the video.
        crop: Which part it shows.
    """

    path: Path | None
    fov_deg: float | None
    size: tuple[int, int] | None
    crop: Crop | None


def view_said(manifest_path: Path | None, motion: ActionPath | MovePath | None, said: PictureSaid) -> CameraView:
    """What is looked at: a manifest's camera, or that of options."""
    from sana_wm.camera.crop import CENTRE
    from sana_wm.drafting.camera_view import view_of_manifest, view_of_motion
    from sana_wm.sizes import TRAINED_SIZE

    require_one(manifest_path, motion)
    of_picture = (said.fov_deg, said.size, said.crop)
    if motion is not None and (said.path is not None or of_picture == (None, None, None)):
        return view_of_motion(motion, said.path, said.fov_deg, size=said.size or TRAINED_SIZE, crop=said.crop or CENTRE)
    if said.path is not None or of_picture != (None, None, None):
        raise UsageError(
            "--fov-deg, --size and --crop are of --image, and --image is for --move and --action",
            expected="them together, or none",
        )
    return view_of_manifest(loaded(manifest_path))
