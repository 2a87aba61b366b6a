"""What the config beside a student's weights says: its network, and how it was taught to be sampled.

NVIDIA's repository has no config at all; conversions of others write one, in upstream's words. What a file does not say
is what NVIDIA's own script does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sana_wm.errors import WeightsError
from sana_wm.variants import CHUNK_FRAMES
from sana_wm.weights.component_config import in_words_of_the_class
from sana_wm.weights.layout import SAME_WEIGHTS


@dataclass(frozen=True)
class StreamingConfig:
    """A student.

    Attributes:
        network: For diffusers' `SanaWMTransformer3DModel`; may hold more than its arguments.
        chunk_frames: Latent frames that are made together.
        seen_chunks: How many chunks softmax attention sees; negative: all.
        sink: Whether the first chunk always is one of them.
        timesteps: Of the denoising steps, descending.
    """

    network: Mapping[str, Any]
    chunk_frames: int = CHUNK_FRAMES
    seen_chunks: int = 2
    sink: bool = True
    timesteps: tuple[int, ...] = (1000, 960, 889, 727)


def parse_streaming_config(config: Mapping[str, Any]) -> StreamingConfig:
    """Read a config.json, or the empty one that stands for NVIDIA's own file.

    Raises:
        WeightsError: A value of sampling is not one.
    """
    network = in_words_of_the_class(config, SAME_WEIGHTS)
    defaults = StreamingConfig({})
    steps = config.get("denoising_step_list", [*defaults.timesteps, 0])
    return StreamingConfig(
        network=network,
        chunk_frames=_positive(config, "chunk_size", defaults.chunk_frames),
        seen_chunks=_whole(config, "num_cached_blocks", defaults.seen_chunks),
        sink=bool(config.get("sink_token", defaults.sink)),
        timesteps=_timesteps(steps),
    )


def _timesteps(steps: Any) -> tuple[int, ...]:
    """The list without the 0 that it ends in."""
    whole = isinstance(steps, list) and all(type(step) is int for step in steps)
    if not whole or len(steps) < 2 or steps[-1] != 0 or sorted(set(steps), reverse=True) != steps or steps[0] > 1000:
        raise _wrong("denoising_step_list", steps, "descending whole timesteps from at most 1000 down to 0")
    return tuple(steps[:-1])


def _positive(config: Mapping[str, Any], name: str, default: int) -> int:
    value = _whole(config, name, default)
    if value < 1:
        raise _wrong(name, value, "at least 1")
    return value


def _whole(config: Mapping[str, Any], name: str, default: int) -> int:
    value = config.get(name, default)
    if type(value) is not int:
        raise _wrong(name, value, "a whole number")
    return value


def _wrong(name: str, got: object, expected: str) -> WeightsError:
    return WeightsError(
        f"the student's config has no usable {name}",
        got=got,
        expected=expected,
        next_step="Fetch config.json again, or remove the entry: NVIDIA's own value is used then.",
    )
