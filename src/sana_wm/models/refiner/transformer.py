"""The forward pass of the refiner's transformer, on the modules of a loaded diffusers model.

The arithmetic is that of diffusers' `SanaWMLTX2RefinerTransformer3DModel`. What differs is what is not done twice:

- the prompt's keys and values never change, so they are made once, and their 3.2 GB of projections do not stay;
- tokens that share a sigma share one modulation vector instead of carrying 36,080 copies of it;
- a pass that only captures keys and values stops at the last layer's, with no attention, no feed-forward behind it.

Source: LTX-2 (diffusers `models/transformers/transformer_sana_wm_refiner.py`); NVlabs/Sana, PR #379,
`diffusers_ltx2_refiner.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor

from sana_wm.models.attention import attention
from sana_wm.models.pacing import end_piece, paced
from sana_wm.models.refiner import pointwise
from sana_wm.models.refiner.kv_window import KVWindow
from sana_wm.models.refiner.pointwise import Norm
from sana_wm.models.refiner.rope import RotaryTable, build_rotary_table
from sana_wm.planning.refiner import FEED_FORWARD_TOKENS, window_shape
from sana_wm.replacements.catalogue import require


class Capture(Enum):
    """What a pass leaves in the window."""

    NOTHING = auto()
    SINK = auto()
    HISTORY = auto()


@dataclass(frozen=True)
class PromptContext:
    """What the prompt contributes to every layer, the same in every pass.

    Attributes:
        source: The prompt_embeds and prompt_attention_mask that it was made from.
        keys: Per layer (B, H, L, D).
        values: Per layer (B, H, L, D).
        mask: (B, 1, 1, L) boolean, or None when every token takes part.
    """

    source: tuple[Tensor, Tensor]
    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor | None


@dataclass(frozen=True)
class Modulation:
    """Shift, scale and gate of a block's two modulated halves, each (B, 1, C)."""

    shift_attn: Tensor
    scale_attn: Tensor
    gate_attn: Tensor
    shift_ff: Tensor
    scale_ff: Tensor
    gate_ff: Tensor


