"""`bench memory` at toy size: a whole run through the command line, and a row for every phase of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sana_wm.runs.run_directory import RunDirectory

ROWS = [
    ("stage1", "text_encoder"),
    ("stage1", "vae_encoder"),
    ("stage1", "transformer"),
    ("refiner", "text_encoder"),
    ("refiner", "connectors"),
    ("refiner", "transformer"),
    ("vae_decode", "vae_decoder"),
]


def toy_configs() -> dict[str, dict[str, Any]]:
    """The tiny checkpoint's configs, as config.json has them."""
    import torch

    from sana_wm.weights.tables import TABLES
    from sana_wm.weights.tiny_models import NETWORKS

    configs: dict[str, dict[str, Any]] = {}
    for name in TABLES:
        with torch.device("meta"):
            config = NETWORKS[name].build().config
        plain = config.to_dict() if hasattr(config, "to_dict") else dict(config)
        configs[name] = json.loads(json.dumps(plain.get("text_config", plain), default=str))
    return configs


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    import torch

    from sana_wm.bench.memory import Trial, measure_trial, write_manifest
    from sana_wm.runtime.device import describe_device
    from sana_wm.weights.empty_checkpoint import write_empty_checkpoint

    folder = tmp_path_factory.mktemp("memory")
    write_empty_checkpoint(folder / "model", toy_configs())
    path = write_manifest(folder, 9, 8.0, 1, "cpu")
    manifest = json.loads(path.read_text())
    manifest["video"] |= {"height": 192, "width": 320}
    path.write_text(json.dumps(manifest))
    return measure_trial(Trial(path, describe_device(torch.device("cpu"))))


@pytest.mark.long
def test_every_phase_has_a_row_with_its_forecast(result: dict[str, list[dict[str, Any]]]) -> None:
    rows = result["phases"]
    assert [(row["stage"], row["phase"]) for row in rows] == ROWS
    for row in rows:
        assert (row["cap_gib"], row["num_frames"]) == (8.0, 9)
        assert row["predicted_bytes"] > 1024**3  # the process itself is in it where memory is shared
    assert result["failures"] == []


def test_a_run_that_does_not_fit_is_a_row_and_not_the_end(tmp_path: Path) -> None:
    import torch

    from sana_wm.bench.memory import Trial, measure_trial, write_manifest
    from sana_wm.runtime.device import describe_device
    from sana_wm.weights.empty_checkpoint import write_empty_checkpoint

    write_empty_checkpoint(tmp_path / "model")
    path = write_manifest(tmp_path, 9, 2.0, 1, "cpu")
    result = measure_trial(Trial(path, describe_device(torch.device("cpu"))))
    assert result["phases"] == []
    assert [(row["cap_gib"], row["exit_code"]) for row in result["failures"]] == [(2.0, 5)]


def test_where_memory_is_shared_a_peak_is_the_most_that_was_seen_of_the_process(
    finished_run: Path, tmp_path: Path
) -> None:
    from sana_wm.bench.memory import measured_peaks
    from sana_wm.planning.device import Device
    from sana_wm.report.timeline import phase_spans
    from sana_wm.runs.events import read_events
    from sana_wm.runs.receipts import read_receipt

    run, shared = RunDirectory(finished_run), Device("cpu", "x", 2**35, "2.13.0")
    receipt = read_receipt(run, "stage1")
    assert receipt is not None
    text, first_frame, _ = phase_spans("stage1", read_events(run.events_file("stage1")))
    readings = [
        (text.begin_s, 3),
        ((text.begin_s + text.end_s) / 2, 5),
        (text.end_s, None),
        (text.begin_s - 1, 9),
        (first_frame.end_s, None),
    ]
    lines = [{"time_s": time_s, "stage": "stage1", "process_bytes": seen} for time_s, seen in readings]
    copy = RunDirectory(tmp_path)
    shutil.copytree(finished_run / "events", copy.path / "events")
    copy.memory_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    peaks = measured_peaks(copy, receipt, shared)
    assert (peaks["text_encoder"], peaks["vae_encoder"]) == (5, None)
    beside_a_card = measured_peaks(copy, receipt, Device("cuda", "x", 2**35, "2.13.0"))
    assert beside_a_card == {phase.name: phase.peak_device_bytes for phase in receipt.phases}


def test_what_the_governor_saw_of_the_stages_is_kept(result: dict[str, list[dict[str, Any]]]) -> None:
    assert [row["stage"] for row in result["stages"]] == ["stage1", "refiner", "vae_decode"]
    assert all(row["peak_process_bytes"] > 10_000_000 for row in result["stages"])


def test_runs_of_the_benchmark_add_no_times_of_their_own(tmp_path: Path) -> None:
    from sana_wm.planning.history import History

    history = History(tmp_path / "history.jsonl")
    history.add_bench({"what": "memory", "rows": [{"engine": "sana_wm"}], "device_name": "x"})
    assert history.read() == []
