"""The refiner block by block against upstream's runner."""

from __future__ import annotations

import json
import re

import pytest
import torch
from diffusers import SanaWMLTX2RefinerTransformer3DModel
from safetensors.torch import load_file

from sana_wm.models.refiner.block_stream import BlockStream
from sana_wm.models.refiner.refine import refine_autoregressive
from sana_wm.models.refiner.transformer import RefinerEngine
from sana_wm.planning.refiner import SIGMAS, Refinement

IO = "refiner_stream_*io.safetensors"
BOUND = 1e-5


@pytest.fixture(scope="module")
def engine(streaming_golden):
    metadata = streaming_golden.metadata(IO)
    name = metadata["weights"].split()[0]
    folders = (streaming_golden.path, *streaming_golden.path.parents)
    path = next(folder / name for folder in folders if (folder / name).is_file())
    transformer = SanaWMLTX2RefinerTransformer3DModel(**json.loads(metadata["config"]))
    transformer.load_state_dict(load_file(path))
    return RefinerEngine(transformer.eval().requires_grad_(False))


def outputs_of(golden):
    """(case, block size, window, expected) of every output of a set."""
    for name, expected in golden.tensors(IO).items():
        if found := re.fullmatch(r"(\w+)\.out_block(\d+)_kv(\d+)", name):
            yield found[1], int(found[2]), int(found[3]), expected


def test_every_window_ends_in_the_golden_latents(streaming_golden, engine):
    data, metadata = streaming_golden.tensors(IO), streaming_golden.metadata(IO)
    assert tuple(json.loads(metadata["sigmas"])) == SIGMAS
    outputs = list(outputs_of(streaming_golden))
    assert outputs
    for case, block_size, kv_max_frames, expected in outputs:
        out = refine_autoregressive(
            engine,
            data[f"{case}.z"],
            data[f"{case}.prompt_embeds"],
            data[f"{case}.prompt_mask"],
            fps=float(metadata["fps"]),
            sink_size=int(metadata["sink_size"]),
            block_size=block_size,
            kv_max_frames=kv_max_frames,
            generator=torch.Generator("cpu").manual_seed(42),
        )
        assert (out - expected).abs().max() <= BOUND, (case, block_size, kv_max_frames)


def test_blocks_need_nothing_of_what_comes_after_them(streaming_golden, engine):
    data, metadata = streaming_golden.tensors(IO), streaming_golden.metadata(IO)
    sink = int(metadata["sink_size"])
    case, block_size, kv_max_frames, expected = next(outputs_of(streaming_golden))
    latents = data[f"{case}.z"]
    asked = Refinement(tuple(latents.shape), "autoregressive", sink, block_size, kv_max_frames)
    engine.set_prompt(data[f"{case}.prompt_embeds"], data[f"{case}.prompt_mask"])
    stream = BlockStream(
        engine,
        latents[:, :, :sink],
        history_frames=asked.history_frames,
        block_frames=block_size,
        fps=float(metadata["fps"]),
        generator=torch.Generator("cpu").manual_seed(42),
    )
    for start in range(sink, latents.shape[2], block_size):
        assert stream.next_frame == start
        block = slice(start, start + block_size)
        assert (stream.refine(latents[:, :, block]) - expected[:, :, block]).abs().max() <= BOUND
