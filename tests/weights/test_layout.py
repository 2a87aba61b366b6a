from __future__ import annotations

import json
from pathlib import Path

import pytest

from sana_wm.errors import WeightsError
from sana_wm.weights.layout import GEMMA3_RULES, REFINER_RULES, STAGE1_RULES, read_weight_map, resolve_layout
from sana_wm.weights.places import guess_layout


def test_the_original_layout_lies_where_nvidia_put_it(tmp_path: Path):
    layout = resolve_layout("original", tmp_path, tmp_path / "gemma")
    assert layout.transformer.shards == (tmp_path / "dit" / "sana_wm_1600m_720p.safetensors",)
    assert layout.transformer.config is None
    assert layout.vae.folder == tmp_path / "vae"
    assert layout.stage1_text_encoder.folder == layout.stage1_tokenizer.folder == tmp_path / "gemma"
    assert layout.refiner_transformer.folder == tmp_path / "refiner" / "transformer"
    assert layout.connectors.config == tmp_path / "refiner" / "connectors" / "config.json"
    assert (
        layout.refiner_tokenizer.folder == layout.refiner_text_encoder.folder == tmp_path / "refiner" / "text_encoder"
    )
    assert layout.scheduler is None


def test_the_diffusers_layout_lies_where_diffusers_puts_it(tmp_path: Path):
    for name in ("tokenizer", "refiner/tokenizer"):
        (tmp_path / name).mkdir(parents=True)
    layout = resolve_layout("diffusers", tmp_path)
    assert {component.name: str(component.folder.relative_to(tmp_path)) for component in layout} == {
        "stage1_text_encoder": "text_encoder",
        "stage1_tokenizer": "tokenizer",
        "transformer": "transformer",
        "vae": "vae",
        "refiner_transformer": "refiner/transformer",
        "connectors": "refiner/connectors",
        "refiner_text_encoder": "refiner/text_encoder",
        "refiner_tokenizer": "refiner/tokenizer",
        "scheduler": "scheduler",
        "refiner_scheduler": "refiner/scheduler",
    }


def test_the_student_lies_where_nvidia_put_it(tmp_path: Path):
    layout = resolve_layout("original", tmp_path, tmp_path / "gemma", variant="streaming")
    assert {component.name: str(component.folder.relative_to(tmp_path)) for component in layout} == {
        "stage1_text_encoder": "gemma",
        "stage1_tokenizer": "gemma",
        "transformer": "sana_dit",
        "vae": "ltx2_causal_vae",
        "refiner_transformer": "refiner_diffusers/transformer",
        "connectors": "refiner_diffusers/connectors",
        "refiner_text_encoder": "gemma3_12b",
        "refiner_tokenizer": "gemma3_12b",
    }
    assert layout.transformer.config == tmp_path / "sana_dit" / "config.json"
    shared = resolve_layout("original", tmp_path, tmp_path / "gemma", tmp_path / "elsewhere", "streaming")
    assert {part.folder.parent for part in shared.of_stage("refiner")} == {tmp_path / "elsewhere"}


@pytest.mark.parametrize("name", ["original", "diffusers"])
def test_a_refiner_root_replaces_the_refiner_folder(name: str, tmp_path: Path):
    layout = resolve_layout(name, tmp_path, tmp_path / "gemma", tmp_path / "elsewhere")
    assert {part.folder.parent for part in layout.of_stage("refiner")} == {tmp_path / "elsewhere"}


def test_the_original_layout_needs_a_gemma_folder(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"model\.gemma_root"):
        resolve_layout("original", tmp_path)


def test_shards_come_from_the_index_each_once_and_in_order(tmp_path: Path):
    folder = tmp_path / "vae"
    folder.mkdir()
    files = ["b.safetensors", "a.safetensors", "b.safetensors"]
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict(zip("xyz", files, strict=True))}))
    vae = resolve_layout("diffusers", tmp_path).vae
    assert vae.index == index
    assert [shard.name for shard in vae.shards] == ["a.safetensors", "b.safetensors"]


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", '{"weight_map": {"a": 1}}', '{"weight_map": {"a": "../a"}}', '{"weight_map": {"a": ".."}}'],
)
def test_an_index_that_is_none_or_leads_out_of_its_folder_is_refused(content: str, tmp_path: Path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(content)
    with pytest.raises(WeightsError, match="index"):
        read_weight_map(index)


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("t_embedder.mlp.0.weight", "t_embedder.linear_1.weight"),
        ("model.t_embedder.mlp.2.bias", "t_embedder.linear_2.bias"),
        ("blocks.3.mlp.t_conv.weight", "blocks.3.mlp.t_conv.weight"),
        ("pos_embed", None),
        ("model.y_embedder.y_embedding", None),
        ("y_embedder.y_proj.fc1.bias", "y_embedder.y_proj.fc1.bias"),
    ],
)
def test_original_stage1_keys(stored: str, name: str | None):
    assert STAGE1_RULES(stored) == name


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("model.language_model.layers.0.mlp.up_proj.weight", "layers.0.mlp.up_proj.weight"),
        ("language_model.model.norm.weight", "norm.weight"),
        ("model.embed_tokens.weight", "embed_tokens.weight"),
        ("vision_tower.vision_model.post_layernorm.bias", None),
        ("model.vision_tower.vision_model.post_layernorm.bias", None),
        ("model.multi_modal_projector.mm_soft_emb_norm.weight", None),
        ("lm_head.weight", None),
        ("language_model.lm_head.weight", None),
    ],
)
def test_gemma3_keys_of_every_writer(stored: str, name: str | None):
    assert GEMMA3_RULES(stored) == name


def test_stage1_keys_of_the_golden_file_become_the_classes_own(golden: Path):
    """872 -> 870 at released size; here the golden tiny file, whose keys are PR #379's own."""
    import torch
    from diffusers import SanaWMTransformer3DModel
    from safetensors import safe_open

    with safe_open(golden / "dit_tiny_weights.safetensors", framework="pt") as file:
        names = [STAGE1_RULES(key) for key in file.keys()]  # noqa: SIM118
    with torch.device("meta"):
        model = SanaWMTransformer3DModel(num_layers=4)
    assert sorted(name for name in names if name is not None) == sorted(model.state_dict())
    assert names.count(None) == 2


def test_the_refiner_skips_exactly_its_audio_half():
    import torch
    from diffusers import SanaWMLTX2RefinerTransformer3DModel

    with torch.device("meta"):
        model = SanaWMLTX2RefinerTransformer3DModel()
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    assert sum(sizes.values()) == 18_876_174_592
    assert sum(size for name, size in sizes.items() if REFINER_RULES(name) is not None) == 13_041_520_768


def test_a_folder_shows_its_layout(tmp_path: Path) -> None:
    assert guess_layout(tmp_path / "nothing yet") == "original"
    (tmp_path / "transformer").mkdir()
    assert guess_layout(tmp_path) == "diffusers"
    (tmp_path / "dit").mkdir()
    assert guess_layout(tmp_path) == "original"
