"""The decoder's layers over a stream: frames go in as they come, frames come out as they become final.

Every tensor here is (frames, channels, height, width). Of all the decoder's operations only the 3x3x3 convolutions look
at neighbouring frames; everything else is pointwise in time. So only they keep state: the last two frames of their
input, from before the normalization, because the residual branches wait for the very same frames. A non-causal
convolution answers one frame late, until it is told that the stream has ended.

Source: `LTX2VideoDecoder3d` in diffusers' models/autoencoders/autoencoder_kl_ltx2.py, whose modules hold the weights.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from sana_wm.errors import WeightsError
from sana_wm.planning.decode import TAPS, Implementation

# For each padding mode, the rows of the padded picture that its first and its last row repeat.
BORDER_SOURCES = {"reflect": (2, -3), "replicate": (1, -2), "circular": (-2, 1)}


class StreamingConv:
    """A temporal convolution over a stream, with the normalization and SiLU that come before it.

    A window of frames is computed in one of three ways. All of them add the 27 products of a channel up inside one
    kernel, which three convolutions summed would not (in bf16 that costs 10 % more error):

    frame: one Conv2d for each output frame; three consecutive frames are one picture of 3C channels, without a copy.
    window: one Conv2d over overlapping views of the same kind, for all output frames.
    channels_last: one Conv3d on channels-last memory, for devices whose Conv3d is fast and right (CUDA).

    Args:
        module: diffusers' `LTX2VideoCausalConv3d`. Its weight's memory is rearranged in place, one module at a time;
            the module itself stays usable.
        causal: Whether a frame sees the two before it, or one to each side.
        implementation: One of the three above.
        norm_eps: Epsilon of the RMS normalization over channels; `None` without normalization and SiLU.

    Raises:
        WeightsError: A convolution of another shape than the decoder's 3x3x3.
    """

    def __init__(
        self, module: Any, *, causal: bool, implementation: Implementation, norm_eps: float | None = None
    ) -> None:
        conv: torch.nn.Conv3d = module.conv
        plain = conv.stride == conv.dilation == (1, 1, 1) and conv.groups == 1
        if conv.kernel_size != (TAPS, TAPS, TAPS) or not plain:
            raise WeightsError("a decoder convolution cannot be streamed", got=str(conv), expected="a plain 3x3x3 one")
        self.implementation = implementation
        self.norm_eps = norm_eps
        self.lead, self.trail = (TAPS - 1, 0) if causal else (TAPS // 2, TAPS // 2)
        self.border = BORDER_SOURCES.get(conv.padding_mode)
        self.padding = 0 if self.border else TAPS // 2
        self.weight = _rearrange(conv, implementation)
        self.bias = conv.bias
        self.tail: torch.Tensor | None = None

    @property
    def tails(self) -> tuple[torch.Tensor | None, ...]:
        """The state between two pieces."""
        return (self.tail,)

    def reset(self) -> None:
        """Start a new stream."""
        self.tail = None

    def push(self, frames: torch.Tensor, last: bool) -> torch.Tensor | None:
        """Take the next frames of the input; give the output frames that are now final, `None` while there are none.

        Args:
            frames: (n, C, H, W), n >= 1.
            last: The stream ends with these frames.
        """
        window = self._window(frames, last)
        self.tail = None if last else self._keep(frames)
        return self._convolve(window) if len(window) >= TAPS else None

    def _keep(self, frames: torch.Tensor) -> torch.Tensor:
        """The last two frames so far; a stream of one frame repeats it, as its start does."""
        if len(frames) >= TAPS - 1:
            return frames[1 - TAPS :].clone()
        before = frames if self.tail is None else self.tail[-1:]
        return torch.cat([before, frames])

    def _window(self, frames: torch.Tensor, last: bool) -> torch.Tensor:
        """The frames that the convolution sees: what it kept, the new ones, the repeated ends of the stream; padded."""
        count, channels, height, width = frames.shape
        lead = self.lead if self.tail is None else len(self.tail)
        trail = self.trail if last else 0
        margin = 1 if self.border else 0
        window = torch.empty(
            (lead + count + trail, channels, height + 2 * margin, width + 2 * margin),
            dtype=frames.dtype,
            device=frames.device,
            memory_format=torch.channels_last if self.implementation == "channels_last" else torch.contiguous_format,
        )
        picture = window[:, :, margin : margin + height, margin : margin + width]
        self._activate(frames, picture[lead : lead + count])
        if self.tail is None:
            picture[:lead].copy_(picture[lead : lead + 1].expand(lead, -1, -1, -1))
        else:
            self._activate(self.tail, picture[:lead])
        if trail:
            picture[-1:].copy_(picture[-2:-1])
        if self.border:
            _fill_border(window, *self.border)
        return window

    def _activate(self, frames: torch.Tensor, out: torch.Tensor) -> None:
        """Write SiLU(RMS norm over channels) of the frames, or the frames themselves, into `out`."""
        if self.norm_eps is None:
            out.copy_(frames)
        elif self.implementation == "channels_last":
            # One kernel each for the norm and for the SiLU, which writes where the convolution reads.
            rows = frames.permute(0, 2, 3, 1)
            normed = F.rms_norm(rows, rows.shape[-1:], eps=self.norm_eps)
            torch.ops.aten.silu.out(normed, out=out.permute(0, 2, 3, 1))
        else:
            # Contiguous first, then a copy: MPS has a record of wrong results for kernels that write strided memory.
            rms = frames.square().mean(1, keepdim=True).add_(self.norm_eps).sqrt_()
            out.copy_(F.silu(frames / rms, inplace=True))

    def _convolve(self, window: torch.Tensor) -> torch.Tensor:
        count, channels, height, width = len(window) - TAPS + 1, *window.shape[1:]
        if self.implementation == "channels_last":
            volume = window.transpose(0, 1)[None]
            out = F.conv3d(volume, self.weight, self.bias, padding=(0, self.padding, self.padding))
            return out[0].transpose(0, 1)
        if self.implementation == "window" or count == 1:
            plane = height * width
            shape, stride = (count, TAPS * channels, height, width), (channels * plane, plane, width, 1)
            return F.conv2d(window.as_strided(shape, stride), self.weight, self.bias, padding=self.padding)
        shrink = TAPS - 1 - 2 * self.padding
        out = window.new_empty((count, len(self.weight), height - shrink, width - shrink))
        for index in range(count):
            view = window[index : index + TAPS].view(1, TAPS * channels, height, width)
            out[index : index + 1].copy_(F.conv2d(view, self.weight, self.bias, padding=self.padding))
        return out


class StreamingResnet:
    """A residual block over a stream: two convolutions, and the frames that wait for them to be added.

    Args:
        block: diffusers' `LTX2VideoResnetBlock3d`.
        causal: As in `StreamingConv`.
        implementation: As in `StreamingConv`.
    """

    def __init__(self, block: Any, *, causal: bool, implementation: Implementation) -> None:
        self.first = StreamingConv(block.conv1, causal=causal, implementation=implementation, norm_eps=block.norm1.eps)
        self.second = StreamingConv(block.conv2, causal=causal, implementation=implementation, norm_eps=block.norm2.eps)
        self.norm, self.shortcut = block.norm3, block.conv_shortcut
        self.waiting = WaitingFrames()

    @property
    def tails(self) -> tuple[torch.Tensor | None, ...]:
        """The state between two pieces."""
        return (self.first.tail, self.second.tail)

    def reset(self) -> None:
        """Start a new stream."""
        self.first.reset()
        self.second.reset()
        self.waiting = WaitingFrames()

    def push(self, frames: torch.Tensor, last: bool) -> torch.Tensor | None:
        """As `StreamingConv.push`."""
        self.waiting.add(self.first.tail, frames)
        hidden = self.first.push(frames, last)
        out = None if hidden is None else self.second.push(hidden, last)
        residuals = self.waiting.take(0 if out is None else len(out))
        if out is None:
            return None
        start = 0
        for residual in residuals:
            out[start : start + len(residual)].add_(self._project(residual))
            start += len(residual)
        return out

    def _project(self, frames: torch.Tensor) -> torch.Tensor:
        if self.norm is not None:
            frames = self.norm(frames.movedim(1, -1)).movedim(-1, 1)
        if self.shortcut is not None:
            frames = F.conv2d(frames.contiguous(), self.shortcut.weight[:, :, 0].contiguous(), self.shortcut.bias)
        return frames


class StreamingUpsampler:
    """Convolution and depth to space and time over a stream; the first frames of the stream are dropped.

    Args:
        upsampler: diffusers' `LTX2VideoUpsampler3d`.
        causal: As in `StreamingConv`.
        implementation: As in `StreamingConv`.
    """

    def __init__(self, upsampler: Any, *, causal: bool, implementation: Implementation) -> None:
        self.conv = StreamingConv(upsampler.conv, causal=causal, implementation=implementation)
        self.stride: tuple[int, int, int] = upsampler.stride
        self.residual: bool = upsampler.residual
        self.waiting = WaitingFrames()
        self.started = False

    @property
    def tails(self) -> tuple[torch.Tensor | None, ...]:
        """The state between two pieces."""
        return (self.conv.tail,)

    def reset(self) -> None:
        """Start a new stream."""
        self.conv.reset()
        self.waiting = WaitingFrames()
        self.started = False

    def push(self, frames: torch.Tensor, last: bool) -> torch.Tensor | None:
        """As `StreamingConv.push`, with `stride[0]` times as many frames."""
        self.waiting.add(self.conv.tail, frames)
        hidden = self.conv.push(frames, last)
        residuals = self.waiting.take(0 if hidden is None else len(hidden))
        if hidden is None:
            return None
        out = _depth_to_space(hidden, self.stride)
        if self.residual:
            start = 0
            for residual in residuals:
                small = _depth_to_space(residual, self.stride)
                part = out[start : start + len(small)]
                part.unflatten(1, (-1, small.shape[1])).add_(small[:, None])
                start += len(small)
        dropped = 0 if self.started else self.stride[0] - 1
        self.started = not last
        return out[dropped:]


class WaitingFrames:
    """Input frames that wait for their output; never more than the convolution keeps anyway, so nothing is stored."""

    def __init__(self) -> None:
        self.count = 0
        self.parts: list[torch.Tensor] = []

    def add(self, kept: torch.Tensor | None, frames: torch.Tensor) -> None:
        """Say what the convolution kept of earlier frames, and the frames that it is about to take."""
        self.parts = [frames] if kept is None or not self.count else [kept[-self.count :], frames]
        self.count += len(frames)

    def take(self, count: int) -> list[torch.Tensor]:
        """The oldest `count` frames, in at most two parts."""
        taken: list[torch.Tensor] = []
        for part in self.parts:
            rest = count - sum(map(len, taken))
            if rest > 0:
                taken.append(part[:rest])
        self.parts = []
        self.count -= count
        return taken


def _rearrange(conv: torch.nn.Conv3d, implementation: Implementation) -> torch.Tensor:
    """The weight as the implementation wants it; the module keeps a view of the same memory, not a second copy."""
    weight = conv.weight.data
    if implementation == "channels_last":
        conv.weight.data = weight.contiguous(memory_format=torch.channels_last_3d)
        return conv.weight.data
    by_frame = weight.transpose(1, 2).contiguous()
    conv.weight.data = by_frame.transpose(1, 2)
    return by_frame.flatten(1, 2)


def _fill_border(window: torch.Tensor, first: int, last: int) -> None:
    """Pad the outermost rows and columns by copies: F.pad is wrong or leaks on MPS (docs/mps.md)."""
    picture = window[:, :, 1:-1]
    picture[..., 0].copy_(picture[..., first])
    picture[..., -1].copy_(picture[..., last])
    window[:, :, 0].copy_(window[:, :, first])
    window[:, :, -1].copy_(window[:, :, last])


def _depth_to_space(frames: torch.Tensor, stride: tuple[int, int, int]) -> torch.Tensor:
    """(n, C·st·sh·sw, H, W) -> (n·st, C, H·sh, W·sw), in the memory order of the input."""
    count, _, height, width = frames.shape
    st, sh, sw = stride
    blocks = frames.unflatten(1, (-1, st, sh, sw))
    if frames.is_contiguous():
        return blocks.permute(0, 2, 1, 5, 3, 6, 4).reshape(count * st, -1, height * sh, width * sw)
    rows = blocks.permute(0, 2, 5, 3, 6, 4, 1).reshape(count * st, height * sh, width * sw, -1)
    return rows.permute(0, 3, 1, 2)
