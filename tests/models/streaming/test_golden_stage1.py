"""The student's Stage 1 against what upstream's own classes and sampler computed."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers.models.transformers.transformer_sana_wm import (
    _invert_SE3,
    _process_camera_conditions_ucpe,
)

from sana_wm.models.streaming.engine import StreamingEngine
from sana_wm.models.streaming.memory import StreamMemory
from sana_wm.models.streaming.sampler import sample_chunks
from sana_wm.planning.streaming import Window, chunk_ranges

CHUNK_BOUND, LOOP_BOUND = 1e-5, 2e-5
SHIPPED_CHUNK_BOUND, SHIPPED_LOOP_BOUND = 2e-3, 1e-2
CHUNKS = "dit_stream_*chunks.safetensors"
LOOP = "dit_stream_*loop.safetensors"
RELEASE = "dit_stream_*release401.safetensors"


def difference(out, expected):
    """The largest difference; of numbers above 1, as a share of the largest: a state is a sum over many tokens."""
    assert out.shape == expected.shape
    return (out.double() - expected.double()).abs().max().item() / max(1.0, expected.abs().max().item())


def camera_of(raymap, chunk_plucker):
    """What the camera part hands over, from (1, T, 20) and (1, 48, T, h, w)."""
    grid = tuple(chunk_plucker.shape[2:])
    raymats, _ = _process_camera_conditions_ucpe(raymap, 1, grid, (1, 1, 1))
    P = raymats.reshape(-1, 4, 4)
    return {"chunk_plucker": chunk_plucker[0], "P": P, "P_inv": _invert_SE3(P)}


def engine_of(golden, **options):
    options = {"attention_dtype": torch.float32} | options
    return StreamingEngine(golden.transformer, **options)


class GoldenChunks:
    """The chunks of the golden data through an engine, with every block's output on the way."""

    def __init__(self, golden, **options):
        self.data = golden.tensors(CHUNKS)
        self.engine = engine_of(golden, **options)
        self.conditioning = self.engine.prepare(
            self.data["encoder_hidden_states"],
            self.data["encoder_attention_mask"],
            camera_of(self.data["camera_conditions"], self.data["chunk_plucker"]),
        )
        self.memories = [self.engine.new_memory()]
        for chunk, frames in enumerate(self.conditioning.ranges):
            latents = self.data["hidden_states"][:, :, frames.start : frames.stop]
            self.memories.append(self.engine.remember(latents, self.conditioning, self.memories[chunk]))

    @property
    def numbers(self):
        return range(len(self.conditioning.ranges))

    def predict(self, chunk, timesteps, memory=None):
        """A read-only pass over a chunk: velocity, and each block's output as (1, n S, C)."""
        frames = self.conditioning.ranges[chunk]
        blocks = []
        network = self.engine._network
        for block in network._blocks:
            block.forward = recorded(block, blocks)
        try:
            out = network.predict(
                self.data["hidden_states"][:, :, frames.start : frames.stop],
                timesteps,
                self.conditioning.of(chunk, self.engine.plan),
                (0,),
                (memory or self.memories[chunk]).past(),
            )
        finally:
            for block in network._blocks:
                del block.forward
        return out, blocks


def recorded(block, outputs):
    forward = type(block).forward

    def run(*arguments, **options):
        x, memory = forward(block, *arguments, **options)
        outputs.append(x[:, 0].flatten(0, 1)[None].clone())
        return x, memory

    return run


@pytest.fixture(scope="module")
def golden_chunks(streaming_golden):
    return GoldenChunks(streaming_golden)


def test_chunk_bounds_are_those_of_the_golden_data(golden_chunks):
    stored = [name for name in golden_chunks.data if name.endswith(".timestep")]
    assert len(stored) == len(golden_chunks.numbers) > 1
    for chunk, frames in enumerate(golden_chunks.conditioning.ranges):
        assert len(frames) == golden_chunks.data[f"chunk{chunk}.timestep"].shape[2]


