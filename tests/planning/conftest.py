"""Runs of the released model, of which there are names, shapes and sizes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from sana_wm.manifest.model import Manifest
from sana_wm.names import Variant
from sana_wm.planning.device import Device
from sana_wm.planning.forecast import RunForecaster
from sana_wm.weights.empty_checkpoint import write_empty_checkpoint
from sana_wm.weights.layout import WeightLayout


@pytest.fixture(scope="session")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Variant], WeightLayout]:
    """A released model in the diffusers layout."""

    @cache
    def write(variant: Variant) -> WeightLayout:
        return write_empty_checkpoint(tmp_path_factory.mktemp(f"full_size_{variant}"), variant=variant)

    return write


@pytest.fixture
def full_size_run(full_size: Callable[[Variant], WeightLayout]) -> Callable[..., RunForecaster]:
    """A run of a released model: `full_size_run(device, frames, cap_gib, variant, section__field=value)`."""

    def run(
        device: Device, frames: int, cap_gib: float, variant: Variant = "bidirectional", **changes: object
    ) -> RunForecaster:
        layout = full_size(variant)
        data: dict[str, dict[str, object]] = {"video": {"num_frames": frames}, "memory": {"cap_gib": float(cap_gib)}}
        for dotted, value in changes.items():
            section, field = dotted.split("__")
            data.setdefault(section, {})[field] = value
        manifest = Manifest.model_validate(
            {
                "version": 1,
                "name": "full size",
                "model": {"layout": "diffusers", "root": str(layout.vae.folder.parent), "variant": variant},
                "input": {"image": "picture.png", "prompt": "A road."},
                "camera": {"action": f"w-{frames}", "intrinsics": (900.0, 900.0, 640.0, 352.0)},
                "output_dir": "run",
                **data,
            }
        )
        return RunForecaster(manifest, layout, device)

    return run
