from __future__ import annotations

import copy
import functools
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sana_wm.errors import WeightsError
from sana_wm.models import loading
from sana_wm.models.refiner.loading import open_refiner_engine
from sana_wm.models.refiner.refine import refine_single_shot
from sana_wm.models.refiner.transformer import RefinerEngine
from sana_wm.weights.layout import WeightLayout, resolve_layout
from sana_wm.weights.tiny import write_tiny_checkpoint

CPU = torch.device("cpu")
LAYOUTS = ("original", "diffusers")


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.set_num_threads(1)
    folders = {name: tmp_path_factory.mktemp(name) for name in LAYOUTS}
    for name, folder in folders.items():
        write_tiny_checkpoint(folder, name, seed=3)
    return folders


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest, roots: dict[str, Path]) -> WeightLayout:
    return layout_in(roots[request.param], request.param)


@pytest.fixture(scope="module")
def pipelines(roots: dict[str, Path]) -> dict[str, Any]:
    """What the libraries themselves load from the diffusers layout."""
    from diffusers import SanaWMLTX2Refiner, SanaWMPipeline

    return {
        "stage1": SanaWMPipeline.from_pretrained(roots["diffusers"]),
        "refiner": SanaWMLTX2Refiner.from_pretrained(roots["diffusers"] / "refiner"),
    }


def layout_in(root: Path, name: str) -> WeightLayout:
    return resolve_layout(name, root, root / "gemma-2-2b-it" if name == "original" else None, None)


def assert_whole(module: nn.Module) -> None:
    assert not [name for name, p in module.named_parameters() if p.is_meta or p.requires_grad]
    assert not [name for name, b in module.named_buffers() if b.is_meta]
    assert not module.training


@torch.no_grad()
def test_stage1_transformer_equals_the_one_that_diffusers_loads(layout: WeightLayout, pipelines: dict[str, Any]):
    ours = loading.load_stage1_transformer(layout, CPU, torch.float32)
    assert_whole(ours)
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "hidden_states": torch.randn(1, 128, 2, 2, 3, generator=generator),
        "timestep": torch.tensor([[[0.0, 700.0]]]),
        "encoder_hidden_states": torch.randn(1, 1, 5, 64, generator=generator),
        "encoder_attention_mask": torch.ones(1, 5, dtype=torch.long),
        "camera_conditions": camera_conditions(2),
        "chunk_plucker": torch.randn(1, 48, 2, 2, 3, generator=generator),
        "return_dict": False,
    }
    theirs = pipelines["stage1"].transformer(**inputs)[0]
    assert torch.equal(ours(**inputs)[0], theirs)
    assert theirs.std() > 0.1


def camera_conditions(frames: int) -> torch.Tensor:
    """(1, frames, 20): poses that step forward, then fx, fy, cx, cy."""
    poses = torch.eye(4).repeat(frames, 1, 1)
    poses[:, 2, 3] = torch.arange(frames) * 0.1
    return torch.cat([poses.flatten(1), torch.tensor([[2.0, 2.0, 1.5, 1.0]]).repeat(frames, 1)], dim=1)[None]


@torch.no_grad()
def test_vae_halves_equal_the_whole_vae_of_diffusers(layout: WeightLayout, pipelines: dict[str, Any]):
    theirs = pipelines["stage1"].vae
    generator = torch.Generator().manual_seed(0)
    picture = torch.randn(1, 3, 1, 64, 64, generator=generator)
    latents = torch.randn(1, 128, 2, 2, 2, generator=generator)
    encoder = loading.load_vae(layout, CPU, torch.float32, part="encoder")
    decoder = loading.load_vae(layout, CPU, torch.float32, part="decoder")
    for vae in (encoder, decoder):
        assert_whole(vae)
        assert torch.equal(vae.latents_std, theirs.latents_std)
    assert encoder.decoder is None
    assert decoder.encoder is None
    assert torch.equal(encoder.encode(picture).latent_dist.mode(), theirs.encode(picture).latent_dist.mode())
    assert torch.equal(decoder.decode(latents).sample, theirs.decode(latents).sample)
    assert theirs.decode(latents).sample.std() > 0.1


def test_a_vae_half_holds_only_its_own_numbers(layout: WeightLayout):
    stored = load_file(layout.vae.shards[0])
    for part in ("encoder", "decoder"):
        vae = loading.load_vae(layout, CPU, torch.float32, part=part)
        expected = sum(tensor.numel() for key, tensor in stored.items() if key.startswith(part))
        assert sum(parameter.numel() for parameter in vae.parameters()) == expected


