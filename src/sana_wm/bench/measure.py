"""Timing, peak memory, and what a measurement needs beside it: hardware, versions, command, date."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from sana_wm import __version__
from sana_wm.machine import name_chip
from sana_wm.runtime.device import describe_device, device_memory, empty_cache, reset_peak, synchronize


@dataclass(frozen=True)
class Measurement:
    """What repeated calls took.

    Attributes:
        seconds: Median.
        all_seconds: Of each timed call.
        peak_bytes: Highest live device memory over all calls, weights included; `None` where the device cannot say.
    """

    seconds: float
    all_seconds: tuple[float, ...]
    peak_bytes: int | None


def measure(call: Callable[[], object], device: torch.device, *, warmups: int = 1, repeats: int = 3) -> Measurement:
    """Call `warmups` times, then time `repeats` calls; the device is idle before and after each."""
    empty_cache(device)
    reset_peak(device)
    for _ in range(warmups):
        call()
    durations: list[float] = []
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter()
        call()
        synchronize(device)
        durations.append(time.perf_counter() - start)
    return Measurement(statistics.median(durations), tuple(durations), device_memory(device).peak_bytes)


def hardware(device: torch.device) -> str:
    """The name of what computes."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{name_chip() or platform.machine()}, {torch.get_num_threads()} threads, {device.type}"


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    names = ("torch", "diffusers", "transformers")
    return {"python": platform.python_version(), "sana_wm": __version__} | {
        name: importlib.metadata.version(name) for name in names
    }


def report(what: str, device: torch.device, content: dict[str, object]) -> dict[str, object]:
    """A benchmark's file: `content` with what identifies the measurement."""
    return {
        "what": what,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "hardware": hardware(device),
        "device_name": describe_device(device).name,
        "command": " ".join(["python -m sana_wm.bench", *sys.argv[1:]]),
        "versions": versions(),
        **content,
    }


def write_json(path: Path, content: dict[str, object]) -> None:
    """Write a report, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
