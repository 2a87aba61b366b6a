"""The single-shot refiner by upstream's `DiffusersLTX2Refiner`, with the interface of our engine.

Upstream's forward sees the sink and all other frames at every noise level; the loop around it, its noise and its
checkpoints are `refine_single_shot`'s.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn

from sana_wm.errors import MemoryCapError
from sana_wm.models.engine import EngineSetup
from sana_wm.models.loading import build_empty, load_weights, remove_parts
from sana_wm.models.pr379.checkout import checkout_root, open_checkout, upstream
from sana_wm.models.refiner.opening import SingleShotRefiner
from sana_wm.runtime.device import dtype_named
from sana_wm.weights.component_config import read_config
from sana_wm.weights.layout import REFINER_RULES, Component


@contextlib.contextmanager
def open_refiner(setup: EngineSetup, resident_blocks: int) -> Generator[SingleShotRefiner]:
    """Upstream's refiner from the checkout that the manifest names."""
    dtype = dtype_named(setup.dtype)
    open_checkout(checkout_root(setup), dtype)
    component = setup.layout.refiner_transformer
    device = torch.device(setup.device)
    with open_upstream_refiner(component, device=device, dtype=dtype, resident_blocks=resident_blocks) as engine:
        setup.hold(engine.transformer)
        yield SingleShotRefiner(engine, setup)


@contextlib.contextmanager
def open_upstream_refiner(
    component: Component, *, device: torch.device, dtype: torch.dtype, resident_blocks: int
) -> Generator[UpstreamRefiner]:
    """Upstream's refiner around its LTX-2 transformer, without the audio half that its forward never reads.

    Args:
        component: The transformer's files.
        device: Where it computes.
        dtype: What its weights become.
        resident_blocks: How many blocks there is memory for.

    Raises:
        WeightsError: A file is missing, damaged or of another network.
        MemoryCapError: There is no memory for all blocks: upstream's code cannot read them one by one.
    """
    network: Any = upstream("diffusers.models.transformers.transformer_ltx2").LTX2VideoTransformer3DModel
    transformer: Any = build_empty(lambda: network.from_config(read_config(component)))
    blocks = len(transformer.transformer_blocks)
    if resident_blocks < blocks:
        raise MemoryCapError(
            "the refiner does not fit the memory budget with backend pr379",
            got=f"room for {resident_blocks} of {blocks} blocks",
            expected="room for all: upstream's code keeps every block in memory",
            next_step='Raise memory.cap_gib, or use "backend": "diffusers", which reads blocks from disk.',
        )
    remove_parts(transformer, REFINER_RULES.skip_containing)
    load_weights(transformer, component.shards, device=device, dtype=dtype, rename=component.rules)
    yield UpstreamRefiner(transformer)


class UpstreamRefiner:
    """What `refine_single_shot` needs of an engine, by upstream's forward.

    Args:
        transformer: `LTX2VideoTransformer3DModel` on its device.
    """

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer
        self._module = upstream("diffusion.refiner.diffusers_ltx2_refiner")
        self._refiner = self._module.DiffusersLTX2Refiner.__new__(self._module.DiffusersLTX2Refiner)
        nn.Module.__init__(self._refiner)  # not its own __init__, which loads everything at once
        self._refiner.transformer = transformer
        self._refiner.dtype = transformer.proj_in.weight.dtype
        self._refiner.device = transformer.proj_in.weight.device
        self._prompt: tuple[Tensor, Tensor] | None = None
        self._sink: Tensor | None = None
        self._fps = 0.0

    def set_prompt(self, prompt_embeds: Tensor, prompt_attention_mask: Tensor) -> None:
        """(B, L, C) and (B, L) from the connectors."""
        refiner = self._refiner
        self._prompt = (prompt_embeds.to(refiner.device, refiner.dtype), prompt_attention_mask.to(refiner.device))

    def new_window(self, latent_shape: tuple[int, ...], sink: int, history: int, current: int) -> None:
        """Upstream keeps no keys and values."""
        del latent_shape, sink, history, current

    def rotary_table(self, frame_positions: range, latent_shape: tuple[int, ...], fps: float) -> None:
        """Upstream makes its own table; it only needs the frame rate."""
        del frame_positions, latent_shape
        self._fps = fps

    def capture_sink(self, latents: Tensor, table: Any, window: Any) -> None:
        """Keep the sink, (B, C, s, h, w): upstream's forward takes it along in every pass."""
        del table, window
        self._sink = latents.to(self._refiner.device, self._refiner.dtype)

    @torch.no_grad()
    def predict_velocity(self, latents: Tensor, sigma: float, table: Any, sink: Any, window: Any) -> Tensor:
        """The velocity of all frames after the sink, (B, C, f, h, w) float32."""
        del table, sink, window
        refiner, config = self._refiner, self.transformer.config
        if self._prompt is None or self._sink is None:
            raise RuntimeError("the prompt and the sink come first")
        noisy = latents.to(refiner.device, refiner.dtype)
        level = torch.tensor(sigma, dtype=torch.float32, device=refiner.device)
        clean_tokens = refiner._predict_current_x0(
            sink=self._sink,
            noisy_current=noisy,
            prompt_embeds=self._prompt[0],
            prompt_attention_mask=self._prompt[1],
            sigma=level,
            fps=self._fps,
        )
        clean = self._module._unpack_latents(
            clean_tokens, *noisy.shape[2:], patch_size=config.patch_size, patch_size_t=config.patch_size_t
        )
        return (noisy.float() - clean.float()) / sigma
