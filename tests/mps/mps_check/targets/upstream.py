"""NVIDIA's own classes from a patched checkout, called as backend pr379 calls them, at full size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mps_check.fake_device import move_to_fake_device
from mps_check.targets import networks, stock
from mps_check.targets.target import Size, Target, Trial, on_device
from sana_wm.models.loading import build_empty, remove_parts
from sana_wm.models.pr379.checkout import open_checkout, upstream, without_chatter
from sana_wm.models.pr379.refiner import UpstreamRefiner
from sana_wm.models.pr379.stage1 import UpstreamStage1
from sana_wm.planning.refiner import SIGMAS
from sana_wm.sizes import REFINER_PROMPT_TOKENS, STAGE1_PROMPT_TOKENS
from sana_wm.weights.layout import REFINER_RULES


def upstream_targets(root: Path) -> tuple[Target, ...]:
    """The targets of a checkout.

    Args:
        root: A checkout of NVlabs/Sana with the patch applied.

    Raises:
        UsageError: It is none.
        LibraryMismatchError: Its code is not what the patch was made for.
    """
    with without_chatter():
        open_checkout(root, torch.bfloat16)
    return (
        Target("stage1", "pr379", _build_stage1, has_frames=True),
        Target("refiner_single_shot", "pr379", _build_refiner, has_frames=True),
    )


def _build_stage1(size: Size) -> Trial:
    """One guided step, both prompts one after the other."""
    depth = {} if size.num_layers is None else {"depth": size.num_layers}
    with without_chatter():
        empty = build_empty(lambda: upstream("sana_wm_mps.model").build_transformer(**depth))
    network: Any = move_to_fake_device(empty, torch.bfloat16)
    frames, height, width = size.latent_num_frames, size.latent_height, size.latent_width
    tokens = STAGE1_PROMPT_TOKENS
    camera = {"raymap": _straight_path(frames), "chunk_plucker": torch.zeros(48, frames, height, width)}

    def run() -> object:
        engine = UpstreamStage1(network, commit="")
        prepared = engine.prepare(torch.zeros(2, 1, tokens, 2304), torch.ones(2, tokens, dtype=torch.int64), camera)
        latents = on_device(1, 128, frames, height, width, dtype=torch.float32)
        return engine.velocity(latents, 900.0, prepared, guidance_scale=5.0)

    return Trial((network,), run)


def _build_refiner(size: Size) -> Trial:
    """One pass over all frames."""
    model: Any = upstream("diffusers.models.transformers.transformer_ltx2").LTX2VideoTransformer3DModel
    depth = {} if size.num_layers is None else {"num_layers": size.num_layers}
    transformer: Any = move_to_fake_device(build_empty(lambda: model(**networks.ROPE_CONFIG, **depth)), torch.bfloat16)
    remove_parts(transformer, REFINER_RULES.skip_containing)
    shape = (1, int(transformer.config["in_channels"]), size.latent_num_frames, size.latent_height, size.latent_width)
    tokens = REFINER_PROMPT_TOKENS

    def run() -> object:
        engine = UpstreamRefiner(transformer)
        engine.set_prompt(
            torch.zeros(1, tokens, int(transformer.config["caption_channels"])),
            torch.ones(1, tokens, dtype=torch.int64),
        )
        engine.rotary_table(range(shape[2]), shape, stock.FPS)
        latents = torch.zeros(shape)
        engine.capture_sink(latents[:, :, : stock.SINK_FRAMES], None, None)
        return engine.predict_velocity(latents[:, :, stock.SINK_FRAMES :], SIGMAS[0], None, None, None)

    return Trial((transformer,), run)


def _straight_path(frames: int) -> torch.Tensor:
    """Camera conditions (T, 20): ahead, with a lens that shows about 65 degrees."""
    c2w = torch.eye(4).repeat(frames, 1, 1)
    c2w[:, 2, 3] = torch.arange(frames) * 0.4
    return torch.cat((c2w.flatten(1), torch.tensor([31.0, 31.0, 20.0, 11.0]).expand(frames, 4)), dim=1)
