"""Latents into a video: decoded as they are read, encoded segment by segment as frames become final.

What is decoded and what goes into the frames is for the stage to say: `vae_decode` and `preview` share the rest.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sana_wm import __version__
from sana_wm.durable import remove_file, sha256_of
from sana_wm.errors import StageFailedError
from sana_wm.manifest.portable import portable_json
from sana_wm.models.loading import load_vae
from sana_wm.models.vae.streaming_decoder import StreamingDecoder
from sana_wm.planning.decode import DecodePlan, is_released_vae, plan_decode_on, reach_latent_frames
from sana_wm.runtime.phases import Phase
from sana_wm.sizes import FRAMES_PER_LATENT
from sana_wm.stages.context import StageContext
from sana_wm.stages.frame_sentinel import FrameSentinel
from sana_wm.video.contact_sheet import ContactSheet
from sana_wm.video.frame_folder import FrameFolder
from sana_wm.video.frame_record import pack_statistics, read_statistics
from sana_wm.video.growing import GrowingVideo
from sana_wm.video.overlay import Overlay
from sana_wm.video.reader import read_frames
from sana_wm.video.segments import SegmentedEncoder, companion_path, concatenate, finished_segments

FRAMES_PER_SEGMENT = 32


@dataclass(frozen=True)
class ShownFrames:
    """Which of the decoded frames are shown: `count` of them, from `first` on."""

    first: int
    count: int


@dataclass(frozen=True)
class Film:
    """What a decode makes of latents.

    Attributes:
        file: The video, `.mp4`.
        shown: Which of the decoded frames go into it.
        growing_file: What of it is finished, to be watched meanwhile; gone at the end.
        overlay: Drawn into every frame.
        frames_folder: Where each frame goes as PNG, too.
    """

    file: Path
    shown: ShownFrames
    growing_file: Path | None = None
    overlay: Overlay | None = None
    frames_folder: Path | None = None


def make_film(
    context: StageContext, latents: torch.Tensor, film: Film, sheet: ContactSheet | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Decode latents into a video, from where an interrupted start of the same stage had come.

    Args:
        context: Of the stage, begun.
        latents: (1, C, F, h, w) float32, normalized, on the CPU.
        film: What becomes of them.
        sheet: Takes the frames of the finished video, as a player reads them.

    Returns:
        The plan as JSON, and warnings of the whole video.

    Raises:
        SanityError: Only wrong arithmetic can have made such frames.
        StageFailedError: ffmpeg failed, or the video does not hold the frames that were written.
    """
    with context.phases.phase("vae_decoder") as phase:
        plan, warnings = _decode(context, phase, latents, film, context.resumable("segment"))
    segments = sorted(context.run.checkpoint_folder(context.stage).glob("[0-9]*.mp4"))
    concatenate(segments, film.file, metadata=_video_metadata(context))
    _read_back(film, sheet)
    if film.growing_file is not None:
        remove_file(film.growing_file)
    return plan, warnings


def _video_metadata(context: StageContext) -> dict[str, str]:
    """What the video says of itself; the manifest makes it again: `sana-wm init-manifest --like video.mp4`."""
    manifest = context.manifest
    return {
        "name": manifest.name,
        "manifest_sha256": sha256_of(context.run.manifest_file),
        "seed": str(manifest.stage1.seed),
        "package_version": __version__,
        **({"manifest": text} if (text := portable_json(manifest, Path.home())) else {}),
    }


