"""`camera`: look at a camera path, and take it elsewhere, before hours are spent on it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sana_wm.cli import completion
from sana_wm.cli.app import camera_app
from sana_wm.cli.camera_choice import (
    PictureSaid,
    action_of_moves,
    known_dialect,
    loaded,
    motion_said,
    require_one,
    view_said,
)
from sana_wm.cli.colours import say_aside
from sana_wm.cli.manifest import AsJson
from sana_wm.cli.output import refuse_to_overwrite
from sana_wm.cli.picture_options import CropOption, SizeOption, parse_crop, parse_size
from sana_wm.errors import UsageError, printable

if TYPE_CHECKING:
    from sana_wm.camera.description import SegmentFacts
    from sana_wm.camera.trajectory import Trajectory
    from sana_wm.drafting.camera_view import CameraView

OptionalManifest = Annotated[
    Path | None, typer.Argument(metavar="[MANIFEST]", help="JSON manifest; or --move or --action.")
]
Action = Annotated[str | None, typer.Option("--action", help="Action string, such as w-80,jw-40.")]
MoveOption = Annotated[
    str | None,
    typer.Option(
        "--move",
        autocompletion=completion.moves,
        help="Named moves, such as push-in:2s,pan-right:1.5s@0.5,hold:1s.",
    ),
]
DialectOption = Annotated[
    str | None,
    typer.Option(
        "--dialect",
        autocompletion=completion.dialects,
        help="What its keys mean: pr379 (default), as in NVIDIA's first release, or smoothed, as in later ones.",
    ),
]
TranslationSpeed = Annotated[
    float | None, typer.Option("--translation-speed", min=1e-9, help="Scene units per frame; 0.05 by default.")
]
RotationSpeed = Annotated[
    float | None, typer.Option("--rotation-speed-deg", min=1e-9, help="Degrees per frame; 1.2 by default.")
]
Picture = Annotated[Path | None, typer.Option("--image", help="First frame, beside --move or --action.")]
FieldOfView = Annotated[
    float | None, typer.Option("--fov-deg", min=1, max=179, help="What --image shows from left to right, in degrees.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")]


@camera_app.command("explain")
def explain(
    manifest_path: OptionalManifest = None,
    *,
    move: MoveOption = None,
    action: Action = None,
    dialect: DialectOption = None,
    translation_speed: TranslationSpeed = None,
    rotation_speed_deg: RotationSpeed = None,
    picture: Picture = None,
    fov_deg: FieldOfView = None,
    size: SizeOption = None,
    crop: CropOption = None,
    png: Annotated[Path | None, typer.Option("--png", help="Write the plot to this file.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Say what a camera path does: length, rotation, field of view, every segment; and draw it."""
    from sana_wm.camera.description import describe_path
    from sana_wm.camera.text_plot import path_as_text
    from sana_wm.cli.camera_text import segment_table, summary
    from sana_wm.cli.inline_picture import inline_protocol, show_picture
    from sana_wm.drafting.camera_view import write_plot

    motion = motion_said(move, action, dialect, translation_speed, rotation_speed_deg)
    view = view_said(manifest_path, motion, PictureSaid(picture, fov_deg, parse_size(size), parse_crop(crop)))
    shown = view.shown
    facts = describe_path(shown, fps=view.video.fps)
    segments = _segments(view, shown)
    field_of_view = view.lens and view.lens.field_of_view_deg(view.video)
    geometry = view.lens and view.lens.geometry(height=view.video.height, width=view.video.width)
    warnings = _warnings(view)
    inline = None if as_json else inline_protocol()
    if png is not None:
        refuse_to_overwrite(png, force=force)
    plot = _plot(view, shown, segments, field_of_view) if png or inline else b""
    if png is not None:
        write_plot(plot, png)
    if as_json:
        report = {
            "path": asdict(facts),
            "motion": view.motion and asdict(view.motion),
            "moves": view.moves and view.moves.told,
            "segments": [asdict(one) for one in segments],
            "field_of_view_deg": field_of_view,
            "intrinsics_source": view.lens and view.lens.source,
            "picture_box_px": geometry and geometry.kept_box_px,
            "warnings": warnings,
        }
        typer.echo(json.dumps(report, indent=2))
        return
    lines = [*summary(view, facts, field_of_view), *segment_table(segments, view.video.fps), ""]
    for line in [*lines, *([] if inline else path_as_text(shown))]:
        typer.echo(printable(line))
    if inline:
        show_picture(plot, inline)
    for warning in warnings:
        say_aside("warning", printable(warning))


def _segments(view: CameraView, shown: Trajectory) -> tuple[SegmentFacts, ...]:
    """What each part of the path does, by its moves or its keys; nothing of poses."""
    from sana_wm.camera.actions import parse_action
    from sana_wm.camera.description import describe_parts, describe_segments
    from sana_wm.camera.dialects import DIALECTS

    if view.moves is not None:
        return describe_parts([(one.name, one.num_frames or 0, one.kind.does) for one in view.moves.moves], shown)
    if view.motion is not None:
        return describe_segments(parse_action(view.motion.action), shown, DIALECTS[view.motion.dialect])
    return ()