def test_chunk_velocities_are_those_of_the_golden_data(golden_chunks):
    data = golden_chunks.data
    for chunk in golden_chunks.numbers:
        out, blocks = golden_chunks.predict(chunk, data[f"chunk{chunk}.timestep"][0, 0])
        assert difference(out, data[f"chunk{chunk}.out_denoise"]) <= CHUNK_BOUND
        assert len(blocks) == sum(name.startswith(f"chunk{chunk}.denoise_block") for name in data)
        for index, block in enumerate(blocks):
            assert difference(block, data[f"chunk{chunk}.denoise_block{index}"]) <= CHUNK_BOUND
        out, _ = golden_chunks.predict(chunk, torch.zeros(out.shape[2]))
        assert difference(out, data[f"chunk{chunk}.out_save"]) <= CHUNK_BOUND


def test_a_lost_memory_does_not_pass(golden_chunks):
    timesteps = golden_chunks.data["chunk1.timestep"][0, 0]
    forgetful = StreamMemory(Window(), next_chunk=1)
    out, _ = golden_chunks.predict(1, timesteps, forgetful)
    assert difference(out, golden_chunks.data["chunk1.out_denoise_nomemory"]) <= CHUNK_BOUND
    assert difference(out, golden_chunks.data["chunk1.out_denoise"]) > 100 * CHUNK_BOUND


def test_what_a_chunk_leaves_is_what_upstream_caches(streaming_golden, golden_chunks):
    for chunk in golden_chunks.numbers:
        compare_caches(streaming_golden, golden_chunks, chunk)


