"""Weights in 8 bits: how far they are from the stored ones, and that nothing but their rounding changes a result."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.conftest import draw_picture, tiny_manifest
from tests.pipeline.streaming_runs import run_here, run_stage_here
from torch import Tensor, nn

from sana_wm.errors import WeightsError
from sana_wm.models.int8 import Int8Linear, UnpackBuffer, unpack, use_int8_linears
from sana_wm.models.loading import load_connectors, load_gemma3, load_weights
from sana_wm.models.refiner.loading import open_refiner_engine, stream_gemma3
from sana_wm.models.refiner.refine import refine_autoregressive
from sana_wm.models.refiner.transformer import RefinerEngine
from sana_wm.preflight.prospect import inspect
from sana_wm.runs.receipts import read_receipt
from sana_wm.weights.int8 import as_int8, int8_components, int8_folder, int8_rule, scale_of
from sana_wm.weights.layout import Component, WeightLayout, resolve_layout
from sana_wm.weights.quantizing import quantize, quantize_component, quantize_layout
from sana_wm.weights.stored import read_stored_weights

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A manifest's `model` section: a copy of the tiny checkpoint, beside which 8-bit files may be made."""
    root = tiny_models["diffusers"]["root"]
    copied = str(shutil.copytree(root, tmp_path_factory.mktemp("int8") / "weights"))
    return {name: value and value.replace(root, copied) for name, value in tiny_models["diffusers"].items()}


@pytest.fixture(scope="module")
def stored(model: dict[str, Any]) -> WeightLayout:
    return resolve_layout("diffusers", Path(model["root"]))


@pytest.fixture(scope="module")
def layout(stored: WeightLayout) -> WeightLayout:
    """Its 8-bit files in place of the stored ones."""
    return quantize_layout(stored, lambda _line: None)


