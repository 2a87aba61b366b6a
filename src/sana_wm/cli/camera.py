"""`camera`: look at a camera path, and take it elsewhere, before hours are spent on it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sana_wm.cli.app import camera_app
from sana_wm.cli.manifest import WITHOUT_WEIGHTS, AsJson
from sana_wm.cli.output import refuse_to_overwrite
from sana_wm.errors import UsageError, printable

if TYPE_CHECKING:
    from sana_wm.camera.description import SegmentFacts
    from sana_wm.camera.trajectory import Trajectory
    from sana_wm.launcher.camera_view import ActionPath, CameraView
    from sana_wm.manifest.model import Manifest
    from sana_wm.names import DialectName

OptionalManifest = Annotated[Path | None, typer.Argument(metavar="[MANIFEST]", help="JSON manifest; or --action.")]
Action = Annotated[str | None, typer.Option("--action", help="Action string, such as w-80,jw-40.")]
DialectOption = Annotated[
    str | None, typer.Option("--dialect", help="What its keys mean: pr379 (default) or smoothed.")
]
TranslationSpeed = Annotated[
    float | None, typer.Option("--translation-speed", min=1e-9, help="Scene units per frame; 0.05 by default.")
]
RotationSpeed = Annotated[
    float | None, typer.Option("--rotation-speed-deg", min=1e-9, help="Degrees per frame; 1.2 by default.")
]
Picture = Annotated[Path | None, typer.Option("--image", help="First frame, beside --action.")]
FieldOfView = Annotated[
    float | None, typer.Option("--fov-deg", min=1, max=179, help="What --image shows from left to right, in degrees.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite.")]


@camera_app.command("explain")
def explain(
    manifest_path: OptionalManifest = None,
    action: Action = None,
    dialect: DialectOption = None,
    translation_speed: TranslationSpeed = None,
    rotation_speed_deg: RotationSpeed = None,
    picture: Picture = None,
    fov_deg: FieldOfView = None,
    png: Annotated[Path | None, typer.Option("--png", help="Write the plot to this file.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Say what a camera path does: length, rotation, field of view, every segment; and draw it."""
    from sana_wm.camera.actions import parse_action
    from sana_wm.camera.description import describe_path, describe_segments
    from sana_wm.camera.dialects import DIALECTS
    from sana_wm.camera.text_plot import path_as_text
    from sana_wm.cli.camera_text import segment_table, summary

    motion = _motion(action, dialect, translation_speed, rotation_speed_deg)
    view = _view(manifest_path, motion, picture, fov_deg)
    shown = view.shown
    facts = describe_path(shown, fps=view.video.fps)
    segments: tuple[SegmentFacts, ...] = ()
    if view.motion is not None:
        segments = describe_segments(parse_action(view.motion.action), shown, DIALECTS[view.motion.dialect])
    field_of_view = view.lens and view.lens.field_of_view_deg(view.video)
    warnings = _warnings(view)
    if png is not None:
        refuse_to_overwrite(png, force=force)
        _write_plot(png, view, shown, segments, field_of_view)
    if as_json:
        report = {
            "path": asdict(facts),
            "motion": view.motion and asdict(view.motion),
            "segments": [asdict(one) for one in segments],
            "field_of_view_deg": field_of_view,
            "intrinsics_source": view.lens and view.lens.source,
            "warnings": warnings,
        }
        typer.echo(json.dumps(report, indent=2))
        return
    for line in [
        *summary(view, facts, field_of_view),
        *segment_table(segments, view.video.fps),
        "",
        *path_as_text(shown),
    ]:
        typer.echo(printable(line))
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)


@camera_app.command("export")
def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, .npy.")],
    manifest_path: OptionalManifest = None,
    action: Action = None,
    dialect: DialectOption = None,
    translation_speed: TranslationSpeed = None,
    rotation_speed_deg: RotationSpeed = None,
    force: Force = False,
) -> None:
    """Write a camera path as poses, (F, 4, 4) float32 camera-to-world, OpenCV axes: what camera.poses takes."""
    from sana_wm.handoff.camera_path import load_trajectory
    from sana_wm.launcher.camera_view import write_poses

    motion = _motion(action, dialect, translation_speed, rotation_speed_deg)
    _choose_one(manifest_path, motion)
    trajectory = motion.trajectory() if motion is not None else load_trajectory(_load(manifest_path))
    refuse_to_overwrite(out, force=force)
    write_poses(trajectory, out)
    typer.echo(f"{out}: {len(trajectory)} poses")