def compare_caches(streaming_golden, golden_chunks, chunk):
    data = golden_chunks.data
    memory = golden_chunks.memories[chunk + 1]
    head_dim = streaming_golden.config["linear_head_dim"]
    # Ours keep rotated pairs side by side; the half heads of the camera branch likewise, behind the 4-vectors.
    whole, half = planar(head_dim), planar(head_dim // 2)
    camera = torch.cat([torch.arange(head_dim // 2), head_dim // 2 + half])
    for index, last in enumerate(memory.last):

        def slot(number, index=index):
            return data[f"chunk{chunk}.cache_block{index}_slot{number}"]

        assert difference(last.feed_forward[:, 0].transpose(1, 2).transpose(0, 1)[None], slot(9)) <= CHUNK_BOUND
        if slot(6) == 1:
            assert last.delta_net is not None
            main, seen, mass = last.delta_net.states[:, 0]
            assert difference(main.mT[None], slot(0)[..., whole]) <= CHUNK_BOUND
            assert difference(mass[..., :1][None], slot(1)) <= CHUNK_BOUND
            assert difference(seen[None], slot(2)[..., camera, :][..., camera]) <= CHUNK_BOUND
            assert difference(last.delta_net.camera_keys[:, 0].transpose(0, 1), slot(3)) <= CHUNK_BOUND
            assert difference(last.delta_net.keys[:, 0].transpose(0, 1), slot(4)) <= CHUNK_BOUND
        else:
            keys = memory.keys[chunk][index]
            for tensor, number, order in (
                (keys.key, 0, whole),
                (keys.value, 1, slice(None)),
                (keys.camera_key, 2, camera),
                (keys.camera_value, 3, camera),
            ):
                ours = tensor[:, 0].flatten(0, 1).transpose(0, 1)[None]
                assert difference(ours, slot(number)[..., order]) <= CHUNK_BOUND


def planar(size):
    """The order that puts all first components of interleaved pairs before all second ones."""
    return torch.cat([torch.arange(0, size, 2), torch.arange(1, size, 2)])


def test_chunks_as_shipped_round_softmax_operands(streaming_golden):
    shipped = GoldenChunks(streaming_golden, attention_dtype=torch.bfloat16)
    for chunk in shipped.numbers:
        out, _ = shipped.predict(chunk, shipped.data[f"chunk{chunk}.timestep"][0, 0])
        assert difference(out, shipped.data[f"chunk{chunk}.out_denoise_bf16sdpa"]) <= SHIPPED_CHUNK_BOUND
        out, _ = shipped.predict(chunk, torch.zeros(out.shape[2]))
        assert difference(out, shipped.data[f"chunk{chunk}.out_save_bf16sdpa"]) <= SHIPPED_CHUNK_BOUND


def test_the_first_release_computes_its_own_chunks(streaming_golden):
    expected = streaming_golden.tensors(RELEASE)
    release = GoldenChunks(streaming_golden, version="release401")
    for chunk in release.numbers:
        out, _ = release.predict(chunk, release.data[f"chunk{chunk}.timestep"][0, 0])
        assert difference(out, expected[f"chunk{chunk}.out_denoise"]) <= CHUNK_BOUND
        out, _ = release.predict(chunk, torch.zeros(out.shape[2]))
        assert difference(out, expected[f"chunk{chunk}.out_save"]) <= CHUNK_BOUND


def sample(golden, latents, prompt, mask, **options):
    """The whole loop over start latents that hold the clean first frame."""
    data = golden.tensors(LOOP)
    frames = latents.shape[2]
    engine = engine_of(golden, **options)
    camera = camera_of(data["camera_conditions"][:, :frames], data["chunk_plucker"][:, :, :frames])
    conditioning = engine.prepare(prompt, mask, camera)
    chunks = sample_chunks(
        engine,
        conditioning,
        latents[:, :, :1],
        lambda _, frames: latents[:, :, frames.start : frames.stop].clone(),
    )
    out = torch.cat([chunk.latents for chunk in chunks], dim=2)
    assert torch.equal(out[:, :, :1], latents[:, :, :1])
    return out


def steps_of(golden, name):
    """The steps that an output was made with: in its name, or those of the file."""
    if name.startswith("out_steps_"):
        return 1000, *map(int, name.removeprefix("out_steps_").split("_"))
    return tuple(step for step in json.loads(golden.metadata(LOOP)["denoising_step_list"]) if step)


@pytest.mark.parametrize(
    ("name", "options", "bound"),
    [
        ("out", {}, LOOP_BOUND),
        ("out_nosink", {"window": Window(2, sink=False)}, LOOP_BOUND),
        ("out_allpast", {"window": Window(-1)}, LOOP_BOUND),
        ("out_steps_*", {}, LOOP_BOUND),
        ("out_prompt_per_chunk", {}, LOOP_BOUND),
        ("out_T*", {}, LOOP_BOUND),
        ("out_bf16sdpa", {"attention_dtype": torch.bfloat16}, SHIPPED_LOOP_BOUND),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_loop_ends_in_the_golden_latents(streaming_golden, name, options, bound):
    data = streaming_golden.tensors(LOOP)
    names = [key for key in data if key == name or (name.endswith("*") and key.startswith(name[:-1]))]
    assert names
    for key in names:
        suffix = "_per_chunk" if key == "out_prompt_per_chunk" else ""
        start = data["z_" + key.removeprefix("out_")] if key.startswith("out_T") else data["z"]
        out = sample(
            streaming_golden,
            start,
            data[f"prompt{suffix}"],
            data[f"mask{suffix}"],
            timesteps=steps_of(streaming_golden, key),
            **options,
        )
        assert difference(out, data[key]) <= bound


def test_the_loop_of_the_first_release(streaming_golden):
    data, expected = streaming_golden.tensors(LOOP), streaming_golden.tensors(RELEASE)["loop.out"]
    steps = steps_of(streaming_golden, "out")
    out = sample(streaming_golden, data["z"], data["prompt"], data["mask"], version="release401", timesteps=steps)
    assert difference(out, expected) <= LOOP_BOUND
    assert difference(data["out"], expected) > 100 * LOOP_BOUND


def test_chunks_and_windows_are_upstreams(streaming_golden):
    plan = json.loads(streaming_golden.file("stream_plan.json").read_text())
    for frames, bounds in plan["segments"].items():
        ranges = chunk_ranges(int(frames))
        assert [ranges[0].start, *(chunk.stop for chunk in ranges)] == bounds
    for settings in plan["kept_chunks"].values():
        for setting, kept in settings.items():
            count, sink = setting.removeprefix("window").split("_")
            window = Window(int(count), sink=sink == "sink")
            assert [list(window.of(chunk)) for chunk in range(len(kept))] == kept
