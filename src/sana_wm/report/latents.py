"""Statistics of latents on disk, per latent frame: what a look at them would tell. numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from sana_wm.errors import HandoffError

KEY = "latents"


@dataclass(frozen=True)
class FrameStatistics:
    """One latent frame, over channels, rows and columns.

    Attributes:
        mean: Mean.
        std: Standard deviation; near 1 in sound latents.
        low: Least value.
        high: Greatest value.
        change: Root mean square of the difference to the frame before; `None` for the first.
        not_finite: How many values are NaN or infinite; the others are over the finite ones.
    """

    mean: float
    std: float
    low: float
    high: float
    change: float | None
    not_finite: int


@dataclass(frozen=True)
class LatentStatistics:
    """Of one file.

    Attributes:
        shape: (1, C, F, h, w).
        dtype: As stored.
        frames: F of them.
    """

    shape: tuple[int, ...]
    dtype: str
    frames: tuple[FrameStatistics, ...]

    def outside(self, low: float, high: float) -> list[int]:
        """Frames that are not finite or whose standard deviation is out of limits."""
        return [index for index, frame in enumerate(self.frames) if frame.not_finite or not low <= frame.std <= high]


def measure_latents(path: Path) -> LatentStatistics:
    """Read the tensor `latents` of a safetensors file and measure every frame.

    Raises:
        HandoffError: The file is missing, damaged, or holds no latents.
    """
    try:
        entries = dict(deserialize(path.read_bytes()))
    except (OSError, SafetensorError) as error:
        raise HandoffError(f"{path} cannot be read", got=str(error), expected="a whole safetensors file") from error
    entry = entries.get(KEY)
    if entry is None or len(entry["shape"]) != 5 or entry["dtype"] not in _READERS:
        got = f"{entry['dtype']} {entry['shape']}" if entry else f"tensors {', '.join(sorted(entries)) or 'none'}"
        raise HandoffError(f"{path} holds no latents", got=got, expected=f"{KEY}: (1, C, F, h, w), F32, F16 or BF16")
    latents = _READERS[entry["dtype"]](entry["data"]).reshape(entry["shape"])[0]
    frames = np.moveaxis(latents, 1, 0).reshape(latents.shape[1], -1)
    before: list[NDArray[np.float32] | None] = [None, *frames[:-1]]
    measured = tuple(_measure(frame, last) for frame, last in zip(frames, before, strict=True))
    return LatentStatistics(tuple(entry["shape"]), entry["dtype"], measured)


def _read_bfloat16(data: bytes) -> NDArray[np.float32]:
    """bfloat16 is the upper half of a float32, and unknown to numpy."""
    return (np.frombuffer(data, dtype="<u2").astype("<u4") << 16).view("<f4")


def _read_float32(data: bytes) -> NDArray[np.float32]:
    return np.frombuffer(data, dtype="<f4")


def _read_float16(data: bytes) -> NDArray[np.float32]:
    return np.frombuffer(data, dtype="<f2").astype(np.float32)


_READERS = {"F32": _read_float32, "F16": _read_float16, "BF16": _read_bfloat16}


def _measure(frame: NDArray[np.float32], before: NDArray[np.float32] | None) -> FrameStatistics:
    finite = frame[np.isfinite(frame)].astype(np.float64)
    values = finite if len(finite) else np.zeros(1)
    change = None
    if before is not None:
        difference = frame.astype(np.float64) - before
        change = float(np.sqrt(np.mean(np.square(difference[np.isfinite(difference)], dtype=np.float64))))
    return FrameStatistics(
        mean=float(values.mean()),
        std=float(values.std()),
        low=float(values.min()),
        high=float(values.max()),
        change=change,
        not_finite=len(frame) - len(finite),
    )
