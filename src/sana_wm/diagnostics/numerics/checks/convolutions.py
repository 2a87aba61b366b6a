"""Convolutions and the padding before them."""

from __future__ import annotations

from functools import partial

from diffusers.models.autoencoders.autoencoder_kl_ltx2 import LTX2VideoCausalConv3d
from torch import Tensor, nn
from torch.nn import functional as F

from sana_wm.diagnostics.numerics.check import BFLOAT16_TOLERANCE, EXACT, Draw, Inputs, NumericsCheck
from sana_wm.diagnostics.numerics.checks.advice import UNUSED, UPDATE
from sana_wm.models.vae.streaming_layers import StreamingConv
from sana_wm.planning.decode import FASTEST, Implementation

WIDE_PADS = "rank above 4 and extent >= 65536 gives zeros: #194922, #195147, before torch 2.15"
CONV3D = "unrelated results on macOS 26.2 with torch 2.14 and later: #197114"

# With its border a plane of 180x372 = 66960 elements: from 65536 on, pads of rank 5 are wrong.
LARGE_PLANE, SMALL_PLANE = (178, 370), (22, 40)
# The latent level.
HEIGHT, WIDTH = 22, 40


def streaming_convolution(
    frames: Tensor, weight: Tensor, bias: Tensor, *, implementation: Implementation | None = None
) -> Tensor:
    """A decoder convolution as the streaming VAE computes it: (n, C, H, W), its border reflected by copies.

    Left to itself it takes the implementation that a run takes on this device.
    """
    implementation = implementation or FASTEST[frames.device.type]
    layer = StreamingConv(_decoder_convolution(weight, bias), causal=False, implementation=implementation)
    out = layer.push(frames, last=True)
    if out is None:
        raise RuntimeError(f"no output for {len(frames)} frames")
    return out.contiguous()


