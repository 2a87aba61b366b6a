"""From the student's training checkpoint to a network that computes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sana_wm.durable import sha256_of
from sana_wm.errors import WeightsError
from sana_wm.models.loading import load_vae
from sana_wm.models.streaming.engine import StreamingEngine
from sana_wm.models.streaming.loading import load_student
from sana_wm.names import LAYOUTS, STAGES, LayoutName
from sana_wm.weights import streaming_checkpoint
from sana_wm.weights.__main__ import main
from sana_wm.weights.check import check_layout
from sana_wm.weights.conversion import CONVERSION_NAME
from sana_wm.weights.layout import DIFFUSERS_STEM, resolve_layout, student_component
from sana_wm.weights.streaming_checkpoint import convert_checkpoint
from sana_wm.weights.streaming_config import parse_streaming_config
from sana_wm.weights.tiny import write_tiny_checkpoint
from sana_wm.weights.tiny_streaming import write_tiny_student

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("student")
    write_tiny_student(out)
    return out


@pytest.fixture(scope="module")
def source(repository: Path) -> Path:
    return repository / "sana_dit" / "model.pt"


def read(source: Path) -> dict[str, Any]:
    return torch.load(source, weights_only=True)


def written(folder: Path, content: Any, config: Path) -> Path:
    """Another checkpoint, with the tiny one's config beside it."""
    folder.mkdir(exist_ok=True)
    torch.save(content, folder / "model.pt")
    (folder / "config.json").write_bytes(config.read_bytes())
    return folder / "model.pt"


def test_the_command_converts_in_a_process_of_its_own_and_only_once(tmp_path: Path, source: Path) -> None:
    command = [sys.executable, "-m", "sana_wm.weights", "convert", str(source), "--out", str(tmp_path)]
    first = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    again, was_there = convert_checkpoint(source, tmp_path)
    assert (first.pop("was_there"), was_there) == (False, True)
    assert first == json.loads(again.model_dump_json()) == json.loads((tmp_path / CONVERSION_NAME).read_text())
    assert again.found == ("critic", "step")
    assert again.source_sha256 == sha256_of(source)
    assert {name: file.sha256 for name, file in again.files.items()} == {
        path.name: sha256_of(path) for path in tmp_path.iterdir() if path.name != CONVERSION_NAME
    }


def test_the_student_loads_with_the_numbers_of_its_checkpoint(tmp_path: Path, source: Path) -> None:
    convert_checkpoint(source, tmp_path)
    transformer, config = load_student(student_component(tmp_path), CPU, torch.float32)
    stored = read(source)["generator"]
    assert torch.equal(transformer.blocks[0].attn.qkv.weight, stored["model.blocks.0.attn.qkv.weight"])
    assert torch.equal(transformer.t_embedder.linear_1.weight, stored["model.t_embedder.mlp.0.weight"])
    assert len(transformer.state_dict()) == len(stored) - 2
    assert config.timesteps == (1000, 960, 889, 727)
    StreamingEngine(transformer)


@pytest.mark.parametrize("names", ["upstream", "diffusers"])
def test_conversions_of_others_load(tmp_path: Path, source: Path, names: str) -> None:
    """As vLLM-Omni's tool writes them: one file, and a config in upstream's words with more than the class takes."""
    convert_checkpoint(source, tmp_path / "ours")
    ours, _ = load_student(student_component(tmp_path / "ours"), CPU, torch.float32)
    tensors = {key.removeprefix("model."): value for key, value in read(source)["generator"].items()}
    if names == "diffusers":
        tensors = dict(ours.state_dict())
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    save_file(tensors, theirs / f"{DIFFUSERS_STEM}.safetensors")
    streaming = {
        "_class_name": "SanaWmTransformer3DModel",
        "ffn_type": "CachedGLUMBConvTemp",
        "pos_embed_type": "casual_wan_rope",
        "chunk_size": 3,
        "num_cached_blocks": 3,
        "sink_token": False,
        "denoising_step_list": [1000, 967, 908, 764, 0],
        "streaming": True,
    }
    config = json.loads((source.parent / "config.json").read_text()) | streaming
    (theirs / "config.json").write_text(json.dumps(config))
    transformer, found = load_student(student_component(theirs), CPU, torch.float32)
    assert all(torch.equal(ours.state_dict()[name], value) for name, value in transformer.state_dict().items())
    assert (found.seen_chunks, found.sink, found.timesteps) == (3, False, (1000, 967, 908, 764))
    StreamingEngine(transformer)


