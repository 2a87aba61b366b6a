from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sana_wm.errors import ManifestError
from sana_wm.manifest.loading import load_manifest
from sana_wm.manifest.model import Manifest
from sana_wm.manifest.schema import render_schema, schema_uri
from sana_wm.manifest.templates import template_names, template_text

Write = Callable[..., Path]
REAL_ENVIRONMENT = {
    "SANA_WM_MODEL_ROOT": "/weights",
    "SANA_WM_STREAMING_ROOT": "/student",
    "SANA_GEMMA_2_2B_IT_ROOT": "/gemma",
    "SANA_WM_INPUT_ROOT": "/inputs",
    "SANA_WM_OUTPUT_ROOT": "/outputs",
}


def messages(path: Path, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ManifestError) as caught:
        load_manifest(path, environ or {})
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_defaults_are_those_of_the_contract(write_manifest: Write) -> None:
    manifest = load_manifest(write_manifest(video=..., stage1=...), {})
    assert manifest.video.model_dump(include={"num_frames", "height", "width", "fps", "overlay"}) == {
        "num_frames": 321,
        "height": 704,
        "width": 1280,
        "fps": 16,
        "overlay": False,
    }
    assert (manifest.stage1.num_inference_steps, manifest.stage1.guidance_scale, manifest.stage1.flow_shift) == (
        60,
        5.0,
        9.8,
    )
    assert (manifest.stage1.seed, manifest.stage1.camera_rescale, manifest.stage1.checkpoint_every) == (42, "pr379", 5)
    assert manifest.refiner.model_dump() == {
        "enabled": True,
        "mode": "autoregressive",
        "seed": 42,
        "sink_size": 1,
        "block_size": 3,
        "kv_max_frames": 11,
    }
    assert (manifest.camera.dialect, manifest.camera.translation_speed, manifest.camera.rotation_speed_deg) == (
        "pr379",
        0.05,
        1.2,
    )
    assert (manifest.vae_decode.drop_sink_frame, manifest.memory.cap_gib, manifest.dtype) == (True, "auto", "auto")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stage1__seeed": 1}, "stage1.seeed: unknown key; got 1. Did you mean seed? "),
        ({"stage1__seed": "42"}, "stage1.seed: Input should be a valid integer; got str '42'"),
        ({"stage1__seed": True}, "stage1.seed: Input should be a valid integer"),
        ({"version": 2}, "version: Input should be 1; got int 2"),
        ({"input__image": ...}, "input.image: is missing"),
        ({"input__prompt_file": "p.txt"}, "input: give exactly one of prompt and prompt_file"),
        ({"input__prompt": ...}, "input: give exactly one of prompt and prompt_file"),
        ({"input__prompt": "  "}, "input.prompt: prompt is empty"),
        ({"camera__poses": "p.npy"}, "camera: give exactly one of action and poses"),
        ({"camera__intrinsics": [1.0, 2.0]}, "camera.intrinsics"),
        ({"video__height": 700}, "video.height: Input should be a multiple of 32; got int 700"),
        ({"model__gemma_root": None}, "model.gemma_root: gemma_root is needed with layout original"),
        (
            {"refiner__kv_max_frames": 2, "refiner__sink_size": 2},
            "refiner.kv_max_frames: kv_max_frames 2 must exceed sink_size 2",
        ),
        ({"memory__cap_gib": 0}, "memory.cap_gib: Input should be greater than 0; got int 0"),
        ({"output_dir": "${SANA_NOWHERE}/run"}, "output_dir: environment variable SANA_NOWHERE is not set"),
    ],
)
def test_a_bad_field_is_named_with_what_was_got(write_manifest: Write, changes: dict[str, object], said: str) -> None:
    assert said in messages(write_manifest(**changes))


def test_all_problems_are_listed_at_once(write_manifest: Write) -> None:
    text = messages(write_manifest(stage1__seed="42", video__height=700, colour="red"))
    assert "3 problems" in text
    assert all(field in text for field in ("stage1.seed", "video.height", "colour"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "not an object; got list"),
        ('{"version": 1, "version": 1}', "key 'version' occurs twice"),
        ('{"version": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_what_is_not_strict_json_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)
    assert said in messages(path)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    assert "No such file" in messages(tmp_path / "none.json")


def test_variables_and_home_are_expanded_and_paths_become_absolute(write_manifest: Write, tmp_path: Path) -> None:
    path = write_manifest(
        model__root="${SANA_ROOT}/w",
        model__gemma_root="~/g",
        input__image="picture.png",
        output_dir="out",
        name="$${ROOT}",
    )
    manifest = load_manifest(path, {"SANA_ROOT": "/volumes/big"})
    assert manifest.model.root == "/volumes/big/w"
    assert manifest.model.gemma_root == str(Path.home() / "g")
    assert manifest.input.image == str(tmp_path / "picture.png")
    assert manifest.output_dir == str(tmp_path / "out")
    assert manifest.name == "${ROOT}"


def test_intrinsics_are_a_path_or_four_numbers(write_manifest: Write, tmp_path: Path) -> None:
    assert load_manifest(write_manifest(), {}).camera.intrinsics == (160.0, 160.0, 100.0, 60.0)
    manifest = load_manifest(write_manifest(camera__intrinsics="k.npy"), {})
    assert manifest.camera.intrinsics == str(tmp_path / "k.npy")


def test_a_manifest_cannot_be_changed(write_manifest: Write) -> None:
    manifest = load_manifest(write_manifest(), {})
    with pytest.raises(ValueError, match="frozen"):
        manifest.stage1.seed = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_the_shipped_schema_is_the_generated_one() -> None:
    shipped = Path(schema_uri().removeprefix("file://")).read_text()
    assert shipped == render_schema()
    assert json.loads(shipped)["additionalProperties"] is False


@pytest.mark.parametrize("name", template_names())
def test_every_template_loads_once_its_variables_are_set(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.json"
    path.write_text(template_text(name))
    manifest = load_manifest(path, REAL_ENVIRONMENT)
    assert isinstance(manifest, Manifest)
    assert manifest.output_dir == f"/outputs/{name}"
    assert "ROOT is not set" in messages(path)


def test_the_promised_templates_are_there() -> None:
    assert template_names() == [
        "compare_c17_w_321f_author_defaults",
        "demo0_action_321f_4step",
        "demo0_action_321f_author_defaults",
        "demo0_camera_321f_4step",
        "demo0_camera_321f_author_defaults",
        "demo1_camera_321f_4step",
        "demo2_camera_321f_4step",
        "preview_25f",
        "streaming_313f",
        "streaming_preview_49f",
    ]


def test_every_field_is_in_the_manifest_reference() -> None:
    text = (Path(__file__).parents[2] / "docs" / "manifest.md").read_text()
    fields: list[str] = []
    for name, info in Manifest.model_fields.items():
        section = getattr(info.annotation, "model_fields", None)
        fields += [f"{name}.{field}" for field in section] if section else [name]
    assert [field for field in fields if f"`{field}`" not in text] == []


def test_everything_wrong_with_a_file_is_listed_at_once(write_manifest: Write) -> None:
    """A type, a range, an unknown key, fields that contradict each other, a variable: one reading."""
    said = messages(
        write_manifest(
            stage1__seed="42",
            video__height=700,
            stage1__seeed=1,
            refiner__kv_max_frames=2,
            refiner__sink_size=2,
            camera__poses="p.npy",
            output_dir="${SANA_NOWHERE}/run",
        )
    )
    for field in ("stage1.seed:", "video.height:", "stage1.seeed:", "refiner.kv_max_frames:", "camera:", "output_dir:"):
        assert field in said
