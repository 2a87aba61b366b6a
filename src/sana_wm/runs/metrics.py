"""`metrics.json`: times and memory of a whole run, read off its receipts."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from typing import Any

from sana_wm import __version__
from sana_wm.errors import HandoffError
from sana_wm.machine import name_chip
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import STAGES, Stage
from sana_wm.runs.receipts import Receipt, read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.sealed import read_sealed, write_sealed
from sana_wm.system import describe_system


def write_metrics(run: RunDirectory, manifest: RunManifest, stages: list[Stage], seconds: float) -> None:
    """Write `metrics.json` of a finished run.

    Args:
        run: The run directory, every receipt in place.
        manifest: What ran.
        stages: The stages that ran now.
        seconds: What the run took, all its starts together.
    """
    metrics = {
        "name": manifest.name,
        "package_version": __version__,
        "machine": {"system": describe_system(), "processor": name_processor()},
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "stages_run": stages,
        "memory_cap_gib": manifest.memory.cap_gib,
        "stages": _rows(run),
    }
    write_sealed(run.metrics_file, json.dumps(metrics, indent=2))


def name_processor() -> str:
    """This machine's processor, as `metrics.json` names it."""
    return name_chip() or platform.machine()


def metrics_findings(run: RunDirectory) -> list[str]:
    """What is wrong with `metrics.json`: absent, damaged, or not what the receipts say."""
    name = run.metrics_file.name
    if not run.metrics_file.is_file():
        return [f"{name} is missing"]
    try:
        metrics = json.loads(read_sealed(run.metrics_file, next_step="Write it again: sana-wm resume RUN_DIR"))
        expected = json.loads(json.dumps(_rows(run)))
    except HandoffError as error:
        return [str(error)]
    except (ValueError, RecursionError) as error:
        return [f"{name} is no JSON ({error})"]
    if not isinstance(metrics, dict) or metrics.get("stages") != expected:
        return [f"{name} does not say what the receipts say: it is of another run, or of an earlier state of this one"]
    return []


def _rows(run: RunDirectory) -> list[dict[str, Any]]:
    return [_figures(receipt) for stage in STAGES if (receipt := read_receipt(run, stage)) is not None]


def _figures(receipt: Receipt) -> dict[str, Any]:
    """One line of the table: a stage, its peaks, and what was there after it was unloaded."""
    process = receipt.process
    peaks = [phase.peak_device_bytes for phase in receipt.phases]
    if process is not None:
        peaks.append(process.peak_device_bytes)
    left = [phase.after_release_bytes for phase in receipt.phases]
    return {
        "stage": receipt.stage,
        "seconds": receipt.seconds,
        "device": receipt.device,
        "dtype": receipt.dtype,
        "peak_process_bytes": process and process.peak_process_bytes,
        "after_unload_process_bytes": process and process.after_exit_bytes,
        "peak_device_bytes": max((peak for peak in peaks if peak is not None), default=None),
        "after_unload_device_bytes": max((rest for rest in left if rest is not None), default=None),
        "system_available_bytes_before_and_after": process and process.system_available_bytes,
        "cards_used_bytes_before_and_after": process and process.cards_used_bytes,
        "phases": [phase.model_dump() for phase in receipt.phases],
        "plan": receipt.plan,
    }
