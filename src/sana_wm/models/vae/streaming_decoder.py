"""Exact streaming decode of the LTX-2 video VAE: latents in as they are read, frames out as they become final.

Every frame is computed once, with the decoder's own weights and the result of the untiled decode; memory depends on the
picture's size and the plan, not on the number of frames. The first frames come out once the decoder has seen as many
latent frames as it reaches ahead (22 for the released one; a causal decoder reaches none, so that every piece comes out
whole before the next is asked for).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch

from sana_wm.errors import HandoffError, UsageError, WeightsError
from sana_wm.models.vae.streaming_layers import StreamingConv, StreamingResnet, StreamingUpsampler
from sana_wm.planning.decode import DecodePlan
from sana_wm.replacements.catalogue import require
from sana_wm.runtime.device import synchronize

StreamingLayer = StreamingConv | StreamingResnet | StreamingUpsampler


class StreamingDecoder:
    """Decodes one video after another with a loaded VAE.

    Args:
        vae: A loaded `AutoencoderKLLTX2Video`. Only its decoder, `latents_mean` and `latents_std` are used; the memory
            of its decoder's weights is rearranged for the plan's implementation.
        plan: From `plan_decode`.

    Raises:
        WeightsError: The decoder injects noise or is conditioned on a timestep: neither is a function of the latents.
    """

    def __init__(self, vae: Any, plan: DecodePlan) -> None:
        require("vae-decode")
        decoder = vae.decoder
        _refuse_conditioned(decoder)
        self.plan = plan
        self.patch_frames, self.patch = int(decoder.patch_size_t), int(decoder.patch_size)
        weight = decoder.conv_in.conv.weight
        self.device, self.dtype = weight.device, weight.dtype
        self.least_size = 2 if decoder.conv_in.conv.padding_mode == "reflect" else 1
        self.mean = vae.latents_mean.float().to(self.device).view(1, -1, 1, 1)
        self.std = vae.latents_std.float().to(self.device).view(1, -1, 1, 1)
        self.scaling_factor = float(vae.config.scaling_factor)
        self.is_causal = bool(decoder.is_causal)
        self.layers, self.levels = _build_layers(decoder, plan)
        if self.levels[-1] + 1 != len(plan.steps):
            raise UsageError(
                "the decode plan is not of this VAE",
                got=f"{len(plan.steps)} levels",
                expected=f"{self.levels[-1] + 1}",
            )

    def decode(
        self, latents: Iterable[torch.Tensor], watch: Callable[[torch.Tensor], None] | None = None
    ) -> Iterator[torch.Tensor]:
        """Decode normalized latents to 8-bit frames.

        Args:
            latents: Pieces of one video in order, each (n, C, h, w) with any n >= 1, any dtype and device.
            watch: Is shown each piece, (n, patch channels, h', w'), before it is rounded and clamped.

        Returns:
            The next frames, uint8 (n, H, W, 3) on the decoder's device; rounded in fp32, not truncated.

        Raises:
            HandoffError: There are no latents, or they are too small for the decoder's padding.
        """
        # Not a generator: one would keep the last piece alive.
        return map(partial(self._to_bytes, watch=watch), self._stream(latents))

    def decode_samples(self, latents: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Decode normalized latents to samples, unclamped, in the decoder's dtype: what `vae.decode` gives.

        Args:
            latents: As in `decode`.

        Returns:
            The next frames, (n, H, W, 3).

        Raises:
            HandoffError: As in `decode`.
        """
        return map(self._unpatch, self._stream(latents))

    def state_bytes(self) -> int:
        """Bytes of the frames kept between pieces, now."""
        tails = [tail for layer in self.layers for tail in layer.tails if tail is not None]
        return sum(tail.untyped_storage().nbytes() for tail in tails)

    def _stream(self, latents: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        for layer in self.layers:
            layer.reset()  # the last stream may have been abandoned halfway
        regroup = _cut if self.is_causal else _regroup
        for piece, last in regroup(latents, self.plan.steps[0]):
            self._check_size(piece)
            yield from self._drive(self._denormalize(piece), last)
            synchronize(self.device)  # on MPS the only thing that drops the scratch of the work so far
        for layer in self.layers:
            layer.reset()  # a causal stream never learns that it has ended

    def _drive(self, frames: torch.Tensor, last: bool) -> Iterator[torch.Tensor]:
        """Send frames through the layers depth first, cut to each level's step: only what waits stays alive."""
        stack = [(0, frames, last)]
        while stack:
            samples = self._advance(stack)
            if samples is not None:
                yield samples
            del samples  # or it would live through the next advance

    @torch.no_grad()  # here and not on the generators: their wrapper would keep each piece one step too long
    def _advance(self, stack: list[tuple[int, torch.Tensor, bool]]) -> torch.Tensor | None:
        """Take the frames that wait deepest through all layers; `None` where a layer wants more before it answers."""
        start, frames, last = stack.pop()
        for index in range(start, len(self.layers)):
            step = self.plan.steps[self.levels[index]]
            if len(frames) > step:
                stack.append((index, frames[step:], last))
                frames, last = frames[:step], False
            out = self.layers[index].push(frames, last)
            if out is None:
                return None
            frames = out
        return frames

    def _check_size(self, latents: torch.Tensor) -> None:
        if min(latents.shape[-2:]) < self.least_size:
            raise HandoffError(
                "the latents are too small to decode",
                got="x".join(map(str, latents.shape[-2:])),
                expected=f"at least {self.least_size} rows and columns, for reflection padding",
            )

    def _denormalize(self, latents: torch.Tensor) -> torch.Tensor:
        """Source: `_decode_latents` in diffusers' pipelines/sana_wm/pipeline_sana_wm.py."""
        raw = (latents.to(self.device, torch.float32) / self.scaling_factor * self.std + self.mean).to(self.dtype)
        if self.plan.implementation == "channels_last":
            return raw.contiguous(memory_format=torch.channels_last)
        return raw.contiguous()

    def _to_bytes(self, samples: torch.Tensor, watch: Callable[[torch.Tensor], None] | None) -> torch.Tensor:
        if watch is not None:
            watch(samples)
        # Arithmetic in the layout that the samples have, then only bytes move.
        levels = samples.float().mul_(127.5).add_(127.5).round_().clamp_(0, 255)
        return self._unpatch(levels.to(torch.uint8))

    def _unpatch(self, samples: torch.Tensor) -> torch.Tensor:
        """(n, patch channels, h', w') -> (n, H, W, 3). The channels are (colour, frame, column, row) of a patch."""
        count, _, height, width = samples.shape
        patches = samples.unflatten(1, (-1, self.patch_frames, self.patch, self.patch)).permute(0, 2, 5, 4, 6, 3, 1)
        return patches.reshape(count * self.patch_frames, height * self.patch, width * self.patch, -1)


def _regroup(latents: Iterable[torch.Tensor], size: int) -> Iterator[tuple[torch.Tensor, bool]]:
    """Pieces of `size` frames however they arrive, each with whether it is the last one."""
    group: list[torch.Tensor] = []
    for piece in latents:
        for frame in piece.unbind():
            if len(group) == size:
                yield torch.stack(group), False
                group = []
            group.append(frame)
    if not group:
        raise _no_latents()
    yield torch.stack(group), True


def _cut(latents: Iterable[torch.Tensor], size: int) -> Iterator[tuple[torch.Tensor, bool]]:
    """The pieces as they arrive, in parts of at most `size` frames: a causal decoder need not know the last one."""
    count = 0
    for piece in latents:
        for part in piece.split(size):
            count += len(part)
            yield part, False
    if not count:
        raise _no_latents()


def _no_latents() -> HandoffError:
    return HandoffError("there are no latents to decode", got="no frames", expected="at least one latent frame")


def _build_layers(decoder: Any, plan: DecodePlan) -> tuple[list[StreamingLayer], list[int]]:
    """The decoder's layers in order, and the resolution level at which each takes its frames."""
    causal, implementation = bool(decoder.is_causal), plan.implementation

    def resnets(blocks: Iterable[Any]) -> list[StreamingLayer]:
        return [StreamingResnet(block, causal=causal, implementation=implementation) for block in blocks]

    layers: list[StreamingLayer] = [StreamingConv(decoder.conv_in, causal=causal, implementation=implementation)]
    layers += resnets(decoder.mid_block.resnets)
    for up_block in decoder.up_blocks:
        layers += resnets([up_block.conv_in] if up_block.conv_in is not None else [])
        for upsampler in up_block.upsamplers or []:
            layers.append(StreamingUpsampler(upsampler, causal=causal, implementation=implementation))
        layers += resnets(up_block.resnets)
    norm_eps = decoder.norm_out.eps
    layers.append(StreamingConv(decoder.conv_out, causal=causal, implementation=implementation, norm_eps=norm_eps))
    upsamplers = [isinstance(layer, StreamingUpsampler) for layer in layers]
    return layers, [sum(upsamplers[:index]) for index in range(len(layers))]


def _refuse_conditioned(decoder: Any) -> None:
    blocks = [module for module in decoder.modules() if hasattr(module, "per_channel_scale1")]
    if any(block.per_channel_scale1 is not None for block in blocks):
        raise WeightsError(
            "this VAE decoder injects noise, so its frames are not a function of the latents",
            got="decoder_inject_noise true",
            expected="false, as in the released config.json",
        )
    if decoder.time_embedder is not None or any(block.scale_shift_table is not None for block in blocks):
        raise WeightsError(
            "this VAE decoder wants a timestep, which SANA-WM does not have",
            got="timestep_conditioning true",
            expected="false, as in the released config.json",
        )