@camera_app.command("convert")
def convert(
    to: Annotated[str, typer.Option("--to", help="Dialect to write: pr379 or smoothed.")],
    manifest_path: OptionalManifest = None,
    action: Action = None,
    dialect: DialectOption = None,
    translation_speed: TranslationSpeed = None,
    rotation_speed_deg: RotationSpeed = None,
) -> None:
    """Print an action in another dialect for the very same path; an error where that dialect cannot express it."""
    from sana_wm.camera.conversion import convert_action
    from sana_wm.launcher.camera_view import ActionPath

    motion = _motion(action, dialect, translation_speed, rotation_speed_deg)
    _choose_one(manifest_path, motion)
    if motion is None:
        camera = _load(manifest_path).camera
        motion = ActionPath.of(camera)
        if motion is None:
            raise UsageError("poses have no dialect", got=camera.poses, expected="a manifest with camera.action")
    converted = convert_action(
        motion.action,
        source=motion.dialect,
        target=known_dialect(to, "--to"),
        translation_speed=motion.translation_speed,
        rotation_speed_deg=motion.rotation_speed_deg,
    )
    typer.echo(converted)


@camera_app.command("preview")
def preview(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, .mp4.")],
    manifest_path: OptionalManifest = None,
    action: Action = None,
    dialect: DialectOption = None,
    translation_speed: TranslationSpeed = None,
    rotation_speed_deg: RotationSpeed = None,
    picture: Picture = None,
    fov_deg: FieldOfView = None,
    camera_height: Annotated[float, typer.Option(help="Over the ground, in scene units; 0: no ground.", min=0)] = 1.6,
    backdrop: Annotated[
        float | None, typer.Option(help="Distance of everything else, in scene units.", min=0.1)
    ] = None,
    force: Force = False,
) -> None:
    """Show the motion in seconds: the first frame laid over a level ground and a backdrop, at a quarter of the size."""
    from sana_wm.camera.preview import Scene, fitting_backdrop
    from sana_wm.launcher.camera_view import write_preview

    motion = _motion(action, dialect, translation_speed, rotation_speed_deg)
    view = _view(manifest_path, motion, picture, fov_deg)
    refuse_to_overwrite(out, force=force)
    scene = Scene(backdrop or fitting_backdrop(view.trajectory), camera_height or None)
    num_frames = write_preview(view, scene, out)
    typer.echo(f"{out}: {num_frames} frames; a guess at the motion, not at the video")


def _motion(
    action: str | None, dialect: str | None, translation_speed: float | None, rotation_speed_deg: float | None
) -> ActionPath | None:
    from sana_wm.launcher.camera_view import ROTATION_SPEED_DEG, TRANSLATION_SPEED, ActionPath

    if action is not None:
        known = known_dialect(dialect or "pr379", "--dialect")
        return ActionPath(
            action, known, translation_speed or TRANSLATION_SPEED, rotation_speed_deg or ROTATION_SPEED_DEG
        )
    if (dialect, translation_speed, rotation_speed_deg) != (None, None, None):
        raise UsageError("--dialect and speeds belong to --action", expected="a MANIFEST alone: it holds its own")
    return None


def known_dialect(name: str, option: str) -> DialectName:
    """A dialect's name, or an error that names the option which should have held one."""
    if name not in ("pr379", "smoothed"):
        raise UsageError(f"{option} names no dialect", got=repr(name), expected="pr379 or smoothed")
    return name


def _choose_one(manifest_path: Path | None, motion: ActionPath | None) -> None:
    if (manifest_path is None) == (motion is None):
        got = "neither" if motion is None else "both"
        raise UsageError("a camera path comes from one place", got=got, expected="either MANIFEST or --action")


def _load(manifest_path: Path | None) -> Manifest:
    from sana_wm.manifest.loading import load_manifest

    assert manifest_path is not None  # `_choose_one` sees to it
    return load_manifest(manifest_path, WITHOUT_WEIGHTS | os.environ)


def _view(
    manifest_path: Path | None, motion: ActionPath | None, picture: Path | None, fov_deg: float | None
) -> CameraView:
    from sana_wm.launcher.camera_view import view_of_manifest, view_of_motion

    _choose_one(manifest_path, motion)
    if motion is not None and (picture is not None or fov_deg is None):
        return view_of_motion(motion, picture, fov_deg)
    if picture is not None or fov_deg is not None:
        raise UsageError("--fov-deg is of --image, and --image is for --action", expected="them together, or none")
    return view_of_manifest(_load(manifest_path))


def _warnings(view: CameraView) -> list[str]:
    warnings = list(view.doubts)
    if view.wanted_num_frames is not None and view.wanted_num_frames > len(view.trajectory):
        warnings.append(
            f"video.num_frames is {view.wanted_num_frames}, and the path has {len(view.trajectory)} poses only"
        )
    return warnings


def _write_plot(
    png: Path,
    view: CameraView,
    shown: Trajectory,
    segments: tuple[SegmentFacts, ...],
    field_of_view: tuple[float, float] | None,
) -> None:
    from sana_wm.camera.plot import as_png, draw_path
    from sana_wm.launcher.camera_view import write_plot

    figure = draw_path(
        shown,
        fps=view.video.fps,
        title=f"{view.motion.action}   ({view.motion.dialect})" if view.motion else "poses",
        labels=[(one.first_frame, one.spelling) for one in segments],
        field_of_view_deg=field_of_view and field_of_view[0],
    )
    write_plot(as_png(figure), png)
