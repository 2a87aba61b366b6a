"""Memory of the chunk loop is the same for three seconds and for three minutes: measured, each length in a process.

`make test-long` writes reports/streaming-memory.json. What is given for the whole clip, its camera and latents, does
grow; it is there before the loop begins and is not counted.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

LENGTHS = (49, 313, 961, 2881)
PLANE = (8, 12)
REPORT = Path(__file__).resolve().parents[3] / "reports" / "streaming-memory.json"
#: What an allocator may keep besides, of 12 MiB that a chunk takes at this size.
SLACK_BYTES = 4 * 1024**2


def measure(num_frames: int) -> dict[str, int]:
    """Chunks, and bytes that the loop adds to the process at most."""
    import resource

    import psutil
    import torch
    from tests.models.streaming.test_stream import SMALL

    from sana_wm.bench.random_stage1 import build_inputs, build_transformer
    from sana_wm.models.streaming.engine import StreamingEngine
    from sana_wm.models.streaming.noise import draw_chunk
    from sana_wm.models.streaming.sampler import sample_chunks

    transformer = build_transformer(SMALL, torch.device("cpu"), torch.float32)
    inputs = build_inputs(transformer, ((num_frames - 1) // 8 + 1, *PLANE))
    engine = StreamingEngine(transformer)
    conditioning = engine.prepare(inputs.prompt_embeds[1:], inputs.prompt_attention_mask[1:], inputs.camera)
    shape = tuple(inputs.latents.shape)
    before_bytes = psutil.Process().memory_info().rss
    chunks = sample_chunks(
        engine,
        conditioning,
        inputs.latents[:, :, :1],
        lambda chunk, frames: draw_chunk("chunk", 42, shape, chunk, frames),
    )
    most_bytes = before_bytes
    for _ in chunks:
        most_bytes = max(most_bytes, psutil.Process().memory_info().rss)
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "num_frames": num_frames,
        "chunks": len(conditioning.ranges),
        "added_between_chunks_bytes": most_bytes - before_bytes,
        "added_at_peak_bytes": peak_bytes - before_bytes,
    }


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is Linux's")
def test_memory_is_the_same_whatever_the_length() -> None:
    command = [sys.executable, "-m", "tests.models.streaming.test_flat_memory"]
    rows = [
        json.loads(subprocess.run([*command, str(length)], check=True, capture_output=True, text=True).stdout)
        for length in LENGTHS
    ]
    report = {
        "what": "memory that the chunk loop adds to the process, tiny network, CPU, float32; plane 8x12",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "pytest -m long tests/models/streaming/test_flat_memory.py",
        "machine": platform.platform(),
        "seed": 42,
        "rows": rows,
    }
    REPORT.write_text(json.dumps(report, indent=1) + "\n")
    for row in rows[1:]:
        for name in ("added_between_chunks_bytes", "added_at_peak_bytes"):
            assert row[name] <= rows[0][name] + SLACK_BYTES, rows


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
