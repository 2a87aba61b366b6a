"""Takes every decoded frame and stops a decode whose frames only wrong arithmetic can have made.

It judges after each segment of the video and at its end, by the statistics that lie beside the segments: wherever a run
was interrupted, the verdict is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sana_wm.camera.intrinsics import resize_and_crop
from sana_wm.camera.of_manifest import picture_geometry
from sana_wm.durable import move_folder, remove_tree, sha256_of
from sana_wm.errors import HandoffError, SanityError, UsageError
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import Stage
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.stages.latent_likeness import LatentLikeness
from sana_wm.video.likeness import name_change, name_scale, shows_another_scene
from sana_wm.video.picture import open_picture
from sana_wm.video.sanity import (
    Finding,
    FrameStatistics,
    SanityLimits,
    judge_frames,
    measure_frame,
    warn_of_frames,
)


class FrameSentinel:
    """Watches one decode.

    Args:
        run: The run directory.
        manifest: What runs; `sanity` says whether a broken video is refused or only warned of.
        latents: (C, F, h, w), on the CPU: what is decoded.
        stage: That decodes.
        first_frame: Which of the decoded frames is the first one shown.
        frames_per_segment: It judges each time so many frames are complete.
        knows_pictures: Whether the VAE is the released one: only then must the first frame resemble the picture.

    Attributes:
        statistics: Of all frames shown so far, those of an earlier start included.
        warnings: What was found and not refused.
    """

    def __init__(
        self,
        run: RunDirectory,
        manifest: RunManifest,
        latents: torch.Tensor,
        *,
        stage: Stage,
        first_frame: int,
        frames_per_segment: int,
        knows_pictures: bool,
    ) -> None:
        self.statistics: list[FrameStatistics] = []
        self.warnings: list[str] = []
        self._run = run
        self._stage: Stage = stage
        self._sanity = manifest.sanity
        self._picture = _measure_picture(manifest)
        self._likeness = LatentLikeness(latents, first_frame)
        self._first_frame = first_frame
        self._frames_per_segment = frames_per_segment
        self._knows_pictures = knows_pictures
        self._next_decoded = 0

    def go_on(self, statistics: Sequence[FrameStatistics], first_decoded: int) -> None:
        """Go on behind finished segments: they were judged before they were written.

        Args:
            statistics: Of their frames.
            first_decoded: The frame that the decode begins at now, counted from the first of all.
        """
        self.statistics = list(statistics)
        self._next_decoded = first_decoded

    def watch(self, samples: torch.Tensor) -> None:
        """Look at the next decoded samples, (n, C, h, w), before they become 8-bit values, which cannot hold NaN.

        Raises:
            SanityError: They are not finite.
        """
        # Both keep NaN, and neither needs memory for another copy.
        extremes = torch.maximum(samples.amax((1, 2, 3)), -samples.amin((1, 2, 3))).tolist()
        first = self._next_decoded - self._first_frame
        broken = [first + index for index, value in enumerate(extremes) if not np.isfinite(value)]
        self._next_decoded += len(extremes)
        if broken:  # a frame that is dropped counts as the one behind it
            self._refuse([Finding("are not finite", max(0, broken[0]), max(0, broken[-1]))])

    def take(self, frames: NDArray[np.uint8]) -> None:
        """Measure the next frames, uint8 (n, H, W, 3), and judge what is complete.

        Raises:
            SanityError: Wrong arithmetic made them; what was encoded is kept as evidence.
        """
        for frame in frames:
            self.statistics.append(measure_frame(frame))
            if len(self.statistics) % self._frames_per_segment == 0:
                self._judge(len(self.statistics) - self._frames_per_segment)

    def finish(self) -> tuple[str, ...]:
        """Judge what no whole segment holds, and all once more, now that every frame has others on both sides.

        Returns:
            Warnings: what a camera may see, and what was found and shall not be refused.

        Raises:
            SanityError: As in `take`.
        """
        self._judge(len(self.statistics) // self._frames_per_segment * self._frames_per_segment, is_end=True)
        self._judge(0, is_end=True)
        limits = self._sanity
        found = warn_of_frames(
            self.statistics,
            SanityLimits(
                black_mean=limits.black_mean,
                constant_std=limits.constant_std,
                saturated_share=limits.saturated_share,
                laplacian_share=limits.laplacian_share,
            ),
        )
        return (*self.warnings, *map(str, [*self._likeness.doubts, *found]))

    def _judge(self, from_frame: int, *, is_end: bool = False) -> None:
        # A sign may have begun in the segment before, and need a few frames more.
        begin = max(0, from_frame - self._frames_per_segment)
        findings = [
            replace(finding, first_frame=finding.first_frame + begin, last_frame=finding.last_frame + begin)
            for finding in judge_frames(self.statistics[begin:], self._picture)
        ]
        findings += self._likeness.judge(self.statistics, from_frame, is_end=is_end)
        if from_frame == 0 and (unlike := self._hold_against_picture()):
            findings.append(Finding(unlike, 0, 0))
        if not findings:
            return
        if self._sanity.broken_frames == "refuse":
            self._refuse(findings)
        if is_end:
            self.warnings = list(map(str, findings))

    def _hold_against_picture(self) -> str | None:
        """What is wrong with the first frame shown, which is the picture or comes right after it."""
        if self._picture is None:
            return None
        shown, expected = (frame.colours.astype(np.float64) for frame in (self.statistics[0], self._picture))
        if changed := name_change(shown, expected) or name_scale(shown, expected):
            return f"show the input picture, {changed}"
        if self._knows_pictures and shows_another_scene(shown, expected):
            return "do not show the input picture"
        return None

    def _refuse(self, findings: Sequence[Finding]) -> None:
        """Keep the segments so far as evidence, never to be used again, and say how to go on.

        Raises:
            SanityError: Always.
        """
        evidence = self._run.evidence_file(self._stage).with_suffix("")
        remove_tree(evidence)
        move_folder(self._run.checkpoint_folder(self._stage), evidence)
        raise SanityError(
            "decoded video looks broken",
            got="; ".join(map(str, findings)),
            expected="frames as a camera could see them, like the latents that they are decoded from",
            next_step=f"The latents are kept: {self._run.resume_command} decodes them again. What was encoded lies in "
            f'{evidence}; if it is as it should be, set sanity.broken_frames to "warn" in your manifest and run it '
            "again with run-pipeline: only the decode runs.",
        )


def _measure_picture(manifest: RunManifest) -> FrameStatistics | None:
    """The input picture as the video shows it; `None` when its file is not there any more, or another."""
    path, named = Path(manifest.input.image), manifest.inputs.get("input.image")
    try:
        if named is None or sha256_of(path) != named.sha256:
            return None
        picture = open_picture(path).image
    except (HandoffError, UsageError):
        return None
    return measure_frame(np.asarray(resize_and_crop(picture, picture_geometry(manifest, picture.size))))
