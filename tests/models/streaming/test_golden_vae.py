"""The causal VAE, streamed, against upstream's streaming decoder."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import AutoencoderKLLTX2Video

from sana_wm.models.vae.first_frame import encode_first_frame
from sana_wm.models.vae.streaming_decoder import StreamingDecoder
from sana_wm.planning.decode import decoder_layers, forecast

IO = "vae_causal_*io.safetensors"
WEIGHTS = "vae_causal_*weights.safetensors"
BOUND = 1e-5


@pytest.fixture(scope="module")
def vae(streaming_golden):
    autoencoder = AutoencoderKLLTX2Video(**json.loads(streaming_golden.metadata(WEIGHTS)["config"]))
    autoencoder.load_state_dict(streaming_golden.tensors(WEIGHTS))
    return autoencoder.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def data(streaming_golden):
    return streaming_golden.tensors(IO)


@pytest.fixture(scope="module")
def pieces(streaming_golden, data):
    """The normalized latents as the chunks of Stage 1, (n, C, h, w) each."""
    return data["z"][0].transpose(0, 1).split(json.loads(streaming_golden.metadata(IO)["chunks"]))


def decoder_of(vae, latents, steps, implementation="window"):
    levels = 1 + sum(layer.kind == "upsample" for layer in decoder_layers(vae.config))
    plan = forecast(vae.config, *latents.shape[-2:], vae.dtype.itemsize, steps[:levels], implementation)
    return StreamingDecoder(vae, plan)


@pytest.mark.parametrize("steps", [(1, 1, 1, 1, 1), (3, 6, 12, 24, 24), (4, 8, 16, 32, 32)])
def test_the_streamed_decode_is_upstreams(vae, data, pieces, steps):
    frames = torch.cat(list(decoder_of(vae, data["z"], steps).decode_samples(pieces)))
    expected = data["out_stream"][0].permute(1, 2, 3, 0)
    assert frames.shape == expected.shape
    assert (frames - expected).abs().max() <= BOUND


def test_the_whole_decode_is_the_same(vae, data, pieces):
    mean, std = (buffer.view(1, -1, 1, 1, 1) for buffer in (vae.latents_mean, vae.latents_std))
    raw = data["z"] / vae.config.scaling_factor * std + mean
    whole = vae.decode(raw, return_dict=False)[0][0].permute(1, 2, 3, 0)
    streamed = torch.cat(list(decoder_of(vae, data["z"], (2, 4, 8, 16, 16)).decode_samples(pieces)))
    assert (whole - streamed).abs().max() <= BOUND


def test_a_piece_comes_out_whole_before_the_next_is_asked_for(vae, data, pieces):
    """25 frames of the first chunk, 24 of each later one: a causal decoder waits for nothing."""
    taken = []

    def latents():
        for piece in pieces:
            taken.append(len(piece))
            yield piece

    counts = [0] * len(pieces)
    for frames in decoder_of(vae, data["z"], (3, 6, 12, 24, 24)).decode_samples(latents()):
        counts[len(taken) - 1] += len(frames)
    first, *later = map(len, pieces)
    assert counts == [8 * first - 7, *(8 * count for count in later)]


def test_bytes_are_rounded_where_upstream_cuts(vae, data, pieces):
    ours = torch.cat(list(decoder_of(vae, data["z"], (4, 8, 16, 32, 32)).decode(pieces[:1])))
    theirs = data["out_chunk0_u8"][0].permute(1, 2, 3, 0)
    assert set((ours.int() - theirs.int()).unique().tolist()) <= {0, 1}


def test_the_first_frame_is_upstreams(vae, data):
    latent = encode_first_frame(vae, data["image"][:, :, 0])
    assert (latent - data["image_latent_normalised"]).abs().max() <= BOUND
