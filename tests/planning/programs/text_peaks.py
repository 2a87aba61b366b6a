"""The refiner's text phases at full size on the CPU in float32, weights all zero: `text_peaks.py FOLDER` prints peaks.

JSON: bytes that the process holds at most beyond what it held before, by phase. Five minutes on two cores, 8 GiB.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import torch

from sana_wm.launcher.probes.process import process_bytes
from sana_wm.models.loading import load_connectors, load_tokenizer
from sana_wm.models.refiner.loading import stream_gemma3
from sana_wm.models.refiner.text import connect, encode_levels, tokenize_prompt
from sana_wm.weights.empty_checkpoint import write_empty_checkpoint


class Peak:
    """The most that this process held since the last reset, looked at a hundred times a second."""

    def __init__(self) -> None:
        self.most_bytes = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.most_bytes = max(self.most_bytes, process_bytes(os.getpid()) or 0)
            time.sleep(0.01)

    def take(self) -> int:
        """The peak, and a new beginning."""
        most_bytes, self.most_bytes = self.most_bytes, 0
        return most_bytes


device, dtype = torch.device("cpu"), torch.float32
layout = write_empty_checkpoint(Path(sys.argv[1]))
input_ids, mask = tokenize_prompt(load_tokenizer(layout.refiner_tokenizer), "A road runs to the horizon.")
before = process_bytes(os.getpid()) or 0
peak = Peak()
with torch.inference_mode():
    with stream_gemma3(layout.refiner_text_encoder, device=device, dtype=dtype) as text_encoder:
        packed = encode_levels(text_encoder, input_ids, mask, device)
    text_bytes = peak.take() - before
    connect(load_connectors(layout, device, dtype), packed, mask)
sys.stdout.write(json.dumps({"text_encoder": text_bytes, "connectors": peak.take() - before}) + "\n")
