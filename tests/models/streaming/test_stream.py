"""What must hold of the chunk loop whatever the numbers: memory, resume, budgets, noise."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sana_wm.bench.random_stage1 import build_inputs, build_transformer
from sana_wm.errors import HandoffError, MemoryCapError, UsageError
from sana_wm.models.stage1.conditioning import tensor_bytes
from sana_wm.models.streaming.engine import StreamingEngine
from sana_wm.models.streaming.memory import StreamMemory
from sana_wm.models.streaming.noise import draw_chunk
from sana_wm.models.streaming.sampler import recall, sample_chunks
from sana_wm.planning.streaming import chunk_ranges, memory_bytes

SMALL = {
    "in_channels": 8,
    "num_layers": 4,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "linear_head_dim": 16,
    "caption_channels": 32,
    "chunk_plucker_post_attn_blocks": 4,
    "softmax_every_n": 2,
}
PLANE = (2, 3)


class Run:
    """A random student, and the first latent frames of a video."""

    def __init__(self, frames, dtype=torch.float32, *, plane=PLANE, of_frames=None):
        self.transformer = build_transformer(SMALL, torch.device("cpu"), dtype)
        self.inputs = build_inputs(self.transformer, (of_frames or frames, *plane))
        camera, tokens = self.inputs.camera, frames * plane[0] * plane[1]
        self.camera = {
            "chunk_plucker": camera["chunk_plucker"][:, :frames],
            "P": camera["P"][:tokens],
            "P_inv": camera["P_inv"][:tokens],
        }
        self.engine = StreamingEngine(self.transformer)
        self.conditioning = self.prepare(self.engine)
        self.clip_shape = (1, 8, frames, *plane)

    def prepare(self, engine):
        return engine.prepare(self.inputs.prompt_embeds[1:], self.inputs.prompt_attention_mask[1:], self.camera)

    def chunks(self, memory=None, engine=None, noise="chunk"):
        return sample_chunks(
            engine or self.engine,
            self.conditioning,
            self.inputs.latents[:, :, :1],
            lambda chunk, frames: draw_chunk(noise, 42, self.clip_shape, chunk, frames),
            memory,
        )

    def latents(self, **options):
        return torch.cat([chunk.latents for chunk in self.chunks(**options)], dim=2)


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def run(request):
    return Run(13, request.param)


def test_going_on_from_saved_tensors_gives_the_same_bits(run):
    whole = list(run.chunks())
    stopped = whole[1].memory
    saved = {name: tensor.clone() for name, tensor in stopped.to_tensors().items()}
    restored = StreamMemory.from_tensors(saved, stopped.window, stopped.next_chunk, SMALL["num_layers"])
    for done, again in zip(whole[2:], run.chunks(restored), strict=True):
        assert torch.equal(done.latents, again.latents)


def test_going_on_from_latents_alone_gives_the_same_bits(run):
    whole = list(run.chunks())
    latents = torch.cat([chunk.latents for chunk in whole], dim=2)
    recalled = recall(run.engine, run.conditioning, latents, 2)
    expected = whole[1].memory.to_tensors()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in recalled.to_tensors().items())
    assert recalled.to_tensors().keys() == expected.keys()
    assert torch.equal(next(run.chunks(recalled)).latents, whole[2].latents)


def test_a_longer_video_begins_with_the_bits_of_a_shorter_one():
    short, long = Run(7, of_frames=13), Run(13)
    assert torch.equal(short.latents(), long.latents()[:, :, :7])
    assert not torch.equal(short.latents(noise="clip")[:, :, 1:], long.latents(noise="clip")[:, :, 1:7])


def test_the_noise_of_a_clip_is_one_draw():
    shape = (1, 8, 7, *PLANE)
    whole = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(5))
    parts = [draw_chunk("clip", 5, shape, chunk, frames) for chunk, frames in enumerate(chunk_ranges(7))]
    assert torch.equal(torch.cat(parts, dim=2), whole)


def test_the_noise_of_chunks_and_seeds_is_unlike():
    shape = (1, 8, 7, *PLANE)
    draws = [draw_chunk("chunk", seed, shape, chunk, range(3)) for seed in (1, 2) for chunk in (0, 1)]
    for index, one in enumerate(draws):
        assert all(not torch.equal(one, other) for other in draws[index + 1 :])


@pytest.mark.parametrize("frames", [13, pytest.param(361, marks=pytest.mark.long)])
def test_what_is_remembered_does_not_grow(frames):
    """361 latent frames are 2,881 of video: two minutes at 24 frames a second, three at 16."""
    run = Run(frames)
    memory = run.engine.new_memory()
    sizes = []
    for chunk in run.conditioning.ranges:
        latents = torch.zeros(1, 8, len(chunk), *PLANE)
        memory = run.engine.remember(latents, run.conditioning, memory)
        sizes.append(tensor_bytes(*memory.to_tensors().values()))
    assert sizes[2] == sizes[-1] == max(sizes)
    seen = 4 + 3
    forecast = memory_bytes(SMALL, PLANE, seen, 3, element_bytes=4, attention_bytes=2)
    assert sizes[-1] <= forecast <= 2 * sizes[-1]


def test_what_a_chunk_sees_is_not_changed_by_denoising(run):
    memory = list(run.chunks())[1].memory
    before = {name: tensor.clone() for name, tensor in memory.to_tensors().items()}
    run.engine.denoise(torch.ones(1, 8, 3, *PLANE), run.conditioning, memory)
    assert all(torch.equal(tensor, before[name]) for name, tensor in memory.to_tensors().items())


@pytest.mark.parametrize(("attention_frames", "feed_forward_frames"), [(1, 1), (2, 3), (3, 2)])
def test_any_cut_gives_the_same_video(attention_frames, feed_forward_frames):
    run = Run(7)
    expected = run.latents()
    cut = {"attention_frames": attention_frames, "feed_forward_frames": feed_forward_frames}
    run.engine.plan = dataclasses.replace(run.engine.plan, **cut)
    assert torch.allclose(run.latents(), expected, atol=1e-4)


def test_a_budget_that_nothing_fits_is_refused():
    run = Run(7)
    enough = run.engine.plan.working_set_bytes
    run.prepare(StreamingEngine(run.transformer, working_set_bytes=enough))
    with pytest.raises(MemoryCapError, match="working-set budget"):
        run.prepare(StreamingEngine(run.transformer, working_set_bytes=enough // 2))


def test_a_video_longer_than_the_table_of_angles_is_refused():
    run = Run(7)
    run.transformer.rope.max_seq_len = 6
    with pytest.raises(UsageError, match=r"got 7 latent frames; expected at most 6"):
        run.latents()


def test_prompts_that_fit_no_chunks_are_refused():
    run = Run(7)
    with pytest.raises(HandoffError, match=r"got 3; expected 1 or 2"):
        run.engine.prepare(torch.zeros(3, 1, 9, 32), torch.ones(3, 9), run.camera)


def test_an_incomplete_checkpoint_is_refused():
    run = Run(13)
    memory = list(run.chunks())[2].memory
    tensors = {name: tensor for name, tensor in memory.to_tensors().items() if not name.startswith("keys.0.")}
    with pytest.raises(HandoffError, match="incomplete"):
        StreamMemory.from_tensors(tensors, memory.window, memory.next_chunk, SMALL["num_layers"])


def test_less_than_a_chunk_is_refused():
    with pytest.raises(UsageError, match=r"got 2 latent frames; expected at least 3"):
        chunk_ranges(2)


def test_memory_in_place_has_the_same_bits_and_stays_where_it_is():
    run = Run(16)
    expected = run.latents()
    engine = StreamingEngine(run.transformer, replay=True)
    run.prepare(engine)
    places, out = [], []
    for chunk in run.chunks(engine=engine):
        places.append(sorted(tensor.data_ptr() for tensor in chunk.memory.to_tensors().values()))
        out.append(chunk.latents)
    assert torch.equal(torch.cat(out, dim=2), expected)
    assert places[1] == places[2] == places[-1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_replayed_passes_have_the_bits_of_launched_ones():
    transformer = build_transformer(SMALL, torch.device("cuda"), torch.bfloat16)
    inputs = build_inputs(transformer, (16, *PLANE))
    videos = []
    for replay in (False, True):
        engine = StreamingEngine(transformer, replay=replay)
        conditioning = engine.prepare(inputs.prompt_embeds[1:], inputs.prompt_attention_mask[1:], inputs.camera)
        noise = [inputs.latents[:, :, frames.start : frames.stop] for frames in conditioning.ranges]
        chunks = sample_chunks(
            engine, conditioning, inputs.latents[:, :, :1], lambda chunk, _, noise=noise: noise[chunk].clone()
        )
        videos.append(torch.cat([chunk.latents for chunk in chunks], dim=2))
    assert torch.equal(*videos)
