"""The field-of-view head of Depth Pro: transformers' own classes at tiny size, without torchvision."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import DepthProConfig, DepthProForDepthEstimation

from sana_wm.errors import WeightsError
from sana_wm.models.depth_pro import estimate_focal_lengths_px, field_of_view_deg, load_depth_pro

Write = Callable[..., Path]
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def depth_pro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Depth Pro of 94,000 parameters whose head answers about 60 degrees."""
    encoder = {
        "model_type": "dinov2",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 4,
        "image_size": 16,
        "mlp_ratio": 2,
    }
    config = DepthProConfig(
        patch_size=16,
        fusion_hidden_size=16,
        intermediate_hook_ids=[1, 0],
        intermediate_feature_dims=[16, 16],
        scaled_images_feature_dims=[16, 16, 16],
        use_fov_model=True,
        num_fov_head_layers=1,
        image_model_config=dict(encoder),
        patch_model_config=dict(encoder),
        fov_model_config=dict(encoder),
    )
    torch.manual_seed(0)
    model = DepthProForDepthEstimation(config)
    with torch.no_grad():
        last = model.fov_model.head.layers[-1]
        last.weight.mul_(0.1)
        last.bias.fill_(60)
    root = tmp_path_factory.mktemp("depth_pro")
    model.save_pretrained(root)
    return root


def test_the_angle_is_the_whole_networks(depth_pro: Path) -> None:
    model = load_depth_pro(depth_pro)
    pixels = torch.rand(3, 120, 200, generator=torch.Generator().manual_seed(1))
    square = F.interpolate((pixels[None] - 0.5) / 0.5, size=(64, 64), mode="bilinear", align_corners=False)
    with torch.inference_mode():
        whole = model(pixel_values=square).field_of_view
        assert field_of_view_deg(model, pixels) == pytest.approx(float(whole), abs=1e-4)
    assert "torchvision" not in sys.modules


def test_three_looks_give_focal_lengths_of_the_same_pixels(depth_pro: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the network sure, a picture of 90 degrees would have a middle of 77.3: one focal length."""
    middle_deg = math.degrees(2 * math.atan(0.8))
    shapes: list[tuple[int, ...]] = []

    def sure(_model: object, look: torch.Tensor) -> float:
        shapes.append(tuple(look.shape))
        return 90.0 if look.shape[2] == 200 else middle_deg

    monkeypatch.setattr("sana_wm.models.depth_pro.field_of_view_deg", sure)
    assert estimate_focal_lengths_px(load_depth_pro(depth_pro), torch.rand(3, 120, 200)) == pytest.approx([100] * 3)
    assert shapes == [(3, 120, 200), (3, 120, 200), (3, 96, 160)]


def test_weights_without_the_head_are_refused(depth_pro: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((depth_pro / "config.json").read_bytes())
    tensors = load_file(depth_pro / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("fov_model.head")}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"missing \['fov_model\.head"):
        load_depth_pro(tmp_path)


def test_a_manifest_that_asks_for_an_estimate_gets_one(write_manifest: Write, sana_wm: Cli, depth_pro: Path) -> None:
    path = write_manifest(camera__intrinsics="estimate", model__depth_pro_root=str(depth_pro))
    code, out, err = sana_wm("validate-manifest", path, "--json")
    assert code == 0, err
    manifest = json.loads(out)["manifest"]
    estimate: dict[str, Any] = manifest["intrinsics_estimate"]
    fx, fy, cx, cy = manifest["camera"]["intrinsics"]
    assert estimate["intrinsics"] == [fx, fy, cx, cy]
    assert (fx, cx, cy) == (fy, 100, 60)
    assert 40 < estimate["field_of_view_deg"] < 80
    assert estimate["source"].startswith("Depth Pro (weights ")
    assert estimate["uncertainty_share"] >= 0.25