@torch.no_grad()
def test_gemma2_gives_the_last_hidden_state_of_the_causal_model(layout: WeightLayout, pipelines: dict[str, Any]):
    tokenizer, model = loading.load_gemma2(layout, CPU, torch.float32)
    assert_whole(model)
    theirs = pipelines["stage1"]
    text = 'A cat, ☂ "sleeping".\nUser Prompt: '
    assert tokenizer(text).input_ids == theirs.tokenizer(text).input_ids
    tokens = tokenizer([text], padding="max_length", padding_side="right", max_length=60, return_tensors="pt")
    assert tokens.attention_mask.sum() < 60
    expected = theirs.text_encoder(**tokens, output_hidden_states=True).hidden_states[-1]
    assert torch.equal(model(**tokens).last_hidden_state, expected)


@torch.no_grad()
def test_gemma3_gives_every_hidden_state_of_the_multimodal_model(layout: WeightLayout, pipelines: dict[str, Any]):
    tokenizer, model = loading.load_tokenizer(layout.refiner_tokenizer), loading.load_gemma3(layout, CPU, torch.float32)
    assert_whole(model)
    assert not [name for name, _ in model.named_modules() if "vision" in name]
    tokens = tokenizer(["w" * 300], padding="max_length", padding_side="left", max_length=400, return_tensors="pt")
    assert not tokens.attention_mask[0, 0]
    assert tokens.attention_mask.sum() > model.config.sliding_window
    ours = model(**tokens, output_hidden_states=True).hidden_states
    theirs = pipelines["refiner"].text_encoder(**tokens, output_hidden_states=True).hidden_states
    assert len(ours) == len(theirs) == 4
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@torch.no_grad()
def test_connectors_give_the_video_embeddings_without_the_audio_connector(
    layout: WeightLayout, pipelines: dict[str, Any]
):
    ours = loading.load_connectors(layout, CPU, torch.float32)
    assert_whole(ours)
    assert not list(ours.audio_connector.parameters())
    packed = torch.randn(1, 256, 48 * 4, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 256, dtype=torch.long)
    mask[:, :100] = 0
    video, _, video_mask = ours(packed, mask)
    expected, _, expected_mask = pipelines["refiner"].connectors(packed, mask)
    assert torch.equal(video, expected)
    assert torch.equal(video_mask, expected_mask)


def open_refiner(layout: WeightLayout) -> Any:
    """The refiner's engine with all its blocks resident, as a run opens it."""
    options: dict[str, Any] = {"device": CPU, "dtype": torch.float32, "resident_blocks": 3}
    return open_refiner_engine(layout.refiner_transformer, **options)


def held_by_the_refiner(layout: WeightLayout) -> dict[str, torch.Tensor]:
    with open_refiner(layout) as engine:
        return {name: weight for name, weight in engine.transformer.state_dict().items() if not weight.is_meta}


def test_the_refiner_keeps_the_video_half_of_what_diffusers_loads(layout: WeightLayout, pipelines: dict[str, Any]):
    theirs = pipelines["refiner"].transformer
    held = held_by_the_refiner(layout)
    assert not [name for name in held if "audio" in name or "a2v" in name or "v2a" in name or "av_cross" in name]
    assert len(held) < len(list(theirs.named_parameters())) / 2
    assert all(torch.equal(weight, theirs.state_dict()[name]) for name, weight in held.items())


def test_the_video_half_refines_as_the_whole_network_of_diffusers(layout: WeightLayout, pipelines: dict[str, Any]):
    generator = torch.Generator().manual_seed(0)
    inputs = (torch.randn(1, 128, 5, 2, 3, generator=generator), torch.randn(1, 7, 48, generator=generator))
    mask = torch.ones(1, 7, dtype=torch.long)

    def refine(engine: RefinerEngine) -> torch.Tensor:
        return refine_single_shot(engine, *inputs, mask, fps=16.0, generator=torch.Generator().manual_seed(1))

    with open_refiner(layout) as engine:
        # A copy is in torch's own memory: what diffusers mapped begins anywhere, and kernels round by alignment.
        whole = RefinerEngine(copy.deepcopy(pipelines["refiner"].transformer))
        assert torch.equal(refine(engine), refine(whole))


def test_both_layouts_hold_the_same_numbers(roots: dict[str, Path]):
    for load in (
        loading.load_stage1_transformer,
        functools.partial(loading.load_vae, part="encoder"),
        functools.partial(loading.load_vae, part="decoder"),
        lambda *where: loading.load_gemma2(*where)[1],
        loading.load_connectors,
        loading.load_gemma3,
    ):
        one, other = (load(layout_in(roots[name], name), CPU, torch.float32).state_dict() for name in LAYOUTS)
        assert_same_numbers(one, other)
    assert_same_numbers(*(held_by_the_refiner(layout_in(roots[name], name)) for name in LAYOUTS))


