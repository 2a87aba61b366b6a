"""Intrinsics that nobody gave: from the picture's EXIF data, else by Depth Pro in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from sana_wm.camera.exif import FocalLength, read_focal_length
from sana_wm.camera.field_of_view import doubt_about, field_of_view_deg, plausible_deg
from sana_wm.camera.intrinsics import crop_intrinsics
from sana_wm.camera.of_manifest import picture_geometry
from sana_wm.durable import sha256_of
from sana_wm.errors import HandoffError, UsageError, WeightsError
from sana_wm.manifest.model import Manifest
from sana_wm.manifest.run_manifest import IntrinsicsEstimate
from sana_wm.modules import run_module
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.video.picture import inspect_picture, opened
from sana_wm.weights.headers import identity_digest

#: What Depth Pro's paper (arXiv 2410.02073) counts as a hit; no less is claimed, however well its looks agree.
DEPTH_PRO_SHARE = 0.25
HOW_TO_GIVE = (
    "Give camera.intrinsics as [fx, fy, cx, cy] in pixels of the picture (a camera that sees A degrees across W pixels "
    "has fx = W / 2 / tan(A / 2); a phone's main lens sees about 70), or set model.depth_pro_root to Depth Pro's "
    "weights: hf download apple/DepthPro-hf --local-dir weights/depth-pro"
)


def estimate_intrinsics(manifest: Manifest) -> IntrinsicsEstimate:
    """Find the intrinsics of the manifest's picture; an earlier run of the same picture keeps what it found.

    Raises:
        PictureError: The picture cannot be read.
        UsageError: It says nothing and Depth Pro is not set up; or what was found is no plausible camera.
        WeightsError: Depth Pro's weights are not usable.
    """
    path = Path(manifest.input.image)
    picture = inspect_picture(path)
    if (earlier := _earlier_estimate(manifest)) is not None:
        shown_deg = video_field_of_view_deg(manifest, earlier.intrinsics, picture.size)[0]
        return earlier.model_copy(update={"field_of_view_deg": shown_deg})  # another part may be shown now
    with opened(path) as image:
        focal = read_focal_length(image)
    if isinstance(focal, str):
        if manifest.model.depth_pro_root is None:
            raise UsageError(
                "camera.intrinsics cannot be estimated",
                got=focal,
                expected="EXIF data with the focal length, or Depth Pro's weights",
                next_step=HOW_TO_GIVE,
            )
        focal = _ask_depth_pro(path, Path(manifest.model.depth_pro_root))
    intrinsics = (focal.fx, focal.fy, picture.size[0] / 2, picture.size[1] / 2)
    horizontal_deg = video_field_of_view_deg(manifest, intrinsics, picture.size)[0]
    low, high = plausible_deg(width=manifest.video.width, height=manifest.video.height)[0]
    if doubt := doubt_about(horizontal_deg, (low, high)):
        raise UsageError(
            f"the estimated intrinsics are not plausible ({focal.source})",
            got=doubt,
            expected=f"{low:g} to {high:g} degrees",
            next_step="Give camera.intrinsics as [fx, fy, cx, cy] in pixels of the picture.",
        )
    return IntrinsicsEstimate(
        intrinsics=intrinsics,
        field_of_view_deg=horizontal_deg,
        source=focal.source,
        uncertainty_share=focal.uncertainty_share,
        basis=focal.basis,
    )


def settle_intrinsics(manifest: Manifest, estimate: IntrinsicsEstimate) -> Manifest:
    """The manifest with what was estimated in place of the wish to estimate."""
    camera = manifest.camera.model_copy(update={"intrinsics": estimate.intrinsics})
    return manifest.model_copy(update={"camera": camera})


def describe_estimate(estimate: IntrinsicsEstimate) -> str:
    """The value, its source and its uncertainty in one line."""
    return (
        f"the video's field of view is {estimate.field_of_view_deg:.1f} degrees across, from {estimate.source}; "
        f"focal length give or take {estimate.uncertainty_share:.0%}: {estimate.basis}"
    )


def video_field_of_view_deg(
    manifest: Manifest, intrinsics: tuple[float, ...], picture_size: tuple[int, int]
) -> tuple[float, float]:
    """Horizontal and vertical field of view of the part of the picture that the video shows."""
    video = manifest.video
    geometry = picture_geometry(manifest, picture_size)
    cropped = crop_intrinsics(np.asarray(intrinsics, dtype=np.float32), geometry)
    return field_of_view_deg(cropped.tolist(), width=video.width, height=video.height)


def _earlier_estimate(manifest: Manifest) -> IntrinsicsEstimate | None:
    """What a run in this output_dir found for the same picture: going on must not depend on estimating again."""
    try:
        earlier = RunDirectory(Path(manifest.output_dir)).read_manifest()
    except HandoffError:
        return None
    before = earlier.inputs.get("input.image")
    if before is None or before.sha256 != sha256_of(Path(manifest.input.image)):
        return None
    return earlier.intrinsics_estimate


def _ask_depth_pro(picture: Path, root: Path) -> FocalLength:
    shards = sorted(root.glob("[!.]*.safetensors"))
    try:
        kind = json.loads((root / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        kind = None
    if not shards or kind != "depth_pro":
        raise WeightsError(
            f"model.depth_pro_root {root} does not hold Depth Pro",
            got=f"model_type {kind}, {len(shards)} weight files",
            expected="config.json of model_type depth_pro, and *.safetensors",
            next_step="hf download apple/DepthPro-hf --local-dir weights/depth-pro",
        )
    digests = ", ".join(identity_digest(shard)[:12] for shard in shards)
    answer = json.loads(run_module("sana_wm.stages.intrinsics", [str(picture), "--weights", str(root)], quiet=True))
    focal_px, *others_px = answer["focal_lengths_px"]
    spread = max(abs(other / focal_px - 1) for other in others_px)
    basis = f"its mirrored and cropped looks differ by {100 * spread:.0f} %; never less than {DEPTH_PRO_SHARE:.0%}"
    return FocalLength(focal_px, focal_px, f"Depth Pro (weights {digests})", max(spread, DEPTH_PRO_SHARE), basis)
