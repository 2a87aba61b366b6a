from __future__ import annotations

import weakref
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sana_wm.errors import HandoffError, UsageError, WeightsError
from sana_wm.models.vae.streaming_decoder import StreamingDecoder
from sana_wm.planning.decode import decoder_layers, forecast, reach_latent_frames

HEIGHT, WIDTH = 3, 4
IMPLEMENTATIONS = ("frame", "window", "channels_last")


def make_latents(frames, dtype=torch.float32):
    return torch.randn(frames, 8, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(frames)).to(dtype)


def decode_untiled(vae, latents):
    """What diffusers' pipeline computes from normalized latents: (T, H, W, 3)."""
    mean, std = (buffer.view(1, -1, 1, 1, 1).to(latents) for buffer in (vae.latents_mean, vae.latents_std))
    raw = latents.transpose(0, 1)[None] / vae.config.scaling_factor * std + mean
    with torch.no_grad():
        return vae.decode(raw, return_dict=False)[0][0].permute(1, 2, 3, 0)


def plan_for(vae, steps, implementation="window", height=HEIGHT, width=WIDTH):
    levels = 1 + sum(layer.kind == "upsample" for layer in decoder_layers(vae.config))
    return forecast(vae.config, height, width, vae.dtype.itemsize, steps[:levels], implementation)


def decode_streaming(vae, latents, steps=(2, 4, 8, 16, 16), implementation="window", chunk=1):
    decoder = StreamingDecoder(vae, plan_for(vae, steps, implementation))
    return torch.cat(list(decoder.decode_samples(latents.split(chunk))))