def decoder_convolution(frames: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same as diffusers computes it."""
    out: Tensor = _decoder_convolution(weight, bias)(frames.transpose(0, 1)[None], causal=False)
    return out[0].transpose(0, 1)


def _decoder_convolution(weight: Tensor, bias: Tensor) -> LTX2VideoCausalConv3d:
    channels = weight.shape[1]
    module = LTX2VideoCausalConv3d(channels, channels, spatial_padding_mode="reflect")
    module.conv.weight, module.conv.bias = (nn.Parameter(part, requires_grad=False) for part in (weight, bias))
    return module


def shortcut_convolution(frames: Tensor, weight: Tensor) -> Tensor:
    """1x1 convolution of strided frames with a slice of a weight, both copied to be contiguous."""
    return F.conv2d(frames.movedim(-1, 1).contiguous(), weight[:, :, 0].contiguous())


def strided_weight_convolution(frames: Tensor, weight: Tensor) -> Tensor:
    """A 3x3 convolution with one temporal tap of a 3x3x3 weight, not copied."""
    return F.conv2d(frames, weight[:, :, 1], padding=1)


def channel_slice_convolution(tokens: Tensor, weight: Tensor) -> Tensor:
    """A 3x3 convolution of half of the channels of channels-last memory, not copied."""
    return F.conv2d(tokens.permute(0, 3, 1, 2)[:, : weight.shape[1]], weight, padding=1)


def depthwise_convolution(tokens: Tensor, weight: Tensor) -> Tensor:
    """Stage 1's feed-forward: tokens outside, channels inside, which is channels-last; half of a weight."""
    taps = weight[: tokens.shape[-1]]
    return F.conv2d(tokens.permute(0, 3, 1, 2), taps, padding=1, groups=len(taps)).permute(0, 2, 3, 1).contiguous()


def reflect(volume: Tensor) -> Tensor:
    """Torch's reflection padding of height and width, rank 5."""
    return F.pad(volume, (1, 1, 1, 1, 0, 0), mode="reflect")


def pad_with_zeros(volume: Tensor) -> Tensor:
    """Torch's padding by zeros of height and width, rank 5."""
    return F.pad(volume, (1, 1, 1, 1))


def _draw_streaming(draw: Draw) -> Inputs:
    channels = 8
    height, width = LARGE_PLANE if draw.full_size else SMALL_PLANE
    return draw.normal(3, channels, height, width), draw.normal(channels, channels, 3, 3, 3), draw.normal(channels)


def _draw_volume(draw: Draw) -> Inputs:
    height, width = LARGE_PLANE if draw.full_size else SMALL_PLANE
    return (draw.normal(1, 4, 3, height, width),)


def _draw_conv3d(draw: Draw) -> Inputs:
    channels = draw.size(128, 32)
    return draw.normal(1, channels, 3, HEIGHT, WIDTH), draw.normal(channels, channels, 3, 3, 3), draw.normal(channels)


def _draw_picture(draw: Draw) -> Inputs:
    return draw.normal(2, 64, HEIGHT, WIDTH), draw.normal(64, 64, 3, 3, 3)


def _draw_depthwise(draw: Draw) -> Inputs:
    channels = draw.size(1120, 112)
    return draw.normal(2, HEIGHT, WIDTH, channels), draw.normal(2 * channels, 1, 3, 3)


CHECKS = (
    NumericsCheck(
        id="conv3d",
        operation="conv3d 3x3x3 in NCDHW (the VAE's encoder, which makes the first frame's latent)",
        known_issue=CONV3D,
        used=True,
        draw=_draw_conv3d,
        compute=partial(F.conv3d, padding=(0, 1, 1)),
        tolerance=BFLOAT16_TOLERANCE,
        advice=f"On macOS 26.2 update to 26.3 or later, or use torch 2.13. Otherwise: {UPDATE}",
    ),
    NumericsCheck(
        id="streaming-conv",
        operation="3x3x3 convolution over a stream, border reflected by copies, as this device runs it (VAE decode)",
        known_issue=f"conv2d: #180984, #192212; pads: {WIDE_PADS}",
        used=True,
        draw=_draw_streaming,
        compute=streaming_convolution,
        reference=decoder_convolution,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="streaming-conv-window",
        operation="the same as conv2d over overlapping views of many frames (VAE decode on the CPU)",
        known_issue="conv2d of strided views: #180984, #169342",
        used=False,
        draw=_draw_streaming,
        compute=partial(streaming_convolution, implementation="window"),
        reference=decoder_convolution,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UNUSED,
    ),
    NumericsCheck(
        id="streaming-conv-channels-last",
        operation="the same as conv3d on channels-last memory (VAE decode on CUDA)",
        known_issue="right even on macOS 26.2 by #197114",
        used=False,
        draw=_draw_streaming,
        compute=partial(streaming_convolution, implementation="channels_last"),
        reference=decoder_convolution,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UNUSED,
    ),
    NumericsCheck(
        id="reflection-pad3d",
        operation="torch's reflection padding of rank 5",
        known_issue=WIDE_PADS,
        used=False,
        draw=_draw_volume,
        compute=reflect,
        tolerance=EXACT,
        advice=UNUSED,
    ),
    NumericsCheck(
        id="constant-pad3d",
        operation="torch's padding by zeros of rank 5",
        known_issue=WIDE_PADS,
        used=False,
        draw=_draw_volume,
        compute=pad_with_zeros,
        tolerance=EXACT,
        advice=UNUSED,
    ),
    NumericsCheck(
        id="conv2d-1x1",
        operation="1x1 convolution with contiguous copies of frames and weight (VAE shortcut)",
        known_issue="strided weights #192212, channel slices #180984: copied for that reason",
        used=True,
        draw=lambda draw: (draw.normal(2, HEIGHT, WIDTH, 64), draw.normal(32, 64, 1, 1, 1)),
        compute=shortcut_convolution,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="conv2d-strided-weight",
        operation="conv2d with a strided weight",
        known_issue="#192212, up to torch 2.13",
        used=False,
        draw=_draw_picture,
        compute=strided_weight_convolution,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UNUSED,
    ),
    NumericsCheck(
        id="conv2d-channel-slice",
        operation="conv2d of a channel slice of channels-last memory",
        known_issue="#180984, #169342",
        used=False,
        draw=lambda draw: (draw.normal(2, HEIGHT, WIDTH, 64), draw.normal(32, 32, 3, 3)),
        compute=channel_slice_convolution,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UNUSED,
    ),
    NumericsCheck(
        id="depthwise-conv2d",
        operation="3x3 depthwise convolution on channels-last memory (Stage 1 feed-forward)",
        known_issue="no report for this path; grouped kernels of 256 and more #188335",
        used=True,
        draw=_draw_depthwise,
        compute=depthwise_convolution,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UPDATE,
    ),
)
