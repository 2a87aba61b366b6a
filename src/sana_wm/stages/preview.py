"""Preview: the latents of Stage 1 as a video, before the refiner begins, so that a bad run is seen in time.

It is the picture that the video of a run without the refiner would show: all frames, nothing drawn into them.
"""

from __future__ import annotations

from sana_wm.stages.context import StageContext
from sana_wm.stages.decoding import Film, ShownFrames, make_film


def run(context: StageContext) -> None:
    """Decode the latents of Stage 1 and leave `preview.mp4` with its receipt."""
    latents = context.load_latents()
    context.begin()
    film = Film(context.run.preview_file, ShownFrames(0, context.manifest.video.num_frames))
    plan, warnings = make_film(context, latents, film)
    context.finish(outputs=(film.file,), plan=plan, warnings=warnings)
