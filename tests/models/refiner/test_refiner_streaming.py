"""Streamed weights give the resident engine's bits, in less memory, and say which tensor of a file is broken."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest


def engine_of(layout: Any, resident_blocks: int) -> Any:
    import torch

    from sana_wm.models.refiner.loading import open_refiner_engine

    return open_refiner_engine(
        layout.refiner_transformer,
        device=torch.device("cpu"),
        dtype=torch.float32,
        resident_blocks=resident_blocks,
    )


def refine(engine: Any, inputs: Any, mode: str = "autoregressive") -> Any:
    import torch

    from sana_wm.models.refiner import refine as modes

    function = modes.refine_autoregressive if mode == "autoregressive" else modes.refine_single_shot
    return function(engine, *inputs, fps=16.0, generator=torch.Generator("cpu").manual_seed(42))


def whole_engine(layout: Any, dtype: Any = None) -> Any:
    """Our engine over the whole network that diffusers loads, in torch's own memory: kernels round by alignment."""
    import copy

    import torch
    from diffusers import SanaWMLTX2RefinerTransformer3DModel

    from sana_wm.models.refiner.transformer import RefinerEngine

    folder = layout.refiner_transformer.folder
    network = SanaWMLTX2RefinerTransformer3DModel.from_pretrained(folder, torch_dtype=dtype or torch.float32)
    return RefinerEngine(copy.deepcopy(network))


def live_parameter_bytes(module: Any) -> int:
    """Bytes of distinct memory behind a module's parameters that are not on meta."""
    storages = {
        parameter.untyped_storage().data_ptr(): parameter.untyped_storage().nbytes()
        for parameter in module.parameters()
        if not parameter.is_meta
    }
    return sum(storages.values())


@pytest.mark.parametrize("mode", ["autoregressive", "single_shot"])
@pytest.mark.parametrize("resident_blocks", [0, 1, 2, 3])
def test_streamed_weights_give_the_resident_bits(
    tiny_layout: Any, tiny_latents: Any, mode: str, resident_blocks: int
) -> None:
    whole = refine(whole_engine(tiny_layout), tiny_latents, mode)
    with engine_of(tiny_layout, resident_blocks) as engine:
        assert refine(engine, tiny_latents, mode).equal(whole)
        assert refine(engine, tiny_latents, mode).equal(whole), "a second refinement with the same engine"


def test_the_prompts_projections_never_stay(tiny_layout: Any, tiny_latents: Any) -> None:
    latents, prompt_embeds, mask = tiny_latents
    other = (latents, prompt_embeds + 1, mask)
    whole = refine(whole_engine(tiny_layout), other)
    with engine_of(tiny_layout, 3) as engine:
        before = live_parameter_bytes(engine.transformer)
        refine(engine, tiny_latents)
        assert refine(engine, other).equal(whole), "another prompt is read anew"
        assert live_parameter_bytes(engine.transformer) == before
        assert all(block.attn2.to_k.weight.is_meta for block in engine.transformer.transformer_blocks)


def test_one_block_is_on_the_device_at_a_time(tiny_layout: Any, tiny_latents: Any) -> None:
    from sana_wm.planning.refiner import TEXT_PARTS

    with engine_of(tiny_layout, 0) as engine:
        transformer = engine.transformer
        fixed_bytes = live_parameter_bytes(transformer)
        peaks: list[int] = []
        for block in transformer.transformer_blocks:
            block.ff.register_forward_hook(lambda *_: peaks.append(live_parameter_bytes(transformer)))
        refine(engine, tiny_latents)
        block = transformer.transformer_blocks[0]
        video = {
            name: parameter.numel() * 4
            for name, parameter in block.named_parameters()
            if "audio" not in name and "a2v" not in name
        }
        block_bytes = sum(size for name, size in video.items() if not name.startswith(TEXT_PARTS))
        assert peaks
        assert max(peaks) == fixed_bytes + block_bytes
        assert sum(video.values()) > block_bytes, "the prompt's projections do not stay"
    assert live_parameter_bytes(transformer) == fixed_bytes