def _decode(
    context: StageContext, phase: Phase, latents: torch.Tensor, film: Film, metadata: dict[str, str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Decode what no finished segment of an earlier start holds; returns the plan, and warnings of the whole video."""
    shown = film.shown
    vae = phase.hold(load_vae(context.layout, context.device, context.dtype, part="decoder"))
    kind = context.forecaster.device.kind
    plan = plan_decode_on(kind, vae.config, context.latents_shape, context.dtype.itemsize, context.budget_bytes)
    folder = context.run.checkpoint_folder(context.stage)
    finished = finished_segments(folder, FRAMES_PER_SEGMENT, metadata, described=True)
    done = len(finished) * FRAMES_PER_SEGMENT
    start = first_latent_for(shown.first + done, reach_latent_frames(vae.config), plan)
    sentinel = FrameSentinel(
        context.run,
        context.manifest,
        latents[0],
        stage=context.stage,
        first_frame=shown.first,
        frames_per_segment=FRAMES_PER_SEGMENT,
        knows_pictures=is_released_vae(vae.config),
    )
    earlier = [frame for segment in finished for frame in read_statistics(companion_path(segment))]
    sentinel.go_on(earlier, FRAMES_PER_LATENT * start)
    context.begin_steps(done, shown.count, by_earlier_start=done > 0)
    if done == shown.count:
        return plan.as_json(), sentinel.finish()
    growing = None
    if film.growing_file is not None:
        fps = context.manifest.video.fps
        growing = GrowingVideo(film.growing_file, fps=fps, frames_per_segment=FRAMES_PER_SEGMENT)
        growing.begin(finished)
    decoder = StreamingDecoder(vae, plan)
    frames = _skip(
        decoder.decode(latents[0, :, start:].transpose(0, 1).split(plan.steps[0]), sentinel.watch),
        shown.first + done - FRAMES_PER_LATENT * start,
    )
    encoder = _encoder(context, len(finished), metadata, sentinel, growing)
    seconds = _write_frames(context, frames, encoder, film, sentinel)
    return {**plan.as_json(), "frames_decoded": shown.count - done, "seconds": seconds}, sentinel.finish()


def first_latent_for(frame: int, reach_latents: int, plan: DecodePlan) -> int:
    """The latent frame at which to begin so that all decoded frames from `frame` on have the bits of a whole decode.

    Early enough for them to see all that they would have seen, and on a piece boundary of the whole decode.
    """
    start = max(0, (frame - 1) // FRAMES_PER_LATENT - reach_latents)
    return start - start % plan.steps[0]


def _skip(pieces: Iterator[torch.Tensor], count: int) -> Iterator[NDArray[np.uint8]]:
    """Frames as uint8 (n, H, W, 3) on the CPU, without the first `count`."""
    for piece in pieces:
        kept = piece[min(count, len(piece)) :]
        count -= len(piece) - len(kept)
        if len(kept):
            yield kept.to("cpu").numpy()


def _encoder(
    context: StageContext,
    first_segment: int,
    metadata: dict[str, str],
    sentinel: FrameSentinel,
    growing: GrowingVideo | None,
) -> SegmentedEncoder:
    video = context.manifest.video

    def describe(segment: int) -> bytes:
        begin = segment * FRAMES_PER_SEGMENT
        return pack_statistics(sentinel.statistics[begin : begin + FRAMES_PER_SEGMENT])

    return SegmentedEncoder(
        context.run.checkpoint_folder(context.stage),
        frames_per_segment=FRAMES_PER_SEGMENT,
        first_segment=first_segment,
        describe=describe,
        growing=growing,
        width=video.width,
        height=video.height,
        fps=video.fps,
        codec=video.codec,
        crf=video.crf,
        preset=video.preset,
        pixel_format=video.pixel_format,
        metadata=metadata,
    )


def _write_frames(
    context: StageContext,
    pieces: Iterator[NDArray[np.uint8]],
    encoder: SegmentedEncoder,
    film: Film,
    sentinel: FrameSentinel,
) -> dict[str, float]:
    """Check, draw into and encode frames as they come; those that the sentinel knows are encoded already.

    Returns:
        Seconds spent on decoding, on checks and drawing, and on waiting for ffmpeg.
    """
    done = len(sentinel.statistics)
    folder = FrameFolder(film.frames_folder, first_frame=done) if film.frames_folder is not None else None
    seconds = {"decode": 0.0, "check_and_draw": 0.0, "encode": 0.0}
    mark = time.perf_counter()

    def account(part: str) -> None:
        nonlocal mark
        seconds[part] += time.perf_counter() - mark
        mark = time.perf_counter()

    with encoder, folder or nullcontext():
        for frames in pieces:
            context.phases.faults.check()
            account("decode")
            sentinel.take(frames)
            if film.overlay is not None:
                film.overlay.draw(frames, done)
            if folder is not None:
                folder.put(frames)
            account("check_and_draw")
            encoder.put(frames)
            account("encode")
            done += len(frames)
            context.report_step(done, film.shown.count)
            context.stop.check()
            context.take_less()
    account("encode")
    return {part: round(spent, 3) for part, spent in seconds.items()}


def _read_back(film: Film, sheet: ContactSheet | None) -> None:
    """Read the finished video as a player would, and count its frames.

    Raises:
        StageFailedError: The video does not hold the frames that were written.
    """
    num_frames = 0
    for frame in read_frames(film.file):
        num_frames += 1
        if sheet is not None:
            sheet.put(frame[None])
    if num_frames != film.shown.count:
        raise StageFailedError(
            f"{film.file} does not hold the frames that were written",
            got=f"{num_frames} frames",
            expected=f"{film.shown.count} frames",
            next_step="Check the disk, then resume the run.",
        )
