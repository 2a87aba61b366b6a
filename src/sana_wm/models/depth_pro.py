"""The field-of-view head of Apple's Depth Pro: how long a lens took a picture.

Source: arXiv 2410.02073; the network is transformers' `DepthProForDepthEstimation`. Its image processor needs
torchvision; the three steps it takes are written out here instead.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from transformers import DepthProForDepthEstimation

from sana_wm.errors import WeightsError

#: Pixels of the square that the network sees, per pixel of a patch: `DepthProImageProcessor`'s 1536 for 384.
SQUARE_PATCHES = 4
#: Side of the middle that is looked at once more, as a share of the picture's: as through a longer
#: lens, with most of the scene. Our choice, not a paper's.
CROP_SHARE = 0.8


def load_depth_pro(root: Path) -> DepthProForDepthEstimation:
    """Load the network on the CPU in float32.

    Raises:
        WeightsError: It has no field-of-view head, or not all of its weights.
    """
    loaded = DepthProForDepthEstimation.from_pretrained(
        root, dtype=torch.float32, local_files_only=True, output_loading_info=True
    )
    model, report = cast("tuple[DepthProForDepthEstimation, dict[str, Any]]", loaded)
    if not model.use_fov_model or report["missing_keys"]:
        missing = sorted(report["missing_keys"])[:3]
        raise WeightsError(
            f"{root} holds no whole Depth Pro with its field-of-view head",
            got=f"use_fov_model {model.use_fov_model}, missing {missing}",
            next_step="hf download apple/DepthPro-hf --local-dir weights/depth-pro",
        )
    return model.eval()


def estimate_focal_lengths_px(model: DepthProForDepthEstimation, pixels: torch.Tensor) -> list[float]:
    """Focal length, from three looks at a picture that would agree if the network were sure.

    Args:
        model: From `load_depth_pro`.
        pixels: The upright picture, (3, H, W) in [0, 1].

    Returns:
        In pixels of the picture: from the picture, from its mirror image, from its middle.
    """
    height, width = pixels.shape[1:]
    crop_height, crop_width = round(CROP_SHARE * height), round(CROP_SHARE * width)
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    looks = (pixels, pixels.flip(-1), pixels[:, top : top + crop_height, left : left + crop_width])
    return [look.shape[2] / 2 / math.tan(math.radians(field_of_view_deg(model, look)) / 2) for look in looks]


def field_of_view_deg(model: DepthProForDepthEstimation, pixels: torch.Tensor) -> float:
    """Horizontal field of view; depth itself is not computed.

    Args:
        model: From `load_depth_pro`.
        pixels: (3, H, W) in [0, 1].
    """
    assert model.fov_model is not None  # `load_depth_pro` sees to it
    side = SQUARE_PATCHES * cast("int", model.config.patch_size)
    # Normalized first, then scaled without antialiasing, whatever the proportions: as the image processor does.
    square = F.interpolate((pixels[None] - 0.5) / 0.5, size=(side, side), mode="bilinear", align_corners=False)
    features = model.depth_pro(pixel_values=square).features[0]
    return float(model.fov_model(pixel_values=square, global_features=features))