def test_large_checkpoints_become_several_files(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming_checkpoint, "SHARD_BYTES", 200_000)
    converted, _ = convert_checkpoint(source, tmp_path)
    component = student_component(tmp_path)
    assert len(component.shards) > 2
    assert sum(len(load_file(shard)) for shard in component.shards) == converted.tensors
    load_student(component, CPU, torch.bfloat16)


def test_an_interrupted_conversion_is_not_taken_for_a_whole_one(tmp_path: Path, source: Path) -> None:
    convert_checkpoint(source, tmp_path)
    (tmp_path / f"{DIFFUSERS_STEM}.safetensors.index.json").unlink()
    with pytest.raises(WeightsError):
        load_student(student_component(tmp_path), CPU, torch.float32)
    assert convert_checkpoint(source, tmp_path)[1] is False


def test_another_checkpoint_replaces_the_conversion(tmp_path: Path, source: Path) -> None:
    convert_checkpoint(source, tmp_path / "out")
    content = read(source)
    content["generator"]["model.blocks.0.attn.qkv.weight"] += 1
    other = written(tmp_path / "other", content, source.parent / "config.json")
    assert convert_checkpoint(other, tmp_path / "out")[1] is False
    transformer, _ = load_student(student_component(tmp_path / "out"), CPU, torch.float32)
    assert torch.equal(transformer.blocks[0].attn.qkv.weight, content["generator"]["model.blocks.0.attn.qkv.weight"])


class Builder:
    """What a pickle of a stranger might build."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("touched"),)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["generator"].pop("model.blocks.1.attn.qkv.weight"), "missing instead of"),
        (
            lambda content: content["generator"].update({"model.extra": torch.zeros(2)}),
            r"extra \(2,\) instead of no",
        ),
        (lambda content: content["generator"].update({"model.x": torch.zeros(2).long()}), "no tensor of weights"),
        (lambda content: content["generator"].update({"blocks.1.attn.qkv.weight": torch.zeros(2)}), "there twice"),
        (lambda content: content.pop("generator"), "holds no student; got critic, step"),
        (lambda content: content.update(hook=Builder()), "cannot be read as a checkpoint of weights"),
    ],
)
def test_what_is_no_student_is_refused(tmp_path: Path, source: Path, change: Any, message: str) -> None:
    content = read(source)
    change(content)
    other = written(tmp_path / "other", content, source.parent / "config.json")
    with pytest.raises(WeightsError, match=message):
        convert_checkpoint(other, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not Path("touched").exists()


def test_a_file_that_is_no_checkpoint_is_refused_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.pt").write_bytes(b"not a checkpoint")
    monkeypatch.setattr(sys, "argv", ["weights", "convert", str(tmp_path / "model.pt"), "--out", str(tmp_path / "out")])
    assert main() == WeightsError.exit_code
    assert "cannot be read as a checkpoint of weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    "config",
    [
        {"denoising_step_list": [1000, 960]},
        {"denoising_step_list": [960, 1000, 0]},
        {"denoising_step_list": [1000.5, 0]},
        {"denoising_step_list": "1000,0"},
        {"chunk_size": 0},
        {"num_cached_blocks": 2.0},
    ],
)
def test_a_config_that_makes_no_sense_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(WeightsError, match="no usable"):
        parse_streaming_config(config)


def test_the_causal_vae_loads_under_upstreams_class_name(repository: Path) -> None:
    layout = resolve_layout("diffusers", repository)
    vae = replace(
        layout.vae,
        folder=repository / "ltx2_causal_vae",
        config=repository / "ltx2_causal_vae" / "config.json",
        shards=(repository / "ltx2_causal_vae" / f"{DIFFUSERS_STEM}.safetensors",),
    )
    assert load_vae(replace(layout, vae=vae), CPU, torch.float32, part="decoder").decoder.is_causal
    assert load_vae(replace(layout, vae=vae), CPU, torch.float32, part="encoder").encoder.is_causal


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_tiny_checkpoint_of_the_student_is_whole_in_either_layout(layout: LayoutName, tmp_path: Path) -> None:
    places = write_tiny_checkpoint(tmp_path, layout, variant="streaming")
    assert check_layout(places.layout(), STAGES) == []
    assert places.as_manifest_section()["variant"] == "streaming"
