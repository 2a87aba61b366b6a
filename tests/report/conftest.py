"""A finished run of full-size figures, made without running anything; its files are small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from sana_wm.durable import sha256_of
from sana_wm.manifest.loading import parse_manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import Stage
from sana_wm.report.demo import Demo, write_demo_page
from sana_wm.report.facts import gather_run_facts
from sana_wm.runs.receipts import (
    PhaseRecord,
    ProcessRecord,
    Receipt,
    describe_outputs,
    stage_settings,
    write_receipt,
)
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.video.contact_sheet import ContactSheet
from sana_wm.video.encoder import VideoEncoder

GIB = 1024**3
START_S = 1_795_597_000.0
NASTY = 'A road </script><script>alert(1)</script> <img src=x onerror=alert(2)> & "quotes" $x^2$ {{ 7*7 }} ]]>'
#: Stage, phase, seconds, GiB of the process and of the device.
PHASES: tuple[tuple[Stage, str, float, float, float], ...] = (
    ("stage1", "text_encoder", 60.0, 7.0, 5.5),
    ("stage1", "vae_encoder", 20.0, 3.0, 1.9),
    ("stage1", "transformer", 3000.0, 14.0, 11.0),
    ("refiner", "text_encoder", 200.0, 31.0, 26.0),
    ("refiner", "connectors", 15.0, 5.0, 3.1),
    ("refiner", "transformer", 900.0, 44.0, 40.0),
    ("vae_decode", "vae_decoder", 310.0, 12.0, 9.0),
)


def fill(run: RunDirectory, manifest: RunManifest) -> None:
    """Leave everything that a finished run leaves, with a night between two starts of the refiner."""
    run.write_manifest(manifest)
    events: dict[Stage, list[dict[str, Any]]] = {}
    memory: list[dict[str, Any]] = []
    now_s = START_S
    for stage, phase, seconds, process_gib, device_gib in PHASES:
        if stage not in events:
            events[stage] = [{"time_s": now_s + 8, "event": "stage_start"}]
            now_s += 10
        if phase == "connectors":  # the second start: it writes its events anew, and keeps the text
            now_s += 9 * 3600
            events[stage] = [{"time_s": now_s - 2, "event": "stage_start"}]
        events[stage].append({"time_s": now_s, "event": "phase_start", "phase": phase})
        for look in np.arange(0.0, seconds, 5.0):
            ramp = min(1.0, 0.2 + look / 40)
            memory.append(
                {
                    "time_s": now_s + look,
                    "stage": stage,
                    "process_bytes": int(ramp * process_gib * GIB),
                    "device_bytes": int(ramp * device_gib * GIB) if look else None,
                    "available_bytes": 80 * GIB,
                    "swap_growth_bytes": 0,
                }
            )
        now_s += seconds
        events[stage].append({"time_s": now_s, "event": "phase_end", "name": phase, "seconds": seconds})
    for stage, rows in events.items():
        rows.append({"time_s": rows[-1]["time_s"] + 2, "event": "done"})
        write_lines(run.events_file(stage), rows)
    write_lines(run.memory_file, memory)
    _write_results(run, manifest)
    _write_receipts(run, manifest)
    covered = sum(rows[-1]["time_s"] - rows[0]["time_s"] for rows in events.values())
    metrics = {
        "seconds": covered + 30.0,
        "finished_at": "2030-01-01T00:00:00+00:00",
        "stages_run": list(events),
        "machine": {"system": "macOS-15.3", "processor": "Apple M9 <Max>"},
    }
    run.metrics_file.write_text(json.dumps(metrics))


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write_results(run: RunDirectory, manifest: RunManifest) -> None:
    numbers = np.random.default_rng(0)
    run.stage1_file.parent.mkdir(exist_ok=True)
    save_file({"prompt_embeds": np.zeros(3, np.float32)}, run.conditioning_file)
    save_file({"prompt_embeds": np.zeros(3, np.float32)}, run.refiner_text_file)
    for path, scale in ((run.stage1_file, 1.0), (run.refined_file, 0.9)):
        save_file({"latents": scale * numbers.standard_normal((1, 128, 8, 3, 5), dtype=np.float32)}, path)
    video = manifest.video
    rows, columns = np.mgrid[: video.height, : video.width]
    sheet = ContactSheet(num_frames=24, fps=video.fps)
    with VideoEncoder(run.video_file, width=video.width, height=video.height, fps=video.fps) as encoder:
        for index in range(24):
            frame = np.stack([rows * 2, columns + 4 * index, 128 + 0 * rows], axis=-1).astype(np.uint8)[None]
            encoder.put(frame)
            sheet.put(frame)
    sheet.write(run.contact_sheet_file)


def _write_receipts(run: RunDirectory, manifest: RunManifest) -> None:
    work: dict[Stage, tuple[tuple[Path, ...], tuple[Path, ...]]] = {
        "stage1": ((), (run.conditioning_file, run.stage1_file)),
        "refiner": ((run.stage1_file,), (run.refiner_text_file, run.refined_file)),
        "vae_decode": ((run.refined_file,), (run.video_file, run.contact_sheet_file)),
    }
    for stage, (inputs, outputs) in work.items():
        phases = [phase for phase in PHASES if phase[0] == stage]
        write_receipt(
            run,
            Receipt(
                stage=stage,
                package_version="0.1.0",
                versions={"python": "3.11.9", "torch": "2.14.1", "diffusers": "0.42.1"},
                device="mps",
                dtype="bfloat16",
                settings=stage_settings(manifest, stage),
                weights=(),
                inputs={path.relative_to(run.path).as_posix(): sha256_of(path) for path in inputs},
                outputs=describe_outputs(run, outputs),
                plan={"mode": "resident", "note": "<b>&"},
                phases=tuple(
                    PhaseRecord(name=name, seconds=seconds, peak_device_bytes=int(device * GIB), after_release_bytes=0)
                    for _, name, seconds, _, device in phases
                ),
                started_at="2026-11-25T09:00:00+00:00",
                finished_at="2026-11-25T10:00:00+00:00",
                seconds=sum(phase[2] for phase in phases),
                process=ProcessRecord(
                    peak_process_bytes=int(max(phase[3] for phase in phases) * GIB),
                    peak_device_bytes=int(max(phase[4] for phase in phases) * GIB),
                    after_exit_processes=0,
                    after_exit_bytes=0,
                ),
            ),
        )


def make_manifest(folder: Path, **changes: Any) -> RunManifest:
    picture = folder.parent / "picture.png"
    Image.new("RGB", (300, 200), (90, 140, 200)).save(picture)
    return parse_manifest(
        {
            "version": 1,
            "name": "street <i>at</i> dawn",
            "model": {"layout": "diffusers", "root": "/weights"},
            "input": {"image": str(picture), "prompt": NASTY},
            "camera": {"action": "w-30,jw-10,w-16", "intrinsics": [160.0, 160.0, 100.0, 60.0]},
            "video": {"num_frames": 57, "height": 96, "width": 160},
            "memory": {"cap_gib": 48.0},
            "output_dir": str(folder),
            "inputs": {"input.image": {"path": str(picture), "sha256": sha256_of(picture)}},
            **changes,
        },
        RunManifest,
    )


@pytest.fixture(scope="session")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run with an earlier one of the same work beside it. Copy it to change it."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("earlier", "run"):
        run = RunDirectory(folder / name)
        run.path.mkdir()
        fill(run, make_manifest(run.path))
    return RunDirectory(folder / "run")


@pytest.fixture(scope="session")
def made_page(made_run: RunDirectory) -> Path:
    """Its report, written by the command."""
    command = [sys.executable, "-m", "sana_wm", "report", str(made_run.path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["findings"] == {"stage1": [], "refiner": [], "vae_decode": []}
    assert Path(said["memory_plot"]).is_file()
    return Path(said["report"])


@pytest.fixture(scope="session")
def demo_page(made_run: RunDirectory) -> Path:
    """The demo's page, of two runs that were not made by tiny networks; its commands are as long as real ones."""
    runs = tuple(gather_run_facts(run) for run in (made_run, RunDirectory(made_run.path.with_name("earlier"))))
    commands = [
        ("sana-wm weights download", "the released weights"),
        (f"sana-wm run {made_run.path.parent}/picture.png --prompt {NASTY!r} --move push-in:3s,pan-left:2s", "a draft"),
        ("sana-wm promote runs/picture_draft", "with full effort"),
    ]
    page = made_run.path.parent / "demo.html"
    write_demo_page(page, Demo(made_run.video_file, runs, commands))
    return page