def assert_same_numbers(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_weights_are_cast_while_loading_and_tables_are_not(layout: WeightLayout):
    model = loading.load_gemma3(layout, CPU, torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    tables = dict(model.named_buffers())
    assert {b.dtype for b in tables.values()} == {torch.float32}
    assert tables["rotary_emb.full_attention_inv_freq"][0] == 1 / 8
    assert tables["embed_tokens.embed_scale"] == torch.tensor(48.0) ** 0.5
    transformer = loading.load_stage1_transformer(layout, CPU, torch.bfloat16)
    assert transformer.rope.freqs.dtype == torch.complex64
    assert transformer.rope.freqs.device == CPU


class Tabled(nn.Module):
    """A layer, a stored buffer, a buffer that no file holds, and a table kept as a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("frequencies", torch.arange(4.0), persistent=False)
        self.table = torch.arange(5.0)


def tabled_file(folder: Path, **changes: torch.Tensor | None) -> Path:
    tensors = {
        "linear.weight": torch.ones(3, 2),
        "linear.bias": torch.zeros(3),
        "scale": torch.full((3,), 2.0),
        "count": torch.tensor([7]),
    } | {name.replace("__", "."): tensor for name, tensor in changes.items()}
    path = folder / "model.safetensors"
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)
    return path


def load_tabled(path: Path, **options: Any) -> Tabled:
    module = loading.build_empty(Tabled)
    loading.load_weights(module, [path], device=CPU, dtype=torch.bfloat16, **options)
    return module


def test_an_empty_module_has_meta_parameters_and_real_tables():
    module = loading.build_empty(Tabled)
    assert all(p.is_meta and not p.requires_grad for p in module.parameters())
    assert torch.equal(module.frequencies, torch.arange(4.0))
    assert torch.equal(module.table, torch.arange(5.0))


def test_floats_are_cast_and_integers_are_not(tmp_path: Path):
    module = load_tabled(tabled_file(tmp_path))
    assert module.scale.dtype == torch.bfloat16
    assert module.scale[0] == 2
    assert module.count.dtype == torch.int64
    assert module.count == 7
    assert module.frequencies.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"linear__bias": None}, r"linear\.bias is in none of the files.*model\.safetensors"),
        ({"bonus": torch.zeros(1)}, r"model\.safetensors holds tensor bonus"),
        ({"scale": torch.ones(4)}, r"tensor scale in .*model\.safetensors has the wrong shape; got \(4,\)"),
    ],
    ids=["missing", "unknown", "misshapen"],
)
def test_a_file_that_does_not_fit_is_refused_by_file_and_tensor(changes: dict[str, Any], message: str, tmp_path: Path):
    with pytest.raises(WeightsError, match=message):
        load_tabled(tabled_file(tmp_path, **changes))


def test_a_known_tensor_is_skipped_and_a_partial_file_is_taken_when_asked(tmp_path: Path):
    path = tabled_file(tmp_path, bonus=torch.zeros(1), linear__bias=None)
    module = load_tabled(path, rename=lambda key: None if key == "bonus" else key, strict=False)
    assert module.linear.bias.is_meta
    assert not module.linear.weight.is_meta


def test_two_stored_tensors_for_one_place_are_refused(tmp_path: Path):
    path = tabled_file(tmp_path, bonus=torch.ones(3))
    with pytest.raises(WeightsError, match="which was read before"):
        load_tabled(path, rename=lambda key: "scale" if key == "bonus" else key)


def test_a_truncated_file_is_a_weights_error_that_names_it(tmp_path: Path):
    path = tabled_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(WeightsError, match=r"model\.safetensors is damaged.*inside tensor") as caught:
        load_tabled(path)
    assert caught.value.exit_code == 3


def test_a_missing_file_is_a_weights_error_that_names_it(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"absent\.safetensors"):
        load_tabled(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("config", ["not json", "[]", json.dumps({"num_attention_heads": "many"})])
def test_a_config_that_describes_nothing_is_a_weights_error(config: str, tmp_path: Path):
    folder = tmp_path / "refiner" / "transformer"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config)
    with pytest.raises(WeightsError, match="config"), open_refiner(resolve_layout("diffusers", tmp_path)):
        pass


def test_a_missing_tokenizer_is_a_weights_error_and_never_an_empty_vocabulary(roots: dict[str, Path], tmp_path: Path):
    root = roots["original"]
    gemma = tmp_path / "gemma"
    shutil.copytree(root / "gemma-2-2b-it", gemma, ignore=shutil.ignore_patterns("tokenizer.json"))
    with pytest.raises(
        WeightsError, match=r"tokenizer of stage1_tokenizer cannot be loaded; got .*gemma: no tokenizer"
    ):
        loading.load_gemma2(resolve_layout("original", root, gemma), CPU, torch.float32)


def test_the_released_sizes_cost_no_memory_to_build():
    from diffusers import SanaWMTransformer3DModel

    transformer = loading.build_empty(SanaWMTransformer3DModel)
    assert sum(p.numel() for p in transformer.parameters()) == 2_661_800_448
    assert transformer.rope.freqs.shape == (1024, 56)


def test_a_header_that_claims_more_than_the_file_has_is_a_weights_error(tmp_path: Path):
    path = tmp_path / "huge.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
    with pytest.raises(WeightsError, match=r"huge\.safetensors is damaged: its header claims"):
        load_tabled(path)
