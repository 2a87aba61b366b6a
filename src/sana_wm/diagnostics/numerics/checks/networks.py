"""Our engines on tiny networks: whatever no check of a single operation thought of.

Each runs in bfloat16, which a run computes in, and in float32, where a wrong kernel cannot hide behind rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sana_wm.diagnostics.numerics.check import Draw, Inputs, NumericsCheck
from sana_wm.diagnostics.numerics.checks.advice import UPDATE
from sana_wm.models.refiner.text import connect
from sana_wm.models.refiner.transformer import RefinerEngine
from sana_wm.models.stage1.engine import Stage1Engine
from sana_wm.models.vae.first_frame import encode_first_frame
from sana_wm.models.vae.streaming_decoder import StreamingDecoder
from sana_wm.planning.decode import FASTEST, plan_decode
from sana_wm.planning.refiner import SIGMAS
from sana_wm.weights.tiny_models import NETWORKS, build_network

# What dozens of layers make of roundings: measured up to 3e-2 in bfloat16, and on CUDA, with TF32, 5e-3 in float32.
TOLERANCES = {torch.bfloat16: 1e-1, torch.float32: 1e-2}
AMPLE_BYTES = 1024**4


def load_tiny(name: str, like: Tensor) -> Any:
    """A network of the tiny checkpoint on the device and in the dtype of a tensor.

    The weights are rounded to bfloat16 in either dtype, as released ones are: or the check would measure that rounding.
    """
    network = NETWORKS[name]
    module = network.build()
    tensors = {key: x.bfloat16().to(like.dtype) for key, x in build_network(network, seed=0)[1].items()}
    # Not strict: a text encoder's output layer is tied to its embeddings, not stored, and never called.
    module.load_state_dict(tensors, strict=False, assign=True)
    return module.to(like.device).eval().requires_grad_(False)


def predict_stage1_velocity(
    latents: Tensor, prompt_embeds: Tensor, chunk_plucker: Tensor, rays: Tensor, rays_inverse: Tensor
) -> Tensor:
    """One guided step of Stage 1; the network computes in the dtype of the latents."""
    transformer = load_tiny("transformer", latents)
    engine = Stage1Engine(transformer, camera_rescale="pr379", attention_dtype=latents.dtype)
    mask = torch.ones(prompt_embeds.shape[0], prompt_embeds.shape[2], dtype=torch.int64)
    camera = {"chunk_plucker": chunk_plucker.cpu(), "P": rays.cpu(), "P_inv": rays_inverse.cpu()}
    conditioning = engine.prepare(prompt_embeds.cpu(), mask, camera)
    return _by_token(engine.velocity(latents.float(), 500.0, conditioning, guidance_scale=5.0))


def predict_refiner_velocity(latents: Tensor, prompt_embeds: Tensor) -> Tensor:
    """The refiner's sink, a block of history, and one pass of a block that sees both."""
    engine = RefinerEngine(load_tiny("refiner_transformer", latents))
    mask = torch.ones(prompt_embeds.shape[:2], dtype=torch.int64)
    mask[:, :3] = 0
    engine.set_prompt(prompt_embeds.cpu(), mask)
    sink, history, block = (latents.float()[:, :, part] for part in (slice(0, 1), slice(1, 3), slice(3, 5)))
    shape = tuple(latents.shape)
    window = engine.new_window(shape, 1, 2, 2)
    tables = [engine.rotary_table(range(*span), shape, 16.0) for span in ((0, 1), (1, 3), (3, 5))]
    engine.capture_sink(sink, tables[0], window)
    engine.capture_history(history, tables[1], tables[0], window)
    return _by_token(engine.predict_velocity(block, SIGMAS[0], tables[2], tables[0], window))


def decode_latents(latents: Tensor) -> Tensor:
    """The streaming VAE's frames of (F, C, h, w), a row a line of the picture: single pixels are all rounding."""
    vae = load_tiny("vae", latents)
    height, width = latents.shape[2:]
    fastest = FASTEST[latents.device.type]
    plan = plan_decode(vae.config, height, width, vae.dtype.itemsize, AMPLE_BYTES, implementation=fastest)
    return torch.cat(list(StreamingDecoder(vae, plan).decode_samples([latents]))).flatten(2)


