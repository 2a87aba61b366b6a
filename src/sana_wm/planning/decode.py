"""How many frames the streaming decoder takes at once at each resolution, and the memory that this costs.

Arithmetic on the VAE's config.json alone: no weights, no device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from sana_wm.errors import MemoryCapError
from sana_wm.planning.device import DeviceKind
from sana_wm.sizes import GIB
from sana_wm.weights.tables import read_table

Implementation = Literal["frame", "window", "channels_last"]

TAPS = 3
"""Frames that one temporal convolution looks at: the kernels of `AutoencoderKLLTX2Video` are 3x3x3."""

STRIDES = {"spatiotemporal": (2, 2, 2), "temporal": (2, 1, 1), "spatial": (1, 2, 2)}
"""Upsampling of (frames, height, width) by the config's `upsample_type`."""

# (frames at the latent level, most frames at any level): each row is faster and larger than the one before, as measured
# in reports/bench/decode.md for all but (2, 8), which stands between two that were.
LADDER = ((1, 1), (1, 2), (1, 4), (2, 8), (4, 8), (4, 16), (8, 16))

FASTEST: Mapping[str, Implementation] = {"cuda": "channels_last", "mps": "frame", "cpu": "window"}
"""The implementation to ask for, by device type: measured in reports/bench/decode.md, on MPS reasoned only."""


WORTHWHILE_BYTES = {"cuda": 4 * GIB, "mps": 2 * GIB}
"""More memory than this buys no time: on CUDA as measured (reports/bench/decode.md); on MPS small steps mean one shape,
and so one compiled graph, per layer."""

CLASS_DEFAULTS: dict[str, Any] = {"decoder_causal": True, "decoder_spatial_padding_mode": "reflect"}
"""Of `AutoencoderKLLTX2Video`, for what decides no tensor's shape and a config.json may leave out."""