def assert_equal_to_untiled(vae, latents, **options):
    expected = decode_untiled(vae, latents)
    decoded = decode_streaming(vae, latents, **options)
    assert decoded.shape == expected.shape
    assert (decoded - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("causal", [False, True], ids=["both sides", "causal"])
@pytest.mark.parametrize("frames", [1, 2, 3, 5, 11])
def test_equals_the_untiled_decode_at_many_lengths(make_vae, frames, causal):
    vae = make_vae(decoder_causal=causal, scaling_factor=0.7)
    for chunk, steps in ((1, (1, 1, 1, 1)), (3, (2, 3, 5, 4)), (8, (8, 16, 32, 64))):
        assert_equal_to_untiled(vae, make_latents(frames), chunk=chunk, steps=steps)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("padding", ["reflect", "zeros", "replicate", "circular"])
def test_equals_the_untiled_decode_for_every_padding_and_implementation(make_vae, padding, implementation):
    vae = make_vae(decoder_spatial_padding_mode=padding, decoder_layers_per_block=(1, 1, 1, 1))
    assert_equal_to_untiled(vae, make_latents(5), implementation=implementation, steps=(1, 2, 4, 4))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_equals_the_untiled_decode_at_the_released_depth(make_vae, implementation):
    vae = make_vae(decoder_layers_per_block=(5, 5, 5, 5))
    assert_equal_to_untiled(vae, make_latents(6), implementation=implementation, steps=(1, 2, 4, 8))


@pytest.mark.parametrize("causal", [False, True], ids=["both sides", "causal"])
def test_equals_the_untiled_decode_where_channels_change_inside_blocks(make_vae, four_blocks, causal):
    assert_equal_to_untiled(make_vae(**four_blocks, decoder_causal=causal), make_latents(5))


def test_equals_the_untiled_decode_with_patches_in_time(make_vae):
    assert_equal_to_untiled(make_vae(patch_size_t=2, out_channels=6), make_latents(3))


@pytest.mark.long
@pytest.mark.parametrize("causal", [False, True], ids=["both sides", "causal"])
@pytest.mark.parametrize("padding", ["reflect", "zeros"])
def test_equals_the_untiled_decode_for_every_length_and_chunk(make_vae, padding, causal):
    vae = make_vae(decoder_spatial_padding_mode=padding, decoder_causal=causal)
    for frames in range(1, 42):
        latents = make_latents(frames)
        expected = decode_untiled(vae, latents)
        for chunk in range(1, 9):
            # The pieces of the input are regrouped, so the step is what a chunk means inside.
            steps = (chunk, 2 * chunk, 4 * chunk, 8 * chunk)
            decoded = decode_streaming(vae, latents, chunk=chunk, steps=steps)
            assert decoded.shape == expected.shape
            assert (decoded - expected).abs().max() <= 1e-5


@pytest.mark.long
@pytest.mark.parametrize("frames", [1, 9, 25, 41])
def test_equals_the_untiled_decode_at_the_released_depth_and_length(make_vae, frames):
    vae = make_vae(decoder_layers_per_block=(5, 5, 5, 5))
    for implementation in IMPLEMENTATIONS:
        assert_equal_to_untiled(vae, make_latents(frames), implementation=implementation)


def test_how_the_latents_arrive_does_not_change_a_bit(make_vae):
    vae, latents = make_vae(), make_latents(9)
    whole = decode_streaming(vae, latents, chunk=9)
    for chunk in (1, 4):
        assert torch.equal(decode_streaming(vae, latents, chunk=chunk), whole)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_bfloat16_is_as_exact_as_the_untiled_decode(make_vae, implementation):
    vae, latents = make_vae(decoder_layers_per_block=(5, 5, 5, 5)), make_latents(5)
    exact = decode_untiled(vae, latents)
    vae.bfloat16()
    error = (decode_streaming(vae, latents, implementation=implementation).float() - exact).norm()
    # Another order of the same roundings: neither is systematically better, so a twentieth is allowed either way.
    assert error <= 1.05 * (decode_untiled(vae, latents.bfloat16()).float() - exact).norm()


def test_bytes_are_rounded_not_truncated(make_vae):
    vae, latents = make_vae(), make_latents(3)
    samples = decode_streaming(vae, latents)
    decoder = StreamingDecoder(vae, plan_for(vae, (2, 4, 8, 16)))
    frames = torch.cat(list(decoder.decode([latents])))
    assert frames.dtype == torch.uint8
    assert torch.equal(frames, (samples * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8))


def test_an_abandoned_decode_leaves_nothing_for_the_next(make_vae):
    vae, latents = make_vae(), make_latents(8)
    decoder = StreamingDecoder(vae, plan_for(vae, (1, 2, 4, 8)))
    expected = torch.cat(list(decoder.decode([latents])))
    next(iter(decoder.decode([make_latents(7)])))
    assert decoder.state_bytes() > 0
    assert torch.equal(torch.cat(list(decoder.decode([latents]))), expected)
    assert decoder.state_bytes() == 0


@pytest.mark.parametrize("causal", [False, True], ids=["both sides", "causal"])
def test_the_reach_is_exact(make_vae, causal):
    vae, latents = make_vae(decoder_causal=causal), make_latents(26)
    reach = reach_latent_frames(vae.config)
    latents[2] = float("nan")
    reached = decode_streaming(vae, latents).isnan().flatten(1).any(1).nonzero().flatten()
    # Latent frame k makes the frames 8k - 7 to 8k.
    assert 8 * (2 + reach) - 7 <= reached.max() <= 8 * (2 + reach)


def test_a_decode_can_start_late_by_the_reach_and_gives_the_same_frames(make_vae):
    vae, latents = make_vae(), make_latents(24)
    reach = reach_latent_frames(vae.config)
    start = 20 - reach
    whole, late = decode_streaming(vae, latents), decode_streaming(vae, latents[start:])
    assert (late[8 * reach - 7 :] - whole[8 * 20 - 7 :]).abs().max() <= 1e-5


def test_the_module_keeps_its_weights_and_no_second_copy_of_them(make_vae):
    vae = make_vae()
    expected = decode_untiled(vae, make_latents(2))
    decoder = StreamingDecoder(vae, plan_for(vae, (1, 1, 1, 1), "frame"))
    assert torch.equal(decode_untiled(vae, make_latents(2)), expected)
    assert decoder.layers[0].weight.data_ptr() == vae.decoder.conv_in.conv.weight.data_ptr()


def test_noise_and_timesteps_are_refused(make_vae):
    with pytest.raises(WeightsError, match="injects noise"):
        StreamingDecoder(make_vae(decoder_inject_noise=(True, False, False, False)), plan_for(make_vae(), (1,) * 4))
    with pytest.raises(WeightsError, match="wants a timestep"):
        StreamingDecoder(make_vae(timestep_conditioning=True), plan_for(make_vae(), (1,) * 4))


def test_wrong_input_is_refused(make_vae):
    vae = make_vae()
    with pytest.raises(HandoffError, match="no latents"):
        list(StreamingDecoder(vae, plan_for(vae, (1,) * 4)).decode([]))
    with pytest.raises(HandoffError, match="too small"):
        list(StreamingDecoder(vae, plan_for(vae, (1,) * 4)).decode([torch.zeros(1, 8, 1, 4)]))
    with pytest.raises(UsageError, match="not of this VAE"):
        StreamingDecoder(vae, replace(plan_for(vae, (1,) * 4), steps=(1, 1)))


class LiveBytes(TorchDispatchMode):
    """Bytes of all storages that operations made and nobody has dropped."""

    def __init__(self):
        super().__init__()
        self.known, self.now, self.peak = {}, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        inputs = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.known and storage._cdata not in inputs:
                    self._count(storage._cdata, storage)
        return out

    def _count(self, key, storage):
        size = storage.nbytes()
        self.known[key] = weakref.ref(storage, lambda _: self._drop(key, size))
        self.now += size
        self.peak = max(self.peak, self.now)

    def _drop(self, key, size):
        del self.known[key]
        self.now -= size


def measure_decode(vae, plan, latents):
    """(live bytes at the peak without the weights, most state bytes between pieces)."""
    decoder, state = StreamingDecoder(vae, plan), 0
    with LiveBytes() as live:
        for frames in decoder.decode(latents.split(1)):
            state = max(state, decoder.state_bytes())
            del frames
    return live.peak, state


def test_memory_does_not_depend_on_the_number_of_frames(make_vae):
    vae = make_vae(decoder_layers_per_block=(1, 1, 1, 1))
    plan = plan_for(vae, (1, 2, 4, 4))
    short, long = (measure_decode(vae, plan, make_latents(frames)) for frames in (12, 41))
    assert short == long
    assert short[1] == plan.state_bytes


@pytest.mark.parametrize(
    ("steps", "implementation"),
    [((1, 1, 1, 1), "frame"), ((1, 2, 4, 4), "window"), ((2, 4, 8, 8), "frame"), ((4, 8, 16, 16), "window")],
    ids=str,
)
def test_memory_is_as_forecast(make_vae, steps, implementation):
    vae = make_vae(decoder_layers_per_block=(1, 1, 1, 1))
    plan = plan_for(vae, steps, implementation, height=6, width=10)
    latents = torch.randn(9, 8, 6, 10)
    peak, _ = measure_decode(vae, plan, latents)
    assert peak + plan.weights_bytes == pytest.approx(plan.predicted_bytes, rel=0.1)


def test_weights_are_those_of_the_module(make_vae, four_blocks):
    for vae in (make_vae(), make_vae(**four_blocks)):
        plan = forecast(vae.config, 3, 4, 4, (1, 1, 1, 1, 1))
        assert plan.weights_bytes == sum(weight.numel() * 4 for weight in vae.decoder.parameters())