def unpacked(component: Component) -> dict[str, Tensor]:
    """A component's tensors in float32, bytes and scales multiplied: by one multiplication each, nothing else."""
    tensors = {name: tensor for shard in component.shards for name, tensor in load_file(shard).items()}
    dense: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if scale_of(name) in tensors:
            scale = tensors[scale_of(name)].float()
            dense[name] = tensor.float() * scale.repeat_interleave(tensor.shape[1] // scale.shape[1], dim=1)
        elif not name.endswith("_scale"):
            dense[name] = tensor.float()
    return dense


def fill(network: nn.Module, tensors: dict[str, Tensor], folder: Path) -> nn.Module:
    """A network with these weights, loaded as any other."""
    save_file(tensors, folder / "dense.safetensors")
    load_weights(network, [folder / "dense.safetensors"], device=CPU, dtype=torch.float32)
    return network


@pytest.mark.parametrize("columns", [64, 192, 40])
def test_every_weight_is_the_nearest_of_its_steps(columns: int) -> None:
    weight = torch.randn(48, columns, generator=torch.Generator().manual_seed(1)) * torch.logspace(-6, 3, 48)[:, None]
    weight[5] = 0
    packed, scale = quantize(weight)
    assert (packed.dtype, scale.dtype, scale.shape) == (torch.int8, torch.bfloat16, (48, max(1, columns // 64)))
    back = unpack(packed, scale.float(), torch.empty_like(weight))
    step = scale.float().repeat_interleave(columns // scale.shape[1], dim=1)
    assert ((back - weight).abs() <= step * 0.500001).all()
    assert packed.abs().amax(dim=1)[6:].ge(125).all(), "the largest value takes the last steps"
    assert not back[5].any()


def test_a_layer_of_bytes_is_the_dense_layer_of_what_they_unpack_to() -> None:
    torch.manual_seed(0)
    dense = nn.Linear(128, 24)
    layer = Int8Linear(dense, 2, UnpackBuffer())
    packed, scale = quantize(dense.weight.detach())
    layer.weight.copy_(packed), layer.weight_scale.copy_(scale)
    layer.weight_scale = nn.Parameter(layer.weight_scale.float(), requires_grad=False)
    with torch.no_grad():
        dense.weight.copy_((packed.float().unflatten(1, (2, 64)) * scale.float()[..., None]).flatten(1))
        x = torch.randn(3, 7, 128)
        assert layer(x).equal(dense(x))


def test_one_buffer_serves_every_layer_of_a_network() -> None:
    network = nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 128), nn.Linear(128, 64))
    use_int8_linears(network, ["0.weight_scale", "2.weight_scale"])
    assert [type(layer) for layer in network] == [Int8Linear, nn.Linear, Int8Linear]
    first, last = (layer.unpacked() for layer in (network[0], network[2]))
    assert first.shape == (32, 64)
    assert last.shape == (64, 128)
    assert network[0].unpacked().data_ptr() == last.data_ptr()


def test_the_headers_are_those_that_are_planned_with(stored: WeightLayout, layout: WeightLayout) -> None:
    for component in int8_components(stored):
        made: Component = getattr(layout, component.name)
        planned = as_int8(component.name, read_stored_weights(component))
        found = read_stored_weights(made)
        assert {name: (entry.dtype, entry.shape) for name, entry in planned.tensors.items()} == {
            name: (entry.dtype, entry.shape) for name, entry in found.tensors.items()
        }
        assert planned.stored_bytes == found.stored_bytes
        packed = [name for name, entry in found.tensors.items() if entry.dtype == "I8"]
        assert packed
        assert not [name for name in packed if any(part in name for part in int8_rule().stays[component.name])]


@pytest.mark.parametrize("resident_blocks", [3, 1, 0])
def test_the_refiner_computes_with_what_the_bytes_unpack_to(
    layout: WeightLayout, tiny_latents: Any, tmp_path: Path, resident_blocks: int
) -> None:
    from diffusers import SanaWMLTX2RefinerTransformer3DModel

    network = SanaWMLTX2RefinerTransformer3DModel.from_pretrained(
        layout.refiner_transformer.folder.with_name("transformer")
    )
    dense = {**copy.deepcopy(network).state_dict(), **unpacked(layout.refiner_transformer)}
    expected = refined(RefinerEngine(fill(network, dense, tmp_path)), tiny_latents)
    with open_engine(layout.refiner_transformer, resident_blocks) as engine:
        assert isinstance(engine.transformer.transformer_blocks[0].attn1.to_q, Int8Linear)
        assert refined(engine, tiny_latents).equal(expected)


def open_engine(component: Component, resident_blocks: int) -> AbstractContextManager[RefinerEngine]:
    return open_refiner_engine(component, device=CPU, dtype=torch.float32, resident_blocks=resident_blocks)


def refined(engine: RefinerEngine, inputs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return refine_autoregressive(engine, *inputs, fps=16.0, generator=torch.Generator("cpu").manual_seed(42))


def test_the_text_encoder_streamed_gives_the_resident_bits(
    stored: WeightLayout, layout: WeightLayout, tmp_path: Path
) -> None:
    ids = torch.arange(12)[None] + 3
    resident = load_gemma3(layout, CPU, torch.float32)
    expected = resident(input_ids=ids).last_hidden_state
    dense = fill(load_gemma3(stored, CPU, torch.float32), unpacked(layout.refiner_text_encoder), tmp_path)
    assert dense(input_ids=ids).last_hidden_state.equal(expected)
    with stream_gemma3(layout.refiner_text_encoder, device=CPU, dtype=torch.float32) as streamed:
        assert streamed(input_ids=ids).last_hidden_state.equal(expected)


def test_the_connectors_first_projection_stays_as_stored(stored: WeightLayout, layout: WeightLayout) -> None:
    whole = dict(load_connectors(stored, CPU, torch.float32).named_parameters())
    bytes_of = dict(load_connectors(layout, CPU, torch.float32).named_parameters())
    assert bytes_of["text_proj_in.weight"].equal(whole["text_proj_in.weight"])
    assert any(parameter.dtype == torch.int8 for parameter in bytes_of.values())


def test_files_are_made_once_and_again_where_their_source_or_they_themselves_changed(
    stored: WeightLayout, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(stored.refiner_transformer.folder, tmp_path / "transformer"))
    root = resolve_layout("diffusers", tmp_path, refiner_root=tmp_path).refiner_transformer
    said: list[str] = []
    made = quantize_component(root, said.append)
    assert said
    assert made.folder == int8_folder(root) == tmp_path / "transformer-int8"
    before = {path: path.stat().st_mtime_ns for path in made.folder.iterdir()}
    said.clear()
    assert quantize_component(root, said.append) == made
    assert ({path: path.stat().st_mtime_ns for path in made.folder.iterdir()}, said) == (before, [])

    made.shards[0].write_bytes(made.shards[0].read_bytes()[:-1])
    quantize_component(root, said.append)
    assert len(said) == 1

    shard = next(folder.glob("*.safetensors"))
    tensors = load_file(shard)
    name = next(name for name in tensors if name.endswith("attn1.to_q.weight"))
    tensors[name][0, 0] += 1
    save_file(tensors, shard)
    quantize_component(root, said.append)
    assert len(said) == 2

    tensors[name][0, 0] = float("inf")
    save_file(tensors, shard)
    with pytest.raises(WeightsError, match="not finite"):
        quantize_component(root, said.append)


def test_the_command_makes_what_a_run_would_make(model: dict[str, Any], layout: WeightLayout, tmp_path: Path) -> None:
    made = layout.connectors.shards[0]
    before = made.read_bytes()
    made.unlink()
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(tiny_manifest(draw_picture(tmp_path / "picture.png"), model)))
    command = [sys.executable, "-m", "sana_wm", "weights", "quantize", "--manifest", str(path)]
    first, *folders = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert first == f"connectors: {made.name} becomes 8 bits, in {made.parent}"
    assert folders == [str(component.folder) for component in int8_components(layout)]
    assert made.read_bytes() == before


def test_a_run_in_8_bits_says_so_and_goes_on_to_the_same_bytes(
    model: dict[str, Any], tmp_path: Path, edit_run_manifest: Callable[..., None]
) -> None:
    data = tiny_manifest(draw_picture(tmp_path / "picture.png"), {**model, "weights": "int8"})
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(data))
    run = run_here(path, ("stage1", "refiner"))
    receipt = read_receipt(run, "refiner")
    assert receipt is not None
    assert receipt.settings["model.weights"] == "int8"
    assert {weight.component for weight in receipt.weights} >= {"refiner_transformer", "refiner_text_encoder"}
    first = run.refined_file.read_bytes()
    run.clear_stage("refiner")
    run_stage_here(run, "refiner")
    assert run.refined_file.read_bytes() == first
    run.clear_stage("refiner")
    edit_run_manifest(run.path, model__weights="as_stored")
    run_stage_here(run, "refiner")
    assert run.refined_file.read_bytes() != first


def test_an_engine_that_has_no_8_bits_refuses_them_by_name(model: dict[str, Any], tmp_path: Path) -> None:
    data = tiny_manifest(draw_picture(tmp_path / "picture.png"), {**model, "weights": "int8", "backend": "pr379"})
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(data))
    problems = inspect(path, os.environ).problems
    assert 'weights must be "as_stored" with backend pr379' in " ".join(str(problem) for problem in problems)
