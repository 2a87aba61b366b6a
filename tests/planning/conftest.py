"""The released model without its weights: real configs' defaults, real names and shapes, files that are all holes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from sana_wm.manifest.model import Manifest
from sana_wm.planning.device import Device
from sana_wm.planning.forecast import RunForecaster
from sana_wm.weights.layout import WeightLayout, resolve_layout
from sana_wm.weights.tables import TABLES, expected_tensors

# What the released config.json files say beyond the classes' defaults, as far as it decides sizes.
RELEASED: dict[str, dict[str, object]] = {
    "vae": {"decoder_causal": False, "decoder_spatial_padding_mode": "reflect"},
    "refiner_text_encoder": {
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "num_attention_heads": 16,
        "num_hidden_layers": 48,
        "num_key_value_heads": 8,
    },
}


def write_holes(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file in bfloat16 whose data is a hole: it has its full size and takes no disk."""
    header: dict[str, object] = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        file.truncate(8 + len(encoded) + end)


@pytest.fixture(scope="session")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> WeightLayout:
    """The released model in the diffusers layout."""
    root = tmp_path_factory.mktemp("full_size")
    layout = resolve_layout("diffusers", root)
    for name in TABLES:
        component = getattr(layout, name)
        shapes = expected_tensors(name, RELEASED.get(name, {}))
        assert shapes is not None
        assert all(component.rules(tensor) == tensor for tensor in shapes)
        write_holes(component.shards[0], shapes)
        component.config.write_text(json.dumps(RELEASED.get(name, {})))
    return resolve_layout("diffusers", root)


@pytest.fixture
def full_size_run(full_size: WeightLayout) -> Callable[..., RunForecaster]:
    """A run of the released model: `full_size_run(device, frames, cap_gib, section__field=value)`."""

    def run(device: Device, frames: int, cap_gib: float, **changes: object) -> RunForecaster:
        data: dict[str, dict[str, object]] = {"video": {"num_frames": frames}, "memory": {"cap_gib": float(cap_gib)}}
        for dotted, value in changes.items():
            section, field = dotted.split("__")
            data.setdefault(section, {})[field] = value
        manifest = Manifest.model_validate(
            {
                "version": 1,
                "name": "full size",
                "model": {"layout": "diffusers", "root": str(full_size.vae.folder.parent)},
                "input": {"image": "picture.png", "prompt": "A road."},
                "camera": {"action": f"w-{frames}", "intrinsics": (900.0, 900.0, 640.0, 352.0)},
                "output_dir": "run",
                **data,
            }
        )
        return RunForecaster(manifest, full_size, device)

    return run
