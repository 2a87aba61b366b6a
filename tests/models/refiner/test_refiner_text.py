"""The prompt's encoding: diffusers' numbers, and the same bits whether Gemma-3 is resident or streamed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

PROMPTS = ["a road by the sea", "  A drone shot over a forest, golden hour.\n", ""]


@pytest.fixture(scope="module")
def networks(tiny_layout: Any) -> Any:
    import torch

    from sana_wm.models.loading import load_connectors, load_gemma3, load_tokenizer

    cpu = torch.device("cpu")
    tokenizer, text_encoder = (
        load_tokenizer(tiny_layout.refiner_tokenizer),
        load_gemma3(tiny_layout, cpu, torch.float32),
    )
    return tokenizer, text_encoder, load_connectors(tiny_layout, cpu, torch.float32)


def encode(networks: Any, prompt: str, text_encoder: Any = None) -> tuple[Any, Any]:
    """Packed levels and the encoding."""
    import torch

    from sana_wm.models.refiner.text import connect, encode_levels, tokenize_prompt

    tokenizer, resident, connectors = networks
    input_ids, mask = tokenize_prompt(tokenizer, prompt)
    packed = encode_levels(text_encoder or resident, input_ids, mask, torch.device("cpu"))
    return packed, connect(connectors, packed, mask)


def streamed(layout: Any, **options: Any) -> Any:
    import torch

    from sana_wm.models.refiner.loading import stream_gemma3

    options = {"device": torch.device("cpu"), "dtype": torch.float32} | options
    return stream_gemma3(layout.refiner_text_encoder, **options)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_encoding_equals_diffusers(tiny_layout: Any, networks: Any, prompt: str) -> None:
    import torch
    from diffusers.pipelines.sana_wm.refiner import SanaWMLTX2Refiner

    folder = tiny_layout.refiner_transformer.folder.parent
    pipeline = SanaWMLTX2Refiner.from_pretrained(folder, torch_dtype=torch.float32)
    with torch.no_grad():
        embeds, mask = pipeline._encode_prompt(prompt, device=torch.device("cpu"), dtype=torch.float32)
    _, ours = encode(networks, prompt)
    assert ours.prompt_embeds.equal(embeds)
    assert ours.prompt_attention_mask.equal(mask)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_streamed_gemma_gives_the_resident_bits(tiny_layout: Any, networks: Any, prompt: str) -> None:
    packed, encoding = encode(networks, prompt)
    with streamed(tiny_layout) as text_encoder:
        streamed_packed, streamed_encoding = encode(networks, prompt, text_encoder)
    assert streamed_packed.equal(packed)
    assert streamed_encoding.prompt_embeds.equal(encoding.prompt_embeds)


def test_streamed_gemma_gives_the_resident_bits_in_bfloat16(tiny_layout: Any, networks: Any) -> None:
    import torch

    from sana_wm.models.loading import load_gemma3

    resident = load_gemma3(tiny_layout, torch.device("cpu"), torch.bfloat16)
    packed, _ = encode(networks, PROMPTS[0], resident)
    with streamed(tiny_layout, dtype=torch.bfloat16) as text_encoder:
        assert encode(networks, PROMPTS[0], text_encoder)[0].equal(packed)


def test_streamed_gemma_holds_one_layer_and_no_embedding_table(tiny_layout: Any, networks: Any) -> None:
    with streamed(tiny_layout) as text_encoder:
        layer_bytes = sum(parameter.numel() * 4 for parameter in text_encoder.layers[0].parameters())
        norm_bytes = text_encoder.norm.weight.nbytes
        peaks: list[int] = []

        def measure(*_: object) -> None:
            held = {
                parameter.untyped_storage().data_ptr(): parameter.untyped_storage().nbytes()
                for parameter in text_encoder.parameters()
                if not parameter.is_meta
            }
            peaks.append(sum(held.values()))

        for layer in text_encoder.layers:
            layer.mlp.register_forward_hook(measure)
        encode(networks, PROMPTS[0], text_encoder)
    assert peaks == [layer_bytes + norm_bytes] * len(text_encoder.layers)


def test_a_streamed_text_encoder_cut_under_way_names_file_and_tensor(
    tiny_layout: Any, networks: Any, tmp_path: Path
) -> None:
    from sana_wm.errors import WeightsError

    component = tiny_layout.refiner_text_encoder
    folder = tmp_path / "text_encoder"
    shutil.copytree(component.folder, folder)
    shards = tuple(folder / shard.name for shard in component.shards)
    layout = replace(
        tiny_layout,
        refiner_text_encoder=replace(component, folder=folder, config=folder / "config.json", shards=shards),
    )
    with streamed(layout) as text_encoder:
        with shards[-1].open("r+b") as file:
            file.truncate(shards[-1].stat().st_size // 3)
        with pytest.raises(WeightsError, match=r"tensor .*layers\.\d.* cannot be read from") as caught:
            encode(networks, PROMPTS[0], text_encoder)
    assert str(shards[-1]) in str(caught.value)


def test_a_very_wide_linear_is_added_up_in_parts() -> None:
    import torch
    from torch import nn

    from sana_wm.models.refiner.text import SplitLinear

    torch.manual_seed(0)
    linear = nn.Linear(1000, 6)
    x = torch.randn(2, 3, 1000)
    whole = linear(x)
    assert SplitLinear(linear, 1000)(x).equal(whole)
    for parts in (999, 500, 333, 1):
        torch.testing.assert_close(SplitLinear(linear, parts)(x), whole, rtol=1e-5, atol=1e-5)
    widths: list[int] = []
    original = nn.functional.linear
    nn.functional.linear = lambda x, *rest: (widths.append(x.shape[-1]), original(x, *rest))[1]
    try:
        SplitLinear(linear, 333)(x)
    finally:
        nn.functional.linear = original
    assert max(widths) <= 333


def test_the_connectors_object_is_left_as_it_was(networks: Any) -> None:
    _, _, connectors = networks
    before = {name: id(module) for name, module in connectors.named_modules()}
    encode(networks, PROMPTS[0])
    assert {name: id(module) for name, module in connectors.named_modules()} == before


def test_the_connectors_rotary_tables_are_built_on_the_cpu(networks: Any) -> None:
    import torch

    from sana_wm.models.refiner.text import CpuRotary

    rope = networks[2].video_connector.rope
    devices: list[str] = []
    rope.register_forward_pre_hook(lambda _m, _a, kwargs: devices.append(str(kwargs["device"])), with_kwargs=True)
    cos, _ = CpuRotary(rope)(1, 4, device=torch.device("meta"))
    assert devices == ["cpu"]
    assert (cos.device.type, cos.dtype) == ("meta", torch.float32)
