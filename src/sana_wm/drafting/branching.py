"""The manifest of a run that begins with a frame of another, decoded in a process of its own. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sana_wm.camera.crop import CENTRE
from sana_wm.camera.intrinsics import crop_intrinsics
from sana_wm.camera.of_manifest import load_camera_path, load_intrinsics, picture_geometry
from sana_wm.drafting.changed_manifest import change_manifest
from sana_wm.drafting.lineage import Parent, made_from, require_whole
from sana_wm.drafting.new_run import NewRun, frame_beside, new_place
from sana_wm.drafting.request import VideoRequest
from sana_wm.drafting.variation import child_names
from sana_wm.errors import HandoffError, UsageError
from sana_wm.manifest.loading import escape_variables
from sana_wm.manifest.portable import rerun_manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.modules import run_module, without_overrides
from sana_wm.pipeline import source_of
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.video.picture import inspect_picture


def write_branch(parent: Parent, frame: str, said: VideoRequest, environ: Mapping[str, str]) -> NewRun:
    """Write the manifest of a run that begins with a frame of another, and that frame beside it.

    Args:
        parent: A finished run.
        frame: Of its video: its number, counted from 0, or its time, `2.5s`.
        said: What the user says; where the camera goes from there among it.
        environ: This process's environment.

    Raises:
        UsageError: The video has no such frame, nothing says where the camera goes, or a name is taken.
        HandoffError: The run is not finished, not whole, or not there.
        ModuleEndedError: The frame could not be decoded; its process has said why.
    """
    manifest = parent.manifest
    number = parse_frame(frame, manifest)
    run = RunDirectory(parent.path)
    _require_decoded(run, manifest)
    if not said.says_way:
        raise UsageError(
            "nothing says where the camera goes from that frame",
            expected="--move, --action or --poses",
            next_step="Add one of them, such as --action w-48.",
        )
    with new_place(child_names(parent, said.out)) as place:
        out, picture = place.path, frame_beside(place.path)
        decoded = manifest.dropped_frames + number
        data = rerun_manifest(manifest)
        data["input"] |= {"image": escape_variables(str(picture)), "crop": CENTRE, "continues": None}
        data["camera"]["intrinsics"] = carried_intrinsics(manifest, decoded)
        data, notes = change_manifest(data, replace(said, out=out), out.parent, environ)
        arguments = [str(run.path), str(decoded), str(picture)]
        run_module("sana_wm.stages.frame", arguments, environment=without_overrides(environ))
        origin = made_from(parent, "branch", data, frame=number)
        return place.written({**data, "made_from": origin}, notes)


def parse_frame(text: str, manifest: RunManifest) -> int:
    """The number of a frame of a run's video, counted from 0.

    Args:
        text: That number, or a time: `2.5s`.
        manifest: Of the run.

    Raises:
        UsageError: It is no such thing, or the video has no such frame.
    """
    last, fps = manifest.video.num_frames - manifest.dropped_frames - 1, manifest.video.fps
    try:
        number = round(float(text[:-1]) * fps, 6) if text.endswith("s") else int(text)
    except (ValueError, OverflowError):
        number = -1
    if not 0 <= number <= last or number != int(number):
        raise UsageError(
            "the video has no such frame",
            got=repr(text),
            expected=f"0 to {last}, or 0s to {last / fps:g}s in steps of 1/{fps} s",
            next_step="Name one of them: RUN@FRAME.",
        )
    return int(number)


def carried_intrinsics(manifest: RunManifest, frame: int) -> list[float]:
    """[fx, fy, cx, cy] in pixels of a decoded frame: the run's own after its picture was scaled and cut to the video.

    Args:
        manifest: Of the run.
        frame: Of all that are decoded, counted from 0; a lens that zooms has other intrinsics in each.
    """
    known = manifest.picture
    size = known.size if known is not None else inspect_picture(Path(manifest.input.image)).size
    rows = load_intrinsics(manifest, load_camera_path(manifest), manifest.video.num_frames, size)
    return crop_intrinsics(rows, picture_geometry(manifest, size))[frame].tolist()


def _require_decoded(run: RunDirectory, manifest: RunManifest) -> None:
    """Whether the video is finished and the latents that it was decoded from are what they were."""
    if not run.is_ours():
        raise HandoffError(
            f"{run.path}, the run of this video, is not there",
            got="no run directory",
            expected="its latents: the frame is decoded from them, not taken from the video",
            next_step="Name the run directory: sana-wm branch RUN_DIR@FRAME.",
        )
    source = source_of(manifest, "vae_decode")
    require_whole(run, manifest, [source] if source is not None else [])
