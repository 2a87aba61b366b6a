"""Stage 1 of the student: all chunks, each cut so that it fits the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sana_wm.planning.forecasts.stage1 import cut_to_fit
from sana_wm.planning.kernels import kernel_rules
from sana_wm.planning.phase import PlannedRun, Planner
from sana_wm.planning.stage1 import Stage1Plan
from sana_wm.planning.streaming import Window, chunk_ranges, chunk_shape, stream_tflop
from sana_wm.weights.component_config import read_config
from sana_wm.weights.streaming_config import StreamingConfig, parse_streaming_config


def plan_transformer(run: PlannedRun) -> Planner:
    """All chunks of our streaming engine."""
    component = run.layout.transformer
    config = parse_streaming_config(read_config(component))
    sizes, weights = run.network(component)
    ranges = chunk_ranges(run.manifest.latent_num_frames, config.chunk_frames)
    window = Window(config.seen_chunks, config.sink)
    shape = chunk_shape(
        sizes,
        ranges,
        run.grid[1:],
        window,
        element_bytes=run.element_bytes,
        attention_element_bytes=run.element_bytes,
        rules=kernel_rules(run.device.kind, run.device.torch_version),
    )
    tflop = stream_tflop(sizes, ranges, run.grid[1:], window, len(config.timesteps) + 1)
    passes = f"{len(ranges)} chunks, {len(config.timesteps)} steps each"
    return cut_to_fit(run, shape, weights, tflop, lambda chosen: (passes, describe_plan(chosen, config, ranges)))


def describe_plan(chosen: Stage1Plan, config: StreamingConfig, ranges: Sequence[range]) -> Mapping[str, Any]:
    """For the receipt: how passes are cut, and what the files say of sampling."""
    return {
        **chosen.as_json(),
        "chunks": len(ranges),
        "chunk_latent_frames": config.chunk_frames,
        "timesteps": list(config.timesteps),
        "seen_chunks": config.seen_chunks,
        "sink": config.sink,
    }
