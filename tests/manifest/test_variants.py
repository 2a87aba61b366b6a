"""What the student's manifests may say: its own steps, lengths of whole chunks, none of the other model's fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sana_wm.errors import ManifestError
from sana_wm.manifest.loading import parse_manifest
from sana_wm.manifest.model import Manifest
from sana_wm.manifest.portable import rerun_manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.variants import MODELS


def manifest_of(tiny: Any, variant: str, **changes: Any) -> dict[str, Any]:
    data = tiny(Path("picture.png"), {"root": "weights", "gemma_root": "gemma", "variant": variant})
    data["stage1"] = {}
    data["video"]["num_frames"] = 49
    for dotted, value in changes.items():
        section, _, name = dotted.partition("__")
        data.setdefault(section, {})[name] = value
    return data


def refused(data: dict[str, Any]) -> list[str]:
    try:
        parse_manifest(data, Manifest)
    except ManifestError as error:
        return [problem.field for problem in error.problems]
    return []


def test_what_it_was_taught_needs_no_word(tiny: Any) -> None:
    stage1 = parse_manifest(manifest_of(tiny, "streaming"), Manifest).stage1
    assert (stage1.num_inference_steps, stage1.guidance_scale) == (4, 1.0)
    other = parse_manifest(manifest_of(tiny, "bidirectional"), Manifest).stage1
    assert (other.num_inference_steps, other.guidance_scale) == (60, 5.0)


@pytest.mark.parametrize(
    ("variant", "field", "value"),
    [
        ("streaming", "stage1.num_inference_steps", 60),
        ("streaming", "stage1.guidance_scale", 5.0),
        ("streaming", "stage1.guidance_until", 0.5),
        ("streaming", "stage1.flow_shift", 8.0),
        ("streaming", "stage1.camera_rescale", "none"),
        ("streaming", "stage1.checkpoint_every", 1),
        ("streaming", "input.negative_prompt", "blurry"),
        ("streaming", "refiner.mode", "single_shot"),
        ("streaming", "model.backend", "pr379"),
        ("bidirectional", "stage1.chunk_noise", "clip"),
        ("bidirectional", "stage1.streaming_version", "release401"),
        ("bidirectional", "stage1.keep_state", True),
        ("bidirectional", "input.continues", "stage1.safetensors"),
    ],
)
def test_a_field_of_the_other_model_is_refused_by_name(tiny: Any, variant: str, field: str, value: Any) -> None:
    assert refused(manifest_of(tiny, variant, **{field.replace(".", "__"): value})) == [field]


def test_what_it_takes_anyway_may_be_written_out(tiny: Any) -> None:
    written = manifest_of(tiny, "streaming", stage1__num_inference_steps=4, stage1__guidance_scale=1.0)
    assert refused(written) == []
    settled = parse_manifest(written | {"memory": {"cap_gib": 8.0}}, Manifest).model_dump(mode="json")
    run = parse_manifest({**settled, "inputs": {}, "picture": None, "intrinsics_estimate": None}, RunManifest)
    assert refused({key: value for key, value in rerun_manifest(run).items() if key != "$schema"}) == []


@pytest.mark.parametrize(
    ("num_frames", "near"), [(25, "49 or 73"), (48, "49 or 73"), (161, "169 or 145"), (321, "313 or 337")]
)
def test_a_length_without_whole_chunks_is_refused_with_those_next_to_it(tiny: Any, num_frames: int, near: str) -> None:
    with pytest.raises(ManifestError, match=near):
        parse_manifest(manifest_of(tiny, "streaming", video__num_frames=num_frames), Manifest)


@pytest.mark.parametrize("num_frames", [49, 73, 313, 961, 2881, 8185])
def test_lengths_of_whole_chunks_are_taken(tiny: Any, num_frames: int) -> None:
    assert refused(manifest_of(tiny, "streaming", video__num_frames=num_frames)) == []
    assert num_frames in MODELS["streaming"].num_frames_near(num_frames)