def test_each_block_is_read_once_a_pass(tiny_layout: Any, tiny_latents: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sana_wm.models.refiner.streaming import BlockStream

    filled: list[int] = []
    original = BlockStream.fill
    monkeypatch.setattr(BlockStream, "fill", lambda self, index: (filled.append(index), original(self, index))[1])
    with engine_of(tiny_layout, 1) as engine:
        refine(engine, tiny_latents)
    # 3 text blocks; then 1 sink capture, 3 blocks of 3 steps, 2 history captures over the two streamed blocks.
    assert filled == [0, 1, 2, *([0, 1] * (1 + 3 * 3 + 2))]


def test_weights_are_cast_while_streaming(tiny_layout: Any, tiny_latents: Any) -> None:
    import torch

    from sana_wm.models.refiner.loading import open_refiner_engine

    device, dtype = torch.device("cpu"), torch.bfloat16
    whole = refine(whole_engine(tiny_layout, dtype), tiny_latents)
    component = tiny_layout.refiner_transformer
    with open_refiner_engine(component, device=device, dtype=dtype, resident_blocks=1) as engine:
        assert refine(engine, tiny_latents).equal(whole)


@pytest.fixture
def copied_component(tiny_layout: Any, tmp_path: Path) -> Any:
    """The refiner's files in a folder that a test may damage."""
    component = tiny_layout.refiner_transformer
    folder = tmp_path / "transformer"
    shutil.copytree(component.folder, folder)
    return replace(
        component,
        folder=folder,
        config=folder / component.config.name,
        index=folder / component.index.name,
        shards=tuple(folder / shard.name for shard in component.shards),
    )


def test_a_shard_cut_while_streaming_names_file_and_tensor(copied_component: Any, tiny_latents: Any) -> None:
    import torch

    from sana_wm.errors import WeightsError
    from sana_wm.models.refiner.loading import open_refiner_engine

    shard = copied_component.shards[0]
    with open_refiner_engine(
        copied_component, device=torch.device("cpu"), dtype=torch.float32, resident_blocks=0
    ) as engine:
        with shard.open("r+b") as file:
            file.truncate(shard.stat().st_size // 2)
        with pytest.raises(WeightsError, match=r"tensor transformer_blocks\.\d\..* cannot be read from") as caught:
            refine(engine, tiny_latents)
    assert str(shard) in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_shard_cut_before_streaming_is_refused(copied_component: Any) -> None:
    import torch

    from sana_wm.errors import WeightsError
    from sana_wm.models.refiner.loading import open_refiner_engine

    shard = copied_component.shards[1]
    with shard.open("r+b") as file:
        file.truncate(shard.stat().st_size - 100)
    options: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.float32, "resident_blocks": 0}
    with (
        pytest.raises(WeightsError, match=shard.name),
        open_refiner_engine(copied_component, **options),
    ):
        pass


def test_a_missing_and_an_unknown_tensor_are_refused(copied_component: Any) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from sana_wm.errors import WeightsError
    from sana_wm.models.refiner.loading import open_refiner_engine

    shard = copied_component.shards[0]
    tensors = load_file(shard)
    options: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.float32, "resident_blocks": 0}
    bias = next(name for name in tensors if name.startswith("transformer_blocks.0.attn1.") and name.endswith("bias"))
    elsewhere = load_file(copied_component.shards[1])
    left_out = {name: tensor for name, tensor in tensors.items() if name != "proj_in.weight"}
    for content, message in (
        (left_out, r"proj_in\.weight is missing"),
        (tensors | {"proj_up.weight": torch.zeros(2)}, r"proj_up\.weight is not part of this network"),
        (tensors | {bias: torch.zeros(7)}, r"bias in .* has the wrong shape"),
        (tensors | {"proj_out.bias": elsewhere["proj_out.bias"]}, r"proj_out\.bias is there twice"),
    ):
        save_file(content, shard)
        with pytest.raises(WeightsError, match=message), open_refiner_engine(copied_component, **options):
            pass


def test_blocks_that_stay_are_spread_evenly() -> None:
    from sana_wm.models.refiner.streaming import spread_resident

    assert spread_resident(6, 3) == {1, 3, 5}
    assert spread_resident(4, 0) == set()
    assert spread_resident(4, 4) == {0, 1, 2, 3}
    assert len(spread_resident(48, 17)) == 17


@pytest.fixture
def block_stream(tmp_path: Path) -> Any:
    """A cyclic stream over four one-weight blocks, of which the second stays; block n holds n."""
    import torch
    from safetensors.torch import save_file
    from torch import nn

    from sana_wm.models.loading import build_empty
    from sana_wm.models.refiner.stored_weights import index_weights
    from sana_wm.models.refiner.streaming import BlockStream, block_weights
    from sana_wm.weights.layout import Component

    path = tmp_path / "blocks.safetensors"
    save_file({f"{number}.weight": torch.full((3, 5), float(number)) for number in range(4)}, path)
    index = index_weights(Component("blocks", tmp_path, None, shards=(path,)))
    blocks = [build_empty(lambda: nn.Linear(5, 3, bias=False)) for _ in range(4)]
    weights = [{} if number == 1 else block_weights(index, f"{number}.") for number in range(4)]
    stream = BlockStream(blocks, weights, device=torch.device("cpu"), dtype=torch.float32, cyclic=True)
    yield stream, blocks
    stream.close()


def test_blocks_filled_in_any_order_hold_their_own_weights(block_stream: Any) -> None:
    stream, blocks = block_stream
    for number in (0, 2, 3, 0, 3, 2, 2, 0):
        stream.fill(number)
        assert (blocks[number].weight == number).all()


def test_reading_ahead_reads_nothing_twice(block_stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sana_wm.models.refiner.stored_weights import TensorReader

    read: list[str] = []
    original = TensorReader.read
    monkeypatch.setattr(
        TensorReader, "read", lambda self, stored, *rest: (read.append(stored.name), original(self, stored, *rest))[1]
    )
    stream, _ = block_stream
    for _ in range(3):
        for _ in stream:
            # Let all that was asked for be read, so that nothing is cancelled before it counts.
            for reading in stream._open.under_way:
                for piece in reading.pieces:
                    piece.result()
    # Three passes, and the two blocks that were read ahead of a fourth.
    assert {name: read.count(name) for name in read} == {"0.weight": 4, "2.weight": 4, "3.weight": 3}


def test_a_reading_that_is_given_up_does_not_reach_the_next_block(
    block_stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sana_wm.models.refiner.stored_weights import TensorReader

    original = TensorReader.read

    def read_slowly(self: Any, stored: Any, *rest: Any) -> None:
        if stored.name == "2.weight":
            time.sleep(0.05)
        original(self, stored, *rest)

    monkeypatch.setattr(TensorReader, "read", read_slowly)
    stream, blocks = block_stream
    stream.fill(0)
    stream.fill(3)  # gives up the reading of block 2, whose buffer now takes block 0
    time.sleep(0.1)
    stream.fill(0)
    assert (blocks[0].weight == 0).all()


def test_a_closed_stream_holds_nothing_and_can_begin_anew(block_stream: Any) -> None:
    stream, blocks = block_stream
    list(stream)
    stream.close()
    assert all(block.weight.is_meta for block in blocks)
    stream.fill(2)
    assert (blocks[2].weight == 2).all()
