"""VAE decode: the latents of the stage before, as the video that the run is made for."""

from __future__ import annotations

from sana_wm.camera.motion import read_motion
from sana_wm.camera.of_manifest import load_trajectory
from sana_wm.manifest.model import Manifest
from sana_wm.runs.links import require_inputs
from sana_wm.stages.context import StageContext
from sana_wm.stages.decoding import Film, ShownFrames, make_film
from sana_wm.video.contact_sheet import ContactSheet
from sana_wm.video.overlay import Overlay


def run(context: StageContext) -> None:
    """Decode the latents of the stage before and leave `video.mp4` and `contact_sheet.png` with their receipt."""
    manifest, run = context.manifest, context.run
    require_inputs(manifest, context.stage)
    latents = context.load_latents()
    context.begin()
    shown = shown_frames(manifest)
    film = Film(
        run.video_file,
        shown,
        growing_file=run.growing_file,
        overlay=_overlay(manifest, shown) if manifest.video.overlay else None,
        frames_folder=run.frames_folder(manifest),
    )
    sheet = ContactSheet(num_frames=shown.count, fps=manifest.video.fps)
    plan, warnings = make_film(context, latents, film, sheet)
    sheet.write(run.contact_sheet_file)
    context.finish(outputs=(run.video_file, run.contact_sheet_file), plan=plan, warnings=warnings)


def shown_frames(manifest: Manifest) -> ShownFrames:
    """All frames that the manifest does not drop."""
    return ShownFrames(manifest.dropped_frames, manifest.video.num_frames - manifest.dropped_frames)


def _overlay(manifest: Manifest, shown: ShownFrames) -> Overlay:
    trajectory = load_trajectory(manifest).first(manifest.video.num_frames)
    motion = read_motion(trajectory.without_first(shown.first))
    return Overlay(motion.keys, motion.yaw, motion.pitch, width=manifest.video.width, height=manifest.video.height)