class RefinerEngine:
    """Runs the transformer over blocks of latent frames.

    Args:
        transformer: `SanaWMLTX2RefinerTransformer3DModel`; audio parts may be absent.
        blocks: Its transformer blocks in order, each ready to use when it comes; `transformer.transformer_blocks` when
            left out. Iterated once a pass.
        text_blocks: The same for the parts named in `planning.refiner.TEXT_PARTS`; iterated once a prompt.
    """

    def __init__(
        self,
        transformer: Any,
        *,
        blocks: Iterable[Any] | None = None,
        text_blocks: Iterable[Any] | None = None,
    ) -> None:
        require("refiner-attention", "refiner-forward", "refiner-loop", "refiner-rotary")
        self.transformer = transformer
        self.config = transformer.config
        self.device: torch.device = transformer.proj_in.weight.device
        self.dtype: torch.dtype = transformer.proj_in.weight.dtype
        self._blocks = transformer.transformer_blocks if blocks is None else blocks
        self._text_blocks = transformer.transformer_blocks if text_blocks is None else text_blocks
        self._prompt: PromptContext | None = None

    @torch.no_grad()
    def set_prompt(self, prompt_embeds: Tensor, prompt_attention_mask: Tensor) -> None:
        """Make the prompt's keys and values for all layers; the prompt that is set already costs nothing.

        Args:
            prompt_embeds: (B, L, C) from the connectors.
            prompt_attention_mask: (B, L), 1 where a token takes part. The released connectors fill all with registers.
        """
        source = (prompt_embeds, prompt_attention_mask)
        if self._prompt is not None and all(map(torch.equal, self._prompt.source, source)):
            return
        projected = self.transformer.caption_projection(prompt_embeds.to(self.device, self.dtype))
        projected = projected.view(prompt_embeds.shape[0], -1, projected.shape[-1])
        keys: list[Tensor] = []
        values: list[Tensor] = []
        for block in self._text_blocks:
            attn = block.attn2
            keys.append(_split_heads(attn.norm_k(attn.to_k(projected)), attn.heads))
            values.append(_split_heads(attn.to_v(projected), attn.heads))
        takes_part = prompt_attention_mask.bool()
        mask = None if bool(takes_part.all()) else takes_part[:, None, None].to(self.device)
        self._prompt = PromptContext(source, keys, values, mask)

    def new_window(self, latent_shape: tuple[int, ...], sink: int, history: int, current: int) -> KVWindow:
        """An empty window for latents (B, C, F, h, w) with so many frames of sink, history and current block."""
        return KVWindow(window_shape(self.config, latent_shape, sink, history, current), self.device, self.dtype)

    def rotary_table(self, frame_positions: range, latent_shape: tuple[int, ...], fps: float) -> RotaryTable:
        """The rotary table for latent frames at absolute positions."""
        return build_rotary_table(
            self.transformer, frame_positions, latent_shape[-2], latent_shape[-1], fps, self.device
        )

    def capture_sink(self, latents: Tensor, table: RotaryTable, window: KVWindow) -> None:
        """Keep the keys and values of clean frames (B, C, F, h, w) that see only themselves."""
        self._run(latents, 0.0, table, None, window, Capture.SINK)

    def capture_history(self, latents: Tensor, table: RotaryTable, sink: RotaryTable, window: KVWindow) -> None:
        """Keep the keys and values of refined frames (B, C, F, h, w), seen within the window, as its newest frames."""
        self._run(latents, 0.0, table, sink, window, Capture.HISTORY)
        window.advance(latents.shape[2])

    def predict_velocity(
        self, latents: Tensor, sigma: float, table: RotaryTable, sink: RotaryTable, window: KVWindow
    ) -> Tensor:
        """The flow-matching velocity at a noise level.

        Args:
            latents: (B, C, F, h, w), any floating dtype.
            sigma: Noise level shared by all frames, 0 to 1.
            table: Rotary table of the frames.
            sink: Rotary table of the sink where it lies for this block.
            window: What the frames look back at.

        Returns:
            (B, C, F, h, w) float32 on the engine's device.
        """
        tokens = self._run(latents, sigma, table, sink, window, Capture.NOTHING)
        return tokens.float().transpose(1, 2).unflatten(2, latents.shape[2:])

    @torch.no_grad()
    def _run(
        self,
        latents: Tensor,
        sigma: float,
        table: RotaryTable,
        sink: RotaryTable | None,
        window: KVWindow,
        capture: Capture,
    ) -> Tensor:
        """One pass over all blocks; returns velocity tokens (B, N, C), or what it had when a capture was complete."""
        model = self.transformer
        # Patch size is 1 in every LTX-2 model: packing is a transpose.
        hidden: Tensor = model.proj_in(latents.to(self.device, self.dtype).flatten(2).transpose(1, 2))
        batch = hidden.shape[0]
        timestep = torch.full((batch,), sigma * self.config.timestep_scale_multiplier, device=self.device)
        time_embeds, embedded_timestep = model.time_embed(timestep, batch_size=batch, hidden_dtype=self.dtype)
        last = len(model.transformer_blocks) - 1
        for layer, block in enumerate(self._blocks):
            mod = _modulation(block, time_embeds)
            normed = pointwise.norm_and_modulate(hidden, _norm(block.norm1), mod.shift_attn, mod.scale_attn)
            start = 0 if sink is None else self._load_prefix(layer, sink, window)
            self._write_window(layer, block.attn1, normed, table, window, start, capture)
            if layer == last and capture is not Capture.NOTHING:
                break
            end_piece(self.device)
            attended = self._self_attention(block.attn1, normed, table, window, start)
            end_piece(self.device)
            hidden, normed = pointwise.add_gated_and_norm(hidden, attended, mod.gate_attn, _norm(block.norm2))
            prompted = self._prompt_attention(layer, block.attn2, normed)
            end_piece(self.device)
            hidden, normed = pointwise.add_and_modulate(
                hidden, prompted, _norm(block.norm3), mod.shift_ff, mod.scale_ff
            )
            hidden = pointwise.add_gated(hidden, _feed_forward(block.ff, normed), mod.gate_ff)
            end_piece(self.device)
        else:
            table_shift, table_scale = (model.scale_shift_table + embedded_timestep.view(batch, 1, -1)).unbind(1)
            hidden = torch.addcmul(table_shift[:, None], model.norm_out(hidden), 1 + table_scale[:, None])
            hidden = model.proj_out(hidden)
        end_piece(self.device)
        return hidden

    def _load_prefix(self, layer: int, sink: RotaryTable, window: KVWindow) -> int:
        rotated = pointwise.rotate(window.sink_key(layer), sink.cos, sink.sin, sink.interleaved)
        return window.load_prefix(layer, rotated)

    def _write_window(
        self,
        layer: int,
        attn: Any,
        normed: Tensor,
        table: RotaryTable,
        window: KVWindow,
        start: int,
        capture: Capture,
    ) -> None:
        """Put the current frames' keys and values behind the prefix, and keep what the pass is to capture."""
        key, value = attn.to_k(normed), attn.to_v(normed).unflatten(-1, (attn.heads, -1))
        end = start + key.shape[1]
        window.key[:, start:end] = pointwise.norm_and_rotate(key, _norm(attn.norm_k), table)
        window.value[:, start:end] = value
        if capture is Capture.SINK:
            window.keep_sink(layer, attn.norm_k(key).unflatten(-1, (attn.heads, -1)), value)
        elif capture is Capture.HISTORY:
            window.keep_current(layer, start, end)

    def _self_attention(self, attn: Any, normed: Tensor, table: RotaryTable, window: KVWindow, start: int) -> Tensor:
        query = pointwise.norm_and_rotate(attn.to_q(normed), _norm(attn.norm_q), table)
        end = start + query.shape[1]
        operands = (x.transpose(1, 2) for x in (query, window.key[:, :end], window.value[:, :end]))
        return _project_out(attn, normed, attention(*operands))

    def _prompt_attention(self, layer: int, attn: Any, normed: Tensor) -> Tensor:
        if self._prompt is None:
            raise RuntimeError("set_prompt must come before the first pass")
        query = _split_heads(attn.norm_q(attn.to_q(normed)), attn.heads)
        prompt = self._prompt
        attended = attention(query, prompt.keys[layer], prompt.values[layer], mask=prompt.mask)
        return _project_out(attn, normed, attended)