def encode_picture(pixels: Tensor) -> Tensor:
    """The first frame's latent, (1, 3, H, W) in."""
    return _by_token(encode_first_frame(load_tiny("vae", pixels), pixels))


def connect_prompt(packed: Tensor) -> Tensor:
    """The refiner's connectors on packed hidden states, the first third padding."""
    mask = torch.ones(packed.shape[:2], dtype=torch.int64)
    mask[:, : packed.shape[1] // 3] = 0
    return connect(load_tiny("connectors", packed), packed, mask).prompt_embeds


def encode_prompt(like: Tensor, tokens: Tensor, *, name: str) -> Tensor:
    """Last hidden states of a text encoder."""
    encoder: Any = load_tiny(name, like).get_decoder()
    return encoder(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state


def _by_token(latents: Tensor) -> Tensor:
    """(B, C, F, h, w) with channels last, so that a row is a token."""
    return latents.movedim(1, -1)


def _draw_stage1(draw: Draw, dtype: torch.dtype) -> Inputs:
    grid = (3, 4, 6)
    rays = torch.eye(4).repeat(3 * 4 * 6, 1, 1)
    rays[:, :3, :3] = torch.linalg.qr(draw.normal(len(rays), 3, 3, dtype=torch.float32)).Q
    rays[:, :3, 3] = draw.normal(len(rays), 3, dtype=torch.float32)
    return (
        draw.normal(1, 128, *grid, dtype=dtype),
        draw.normal(2, 1, 9, 64, dtype=torch.float32),
        draw.normal(48, *grid, dtype=torch.float32),
        rays,
        torch.linalg.inv(rays),
    )


def _draw_refiner(draw: Draw, dtype: torch.dtype) -> Inputs:
    return draw.normal(1, 128, 5, 3, 4, dtype=dtype), draw.normal(1, 128, 48, dtype=torch.float32)


def _draw_latents(draw: Draw, dtype: torch.dtype) -> Inputs:
    return (draw.normal(3, 128, 2, 3, dtype=dtype),)


def _draw_picture(draw: Draw, dtype: torch.dtype) -> Inputs:
    return (draw.normal(1, 3, 64, 96, dtype=dtype).clamp(-1, 1),)


def _draw_packed(draw: Draw, dtype: torch.dtype) -> Inputs:
    return (draw.normal(1, 128, 4 * 48, dtype=dtype),)


def _draw_tokens(draw: Draw, dtype: torch.dtype) -> Inputs:
    return torch.zeros(1, dtype=dtype), draw.integers(512, 1, 64)


NETWORKS_AS_USED: tuple[tuple[str, str, Callable[..., Inputs], Callable[..., Tensor]], ...] = (
    ("stage1-step", "a guided step of a tiny Stage 1", _draw_stage1, predict_stage1_velocity),
    ("refiner-block", "sink, history and a block of a tiny refiner", _draw_refiner, predict_refiner_velocity),
    ("vae-decode", "streaming decode of a tiny VAE", _draw_latents, decode_latents),
    ("vae-encode", "first frame through a tiny VAE", _draw_picture, encode_picture),
    ("connectors", "tiny connectors", _draw_packed, connect_prompt),
    ("gemma2", "tiny Gemma-2", _draw_tokens, partial(encode_prompt, name="stage1_text_encoder")),
    ("gemma3", "tiny Gemma-3", _draw_tokens, partial(encode_prompt, name="refiner_text_encoder")),
)

CHECKS = tuple(
    NumericsCheck(
        id=f"{name}-{str(dtype).removeprefix('torch.')}",
        operation=f"{operation}, {str(dtype).removeprefix('torch.')}",
        known_issue="any of the above, or one not reported yet",
        used=True,
        draw=partial(draw, dtype=dtype),
        compute=compute,
        reference_dtype=torch.float32,
        tolerance=tolerance,
        advice=f"If a check above failed, mend that first. {UPDATE}",
    )
    for name, operation, draw, compute in NETWORKS_AS_USED
    for dtype, tolerance in TOLERANCES.items()
)
