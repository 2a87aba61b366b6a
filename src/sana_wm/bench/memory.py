"""Whole runs of the released model without its numbers: the forecast of every phase against its measured peak.

Real stages as processes under the real governor, at full size; no weights are needed. A run took one to four minutes on
an H100, most of them in the refiner; a CPU would take days.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from sana_wm.bench.measure import report
from sana_wm.drafting.demo import draw_scene
from sana_wm.errors import ModuleEndedError
from sana_wm.manifest.loading import load_manifest
from sana_wm.manifest.model import Manifest
from sana_wm.modules import run_module
from sana_wm.names import STAGES, Variant
from sana_wm.planning.device import Device
from sana_wm.planning.forecast import RunForecaster
from sana_wm.planning.phase import PhaseForecast
from sana_wm.planning.shares import FORECAST_ERROR
from sana_wm.report.timeline import phase_spans
from sana_wm.runs.events import read_events, read_memory_log
from sana_wm.runs.receipts import Receipt, read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runtime.device import describe_device, select_device
from sana_wm.sizes import GIB
from sana_wm.variants import MODELS
from sana_wm.weights.empty_checkpoint import write_empty_checkpoint
from sana_wm.weights.manifest_layout import locate_weights

#: A forecast may be too high by a tenth.
HIGHEST_SHARE, LOWEST_SHARE = 1.10, 1 - FORECAST_ERROR
#: Grey pictures are what is to be expected here.
NO_SANITY = {"latent_std_min": 0.0, "broken_frames": "warn"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--variant", choices=tuple(MODELS), default="bidirectional", help="which released model")
    parser.add_argument("--frames", type=int, nargs="+", help="video lengths; the one next to 321 when left out")
    parser.add_argument("--cap-gib", type=float, nargs="+", default=[96.0], help="memory caps; a run for each length")
    parser.add_argument(
        "--steps",
        type=int,
        default=2,
        help="Stage 1 steps, where the model has a choice; the peak is that of the first",
    )
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side, where the device has room for them")
    parser.add_argument(
        "--folder", type=Path, help="for weights and runs; what is done there is not run again; temporary when left out"
    )


def run(args: argparse.Namespace) -> dict[str, object]:
    """Run the benchmark and return its report."""
    device = select_device(args.device)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)).resolve()
        write_empty_checkpoint(folder / "model", variant=args.variant)
        described = describe_device(device)
        trials = [
            Trial(write_manifest(folder, frames, cap_gib, args.steps, args.device, args.variant), described)
            for frames, cap_gib in product(args.frames or MODELS[args.variant].num_frames_near(321)[:1], args.cap_gib)
        ]
        with ThreadPoolExecutor(args.at_once) as threads:
            results = list(threads.map(measure_trial, trials))
    parts = ("phases", "stages", "failures")
    phases, stages, failures = ([row for result in results for row in result[part]] for part in parts)
    return report("memory", device, {"rows": phases, "stages": stages, "failures": failures})


@dataclass(frozen=True)
class Trial:
    """A manifest to run, and where."""

    manifest_file: Path
    device: Device


def write_manifest(
    folder: Path, num_frames: int, cap_gib: float, steps: int, device: str, variant: Variant = "bidirectional"
) -> Path:
    """A manifest for the model in `folder/model`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{num_frames}-frames-{cap_gib:g}-gib"
    manifest = {
        "version": 1,
        "name": name,
        "model": {"layout": "diffusers", "root": "model", "variant": variant},
        **draw_scene(folder, f"w-{num_frames - 1}"),
        "video": {"num_frames": num_frames, "preset": "ultrafast"},
        "stage1": {"num_inference_steps": MODELS[variant].taught.get("stage1.num_inference_steps", steps)},
        "preview": {"enabled": False},  # the video's decode is the same
        "memory": {"cap_gib": float(cap_gib)},
        "sanity": NO_SANITY,
        "device": device,
        "output_dir": name,
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return path


def measure_trial(trial: Trial) -> dict[str, list[dict[str, Any]]]:
    """Run a manifest, and hold every phase of the stages that ended well against its forecast.

    Returns:
        A row for each of these phases, one for each stage, and one for the run if it failed: a cap may be too low.
    """
    manifest = load_manifest(trial.manifest_file, {})
    failures: list[dict[str, Any]] = []
    try:
        run_module("sana_wm", ["run-pipeline", str(trial.manifest_file), "--json"], quiet=True)
    except ModuleEndedError as error:  # it has said why
        failures.append(_setting(manifest) | {"exit_code": error.exit_code})
    forecaster = RunForecaster(manifest, locate_weights(manifest), trial.device)
    planners = forecaster.planners()
    run = RunDirectory(Path(manifest.output_dir))
    phases: list[dict[str, Any]] = []
    stages: list[dict[str, Any]] = []
    for stage in STAGES:
        receipt = read_receipt(run, stage)
        if receipt is None:
            continue
        stages.append(_setting(manifest) | {"stage": stage, **_process_figures(receipt)})
        for phase, measured_bytes in measured_peaks(run, receipt, trial.device).items():
            forecast = planners[stage, phase](forecaster.budget_bytes)
            row = _row(manifest, forecaster, forecast, measured_bytes)
            sys.stderr.write(_as_text(row) + "\n")
            phases.append(row)
    return {"phases": phases, "stages": stages, "failures": failures}


def measured_peaks(run: RunDirectory, receipt: Receipt, device: Device) -> dict[str, int | None]:
    """The peak of every phase of a stage, in bytes, as the cap is held against it.

    Beside a CUDA card the allocator's own peak. Where memory is shared, the most that the governor saw of the process,
    about once a second: it can miss a short peak. `None` where it saw none.
    """
    if not device.is_unified:
        return {phase.name: phase.peak_device_bytes for phase in receipt.phases}
    readings = read_memory_log(run.memory_file)
    return {
        span.phase: max(
            (
                one.process_bytes
                for one in readings
                if one.process_bytes is not None and span.begin_s <= one.time_s <= span.end_s
            ),
            default=None,
        )
        for span in phase_spans(receipt.stage, read_events(run.events_file(receipt.stage)))
    }


def _setting(manifest: Manifest) -> dict[str, Any]:
    return {"engine": "sana_wm", "cap_gib": manifest.memory.cap_gib, "num_frames": manifest.video.num_frames}


def _process_figures(receipt: Receipt) -> dict[str, Any]:
    process = receipt.process
    left = [phase.after_release_bytes for phase in receipt.phases if phase.after_release_bytes is not None]
    return {
        "seconds": receipt.seconds,
        "peak_process_bytes": process and process.peak_process_bytes,
        "peak_reserved_bytes": process and process.peak_device_bytes,
        "most_left_by_a_phase_bytes": max(left, default=None),
        "cards_used_bytes_before_and_after": process and process.cards_used_bytes,
    }


def _row(
    manifest: Manifest, forecaster: RunForecaster, forecast: PhaseForecast, measured_bytes: int | None
) -> dict[str, Any]:
    predicted_bytes = forecaster.used_bytes(forecast)
    share = predicted_bytes / measured_bytes if measured_bytes else None
    return {
        **_setting(manifest),
        "stage": forecast.stage,
        "phase": forecast.phase,
        "mode": forecast.mode,
        "predicted_bytes": predicted_bytes,
        "measured_bytes": measured_bytes,
        "predicted_over_measured": share and round(share, 4),
        "within_bar": None if share is None else LOWEST_SHARE <= share <= HIGHEST_SHARE,
    }


def _as_text(row: dict[str, Any]) -> str:
    measured = row["measured_bytes"]
    said = "not measured" if measured is None else f"{measured / GIB:6.2f} GiB, x {row['predicted_over_measured']:.3f}"
    where = f"{row['num_frames']} frames, cap {row['cap_gib']:g}: {row['stage']} {row['phase']}"
    return f"{where}: predicted {row['predicted_bytes'] / GIB:6.2f}, measured {said} ({row['mode']})"