@dataclass(frozen=True)
class DecodePlan:
    """The schedule of one streaming decode.

    Attributes:
        steps: Most frames that a layer takes at once, one per resolution level, the latent level first.
        implementation: How a temporal convolution is computed (`streaming_layers.StreamingConv`).
        weights_bytes: The decoder's weights.
        state_bytes: Frames that the layers keep between pieces.
        predicted_bytes: Highest live device memory of the decode: weights, state and work.
    """

    steps: tuple[int, ...]
    implementation: Implementation
    weights_bytes: int
    state_bytes: int
    predicted_bytes: int

    def as_json(self) -> dict[str, Any]:
        """The plan as plain JSON types."""
        return {**asdict(self), "steps": list(self.steps)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DecodePlan:
        """The plan that a receipt holds, whatever it holds besides."""
        own: dict[str, Any] = {field.name: data[field.name] for field in fields(cls)}
        own["steps"] = tuple(own["steps"])
        return cls(**own)


@dataclass(frozen=True)
class Layer:
    """One streaming layer, as the memory forecast sees it.

    Attributes:
        kind: `conv`, `residual` (two convolutions and a skip) or `upsample` (a convolution and depth to space).
        level: Resolution level of its input.
        in_channels: Channels of its input.
        out_channels: Channels of its (last) convolution's output.
        stride: Upsampling of (frames, height, width) from this level to the next; ones elsewhere.
    """

    kind: Literal["conv", "residual", "upsample"]
    level: int
    in_channels: int
    out_channels: int
    stride: tuple[int, int, int] = (1, 1, 1)


def complete_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A VAE's config.json with the class's defaults for what it leaves out."""
    table = read_table("vae")
    return {**CLASS_DEFAULTS, **table["structure"], **table["defaults"], **config}


def is_released_vae(config: Mapping[str, Any]) -> bool:
    """Whether a VAE's config.json has the sizes of the released one: a tiny one has random weights."""
    released = complete_config({})
    return all(complete_config(config)[name] == released[name] for name in read_table("vae")["defaults"])


def decode_tflop(config: Mapping[str, Any], latent_shape: tuple[int, ...]) -> float:
    """Arithmetic of one decode of latents (B, C, F, h, w): its convolutions, every frame once."""
    layers = decoder_layers(config)
    pixels = _pixels_per_level(layers, latent_shape[-2], latent_shape[-1])
    frames = [latent_shape[2]]
    for layer in layers:
        if layer.kind == "upsample":
            frames.append(frames[-1] * layer.stride[0] - (layer.stride[0] - 1))
    operations = 0
    for layer in layers:
        weights = layer.in_channels * layer.out_channels
        if layer.kind == "residual":
            weights += layer.out_channels**2
        operations += 2 * TAPS**3 * weights * frames[layer.level] * math.prod(pixels[layer.level])
    return operations / 1e12


def plan_decode_on(
    kind: DeviceKind, config: Mapping[str, Any], latent_shape: tuple[int, ...], element_bytes: int, budget_bytes: int
) -> DecodePlan:
    """`plan_decode` of latents (B, C, F, h, w) as a run on this kind of device makes it."""
    return plan_decode(
        config,
        latent_shape[-2],
        latent_shape[-1],
        element_bytes,
        budget_bytes,
        implementation=FASTEST[kind],
        worthwhile_bytes=WORTHWHILE_BYTES.get(kind),
    )


def plan_decode(
    config: Mapping[str, Any],
    latent_height: int,
    latent_width: int,
    element_bytes: int,
    budget_bytes: int,
    *,
    implementation: Implementation = "frame",
    worthwhile_bytes: int | None = None,
) -> DecodePlan:
    """The fastest plan whose forecast fits the budget, and does not take more than is worth it.

    Args:
        config: The VAE's configuration (`vae.config`, or config.json parsed).
        latent_height: Height of the latents.
        latent_width: Width of the latents.
        element_bytes: Bytes of an element of weights and activations.
        budget_bytes: Device memory for the decode, the decoder's weights included.
        implementation: How a temporal convolution is computed.
        worthwhile_bytes: More than this buys no time; the leanest plan may take more if it must.

    Raises:
        MemoryCapError: Even one frame at a time does not fit.
    """
    strides = [layer.stride for layer in decoder_layers(config) if layer.kind == "upsample"]
    plans = [
        forecast(config, latent_height, latent_width, element_bytes, _steps(strides, *row), implementation)
        for row in LADDER
    ]
    fitting = [plan for plan in plans if plan.predicted_bytes <= budget_bytes]
    if not fitting:
        smallest = min(plan.predicted_bytes for plan in plans)
        raise MemoryCapError(
            "the VAE decode does not fit its memory budget",
            got=f"{budget_bytes / GIB:.2f} GiB",
            expected=f"at least {smallest / GIB:.2f} GiB for latents of {latent_height}x{latent_width}",
            next_step="Raise memory.cap_gib, or make a smaller video.",
        )
    worthwhile = [plan for plan in fitting if worthwhile_bytes is None or plan.predicted_bytes <= worthwhile_bytes]
    return worthwhile[-1] if worthwhile else fitting[0]


def forecast(
    config: Mapping[str, Any],
    latent_height: int,
    latent_width: int,
    element_bytes: int,
    steps: tuple[int, ...],
    implementation: Implementation = "frame",
) -> DecodePlan:
    """The plan with these steps and what it will hold in memory (arguments as in `plan_decode`)."""
    layers = decoder_layers(config)
    pixels = _pixels_per_level(layers, latent_height, latent_width)
    border = 0 if config["decoder_spatial_padding_mode"] == "zeros" else 2
    weights_bytes = sum(_weights(layer) for layer in layers) * element_bytes
    state = work_peak = waiting = 0
    for layer in layers:
        height, width = pixels[layer.level]
        work = _work(layer, steps[layer.level], height * width, (height + border) * (width + border))
        work_peak = max(work_peak, waiting + work)
        convolutions = (layer.in_channels, layer.out_channels) if layer.kind == "residual" else (layer.in_channels,)
        state += sum((TAPS - 1) * channels * height * width for channels in convolutions)
        if layer.kind == "upsample":
            # A piece larger than the next level's step waits whole while its parts go through the layers below.
            frames = steps[layer.level] * layer.stride[0]
            if frames > steps[layer.level + 1]:
                waiting += frames * layer.out_channels // math.prod(layer.stride) * math.prod(pixels[layer.level + 1])
    # At the end of the line the samples become fp32, bytes, and bytes in the order of pixels.
    samples = steps[-1] * layers[-1].out_channels * math.prod(pixels[-1])
    conversion_bytes = samples * (element_bytes + (0 if element_bytes == 4 else 4) + 2)
    work_bytes = max(work_peak * element_bytes, waiting * element_bytes + conversion_bytes)
    state_bytes = state * element_bytes
    return DecodePlan(
        steps=steps,
        implementation=implementation,
        weights_bytes=weights_bytes,
        state_bytes=state_bytes,
        predicted_bytes=weights_bytes + state_bytes + work_bytes,
    )


def reach_latent_frames(config: Mapping[str, Any]) -> int:
    """How many latent frames before its own a video frame depends on: 22 for the released decoder.

    A decode that starts this many latent frames early gives the same frames from there on, so that a crashed decode
    need not start again at the first latent frame.
    """
    reach, frames_per_latent = 0.0, 1
    looks_back = (TAPS - 1) if config["decoder_causal"] else (TAPS - 1) // 2
    for layer in decoder_layers(config):
        reach += looks_back * (2 if layer.kind == "residual" else 1) / frames_per_latent
        frames_per_latent *= layer.stride[0]
    return math.ceil(reach)


def decoder_layers(config: Mapping[str, Any]) -> tuple[Layer, ...]:
    """The decoder's streaming layers in order.

    Source: the constructor of `LTX2VideoDecoder3d` in diffusers' models/autoencoders/autoencoder_kl_ltx2.py.
    """
    return tuple(_walk(config))


def _walk(config: Mapping[str, Any]) -> Iterator[Layer]:
    block_channels = tuple(reversed(config["decoder_block_out_channels"]))
    resnets = tuple(reversed(config["decoder_layers_per_block"]))
    factors = tuple(reversed(config["upsample_factor"]))
    scaling = config["decoder_spatio_temporal_scaling"]
    scaled = (scaling,) * len(block_channels) if isinstance(scaling, bool) else tuple(reversed(scaling))
    level, channels = 0, block_channels[0]
    yield Layer("conv", level, config["latent_channels"], channels)
    for _ in range(resnets[0]):
        yield Layer("residual", level, channels, channels)
    for block, factor in enumerate(factors):
        before, channels = channels // factor, block_channels[block] // factor
        if before != channels:
            yield Layer("residual", level, before, channels)
        if scaled[block]:
            # `upsample_type`, alone among these fields, is not listed from the last block to the first.
            stride = STRIDES[config["upsample_type"][block]]
            yield Layer("upsample", level, channels * factor, channels * math.prod(stride), stride)
            level += 1
        for _ in range(resnets[block + 1]):
            yield Layer("residual", level, channels, channels)
    yield Layer("conv", level, channels, config["out_channels"] * config["patch_size"] ** 2)


def _steps(strides: list[tuple[int, int, int]], at_latents: int, most: int) -> tuple[int, ...]:
    steps = [at_latents]
    for stride in strides:
        steps.append(min(most, steps[-1] * stride[0]))
    return tuple(steps)


def _pixels_per_level(layers: tuple[Layer, ...], height: int, width: int) -> list[tuple[int, int]]:
    pixels = [(height, width)]
    for layer in layers:
        if layer.kind == "upsample":
            pixels.append((pixels[-1][0] * layer.stride[1], pixels[-1][1] * layer.stride[2]))
    return pixels


def _weights(layer: Layer) -> int:
    """Parameters: 3x3x3 convolutions with bias; a 1x1x1 shortcut behind a LayerNorm where channels change."""
    count = layer.out_channels * (layer.in_channels * TAPS**3 + 1)
    if layer.kind == "residual":
        count += layer.out_channels * (layer.out_channels * TAPS**3 + 1)
        if layer.in_channels != layer.out_channels:
            count += layer.out_channels * (layer.in_channels + 1) + 2 * layer.in_channels
    return count


def _work(layer: Layer, frames: int, area: int, padded_area: int) -> int:
    """Most elements that are live inside a layer while it takes `frames` frames, its input included."""
    taken = frames * layer.in_channels * area
    given = frames * layer.out_channels * area
    replaced = (TAPS - 1) * layer.in_channels * area  # state that the new state does not free before the layer is done
    window = (frames + TAPS - 1) * layer.in_channels * padded_area
    if layer.kind == "residual":
        second_window = (frames + TAPS - 1) * layer.out_channels * padded_area
        return replaced + taken + max(window + max(taken, given), given + second_window + given)
    if layer.kind == "upsample":
        return replaced + taken + given + max(window, given)
    return replaced + taken + window + max(taken, given)