@camera_app.command("export")
def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, .npy.")],
    manifest_path: OptionalManifest = None,
    move: MoveOption = None,
    action: Action = None,
    dialect: DialectOption = None,
    translation_speed: TranslationSpeed = None,
    rotation_speed_deg: RotationSpeed = None,
    force: Force = False,
) -> None:
    """Write a camera path as poses, (F, 4, 4) float32 camera-to-world, OpenCV axes: what camera.poses takes."""
    from sana_wm.camera.of_manifest import load_trajectory
    from sana_wm.drafting.camera_view import view_of_motion, write_poses

    motion = motion_said(move, action, dialect, translation_speed, rotation_speed_deg)
    require_one(manifest_path, motion)
    if motion is not None:
        trajectory = view_of_motion(motion, None, None).trajectory
    else:
        trajectory = load_trajectory(loaded(manifest_path))
    refuse_to_overwrite(out, force=force)
    write_poses(trajectory, out)
    typer.echo(f"{out}: {len(trajectory)} poses")


@camera_app.command("convert")
def convert(
    to: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="DIALECT",
            autocompletion=completion.dialects,
            help="Whose keys: pr379, NVIDIA's first release, or smoothed, its later ones.",
        ),
    ],
    manifest_path: OptionalManifest = None,
    move: MoveOption = None,
    action: Action = None,
    dialect: DialectOption = None,
    translation_speed: TranslationSpeed = None,
    rotation_speed_deg: RotationSpeed = None,
) -> None:
    """Print an action, or moves as one, in a dialect for the very same path; an error where it cannot express it."""
    from sana_wm.camera.conversion import convert_action
    from sana_wm.camera.move_path import MovePath
    from sana_wm.drafting.camera_view import ActionPath

    motion = motion_said(move, action, dialect, translation_speed, rotation_speed_deg)
    require_one(manifest_path, motion)
    if motion is None:
        camera = loaded(manifest_path).camera
        motion = ActionPath.of(camera)
        if motion is None:
            raise UsageError("poses have no dialect", got=camera.poses, expected="a manifest with camera.action")
    if isinstance(motion, MovePath):
        motion = action_of_moves(motion)
    converted = convert_action(
        motion.action,
        source=motion.dialect,
        target=known_dialect(to, "--as"),
        translation_speed=motion.translation_speed,
        rotation_speed_deg=motion.rotation_speed_deg,
    )
    typer.echo(converted)


@camera_app.command("preview")
def preview(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .mp4, .webp or .gif.")],
    manifest_path: OptionalManifest = None,
    *,
    move: MoveOption = None,
    action: Action = None,
    dialect: DialectOption = None,
    translation_speed: TranslationSpeed = None,
    rotation_speed_deg: RotationSpeed = None,
    picture: Picture = None,
    fov_deg: FieldOfView = None,
    size: SizeOption = None,
    crop: CropOption = None,
    camera_height: Annotated[float, typer.Option(help="Over the ground, in scene units; 0: no ground.", min=0)] = 1.6,
    backdrop: Annotated[
        float | None, typer.Option(help="Distance of everything else, in scene units.", min=0.1)
    ] = None,
    force: Force = False,
) -> None:
    """Show the motion in seconds: the first frame laid over a level ground and a backdrop, with keys and time."""
    from sana_wm.camera.preview import Scene, fitting_backdrop
    from sana_wm.drafting.camera_preview import write_preview

    motion = motion_said(move, action, dialect, translation_speed, rotation_speed_deg)
    view = view_said(manifest_path, motion, PictureSaid(picture, fov_deg, parse_size(size), parse_crop(crop)))
    refuse_to_overwrite(out, force=force)
    scene = Scene(backdrop or fitting_backdrop(view.trajectory), camera_height or None)
    written = write_preview(view, scene, out)
    typer.echo(f"{out}: {written.told}; a guess at the motion, not at the video")


def _warnings(view: CameraView) -> list[str]:
    warnings = list(view.doubts)
    if view.wanted_num_frames is not None and view.wanted_num_frames > len(view.trajectory):
        warnings.append(
            f"video.num_frames is {view.wanted_num_frames}, and the path has {len(view.trajectory)} poses only"
        )
    return warnings


def _plot(
    view: CameraView,
    shown: Trajectory,
    segments: tuple[SegmentFacts, ...],
    field_of_view: tuple[float, float] | None,
) -> bytes:
    """The drawing of the path, a PNG file's content."""
    from sana_wm.camera.plot import as_png
    from sana_wm.report.charts import draw_camera

    figure = draw_camera(
        shown,
        fps=view.video.fps,
        shape="wide",
        title=f"{view.motion.action}   ({view.motion.dialect})" if view.motion else "moves" if view.moves else "poses",
        labels=[(one.first_frame, one.spelling) for one in segments],
        field_of_view_deg=field_of_view and field_of_view[0],
    )
    return as_png(figure)