def _modulation(block: Any, time_embeds: Tensor) -> Modulation:
    rows = block.scale_shift_table + time_embeds.view(time_embeds.shape[0], block.scale_shift_table.shape[0], -1)
    shift_attn, scale_attn, gate_attn, shift_ff, scale_ff, gate_ff = (row[:, None] for row in rows.unbind(1))
    return Modulation(shift_attn, scale_attn, gate_attn, shift_ff, scale_ff, gate_ff)


def _norm(module: Any) -> Norm:
    """A norm of the network as one fused kernel; the RMSNorm of diffusers takes five over float32 copies."""
    return Norm(module.weight, module.eps)


def _split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, H*D) to (B, H, N, D), a view."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _project_out(attn: Any, normed: Tensor, attended: Tensor) -> Tensor:
    """Gate the heads where the model does so, join them, project."""
    if attn.to_gate_logits is not None:
        # Twice the sigmoid, so that zero logits leave a head as it is.
        gates = 2.0 * torch.sigmoid(attn.to_gate_logits(normed))
        attended = attended * gates.transpose(1, 2).unsqueeze(-1)
    return attn.to_out[0](attended.transpose(1, 2).flatten(2))


def _feed_forward(feed_forward: Any, x: Tensor) -> Tensor:
    if x.shape[1] <= FEED_FORWARD_TOKENS:
        return feed_forward(x)
    out = torch.empty_like(x)
    parts = (slice(start, start + FEED_FORWARD_TOKENS) for start in range(0, x.shape[1], FEED_FORWARD_TOKENS))
    for part in paced(parts, x.device):
        out[:, part] = feed_forward(x[:, part])
    return out
