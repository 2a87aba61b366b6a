"""Forecasts of the released model against what was measured on a card, and what is said when something does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sana_wm.errors import MemoryCapError
from sana_wm.names import STAGES, Stage
from sana_wm.pipeline import PIPELINE
from sana_wm.planning.device import Device
from sana_wm.planning.fit import fits, forecast_phases, largest_num_frames, smallest_cap_gib
from sana_wm.planning.forecast import RunForecaster
from sana_wm.planning.phase import PhaseForecast

GIB = 1024**3
M3_MAX = Device("mps", "Apple M3 Max", 96 * GIB, "2.13.0")
H200 = Device("cuda", "NVIDIA H200", 140 * GIB, "2.11.0")
Run = Callable[..., RunForecaster]
H100 = Device("cuda", "NVIDIA H100 80GB HBM3", 85017493504, "2.11.0+cu130")
REPORTS = Path(__file__).resolve().parents[2] / "reports" / "bench"
WHOLE_RUNS = json.loads((REPORTS.parent / "memory-h100.json").read_text())["rows"]
STREAMING_RUNS = json.loads((REPORTS.parent / "memory-streaming-h200.json").read_text())["rows"]


def rows(name: str) -> list[dict[str, Any]]:
    """What a benchmark measured of our engines."""
    report = json.loads((REPORTS / f"{name}.json").read_text())
    return [row for row in report["rows"] if row["engine"] == "sana_wm"]


def phase(run: RunForecaster, stage: Stage, name: str, budget_bytes: int) -> PhaseForecast:
    return run.planners()[stage, name](budget_bytes)


def assert_close(predicted_bytes: int, measured_bytes: int) -> None:
    """Within ten percent, and never under by more than five."""
    assert 0.95 * measured_bytes <= predicted_bytes <= 1.1 * measured_bytes


def name_of(row: dict[str, Any]) -> str:
    return f"{row['num_frames']}-{row['cap_gib']:g}-{row['stage']}-{row['phase']}"


@pytest.mark.parametrize("row", WHOLE_RUNS, ids=name_of)
def test_every_phase_of_whole_runs_as_measured(full_size_run: Run, row: dict[str, Any]) -> None:
    run = full_size_run(H100, row["num_frames"], row["cap_gib"])
    forecast = phase(run, row["stage"], row["phase"], run.budget_bytes)
    assert forecast.mode == row["mode"]
    assert_close(run.used_bytes(forecast), row["measured_bytes"])


@pytest.mark.parametrize("row", STREAMING_RUNS, ids=name_of)
def test_every_phase_of_streaming_runs_as_measured(full_size_run: Run, row: dict[str, Any]) -> None:
    run = full_size_run(H200, row["num_frames"], row["cap_gib"], "streaming")
    forecast = phase(run, row["stage"], row["phase"], run.budget_bytes)
    assert forecast.mode == row["mode"]
    assert_close(run.used_bytes(forecast), row["measured_bytes"])


def test_streaming_runs_were_measured_in_every_phase_at_two_lengths() -> None:
    measured = {(row["num_frames"], row["stage"], row["phase"]) for row in STREAMING_RUNS}
    phases = {(stage, name) for stage in STAGES for name in PIPELINE[stage].phases if stage != "preview"}
    assert measured == {(frames, *one) for frames in (49, 313) for one in phases}


def test_whole_runs_were_measured_at_every_length_and_cap() -> None:
    measured = {(row["num_frames"], row["cap_gib"]) for row in WHOLE_RUNS}
    assert measured == {(frames, cap_gib) for frames in (161, 321, 961) for cap_gib in (96, 48, 24, 16)}


@pytest.mark.parametrize(
    ("row", "working_set_bytes"),
    [(row, 96 * GIB) for row in rows("stage1-h200")] + [(row, 5 * GIB) for row in rows("stage1-h200-5gib")],
    ids=lambda value: value["latent_frames"] if isinstance(value, dict) else value // GIB,
)
def test_stage1_as_measured(full_size_run: Run, row: dict[str, Any], working_set_bytes: int) -> None:
    run = full_size_run(H200, 8 * row["latent_frames"] - 7, 96)
    forecast = phase(run, "stage1", "transformer", row["weights_bytes"] + working_set_bytes)
    assert forecast.weights_bytes == pytest.approx(row["weights_bytes"], rel=0.001)
    assert forecast.plan["guidance_passes"] == row["plan"]["guidance_passes"]
    assert_close(run.used_bytes(forecast), row["peak_bytes"])


@pytest.mark.parametrize("row", [row for row in rows("refiner-h200") if "latent_frames" in row], ids=str)
def test_the_refiner_as_measured(full_size_run: Run, row: dict[str, Any]) -> None:
    run = full_size_run(H200, 321, 96)
    budget_bytes = int(row["budget_gib"] * GIB) if "budget_gib" in row else 96 * GIB
    forecast = phase(run, "refiner", "transformer", budget_bytes)
    assert forecast.plan["mode"] == row["plan"]["mode"]
    assert forecast.plan["resident_blocks"] == row["plan"].get("resident_blocks", 48)
    assert_close(run.used_bytes(forecast), row["peak_bytes"])


def test_the_refiners_text_as_measured(full_size_run: Run) -> None:
    row = next(row for row in rows("refiner-h200") if "Gemma-3" in row.get("notes", ""))
    run = full_size_run(H200, 321, 16)
    assert_close(run.used_bytes(phase(run, "refiner", "connectors", 16 * GIB)), row["peak_bytes"])
    streamed = phase(run, "refiner", "text_encoder", 16 * GIB)
    assert streamed.plan == {"mode": "streamed"}
    # Only six of its layers were run, each by itself on the device: the peak is that of all 48.
    assert_close(run.used_bytes(streamed), 625026048)


@pytest.mark.parametrize(
    "row", [row for row in rows("decode-h200") if row["plan"]["implementation"] == "channels_last"], ids=str
)
def test_the_decoder_as_measured(full_size_run: Run, row: dict[str, Any]) -> None:
    run = full_size_run(H200, 8 * row["latent_frames"] - 7, 96)
    forecast = phase(run, "vae_decode", "vae_decoder", int(row["budget_gib"] * GIB))
    assert list(forecast.plan["steps"]) == row["plan"]["steps"]
    assert_close(run.used_bytes(forecast), row["peak_bytes"])


@pytest.mark.parametrize("cap_gib", [96, 48, 24, 16])
@pytest.mark.parametrize("frames", [161, 321, 961])
@pytest.mark.parametrize("device", [M3_MAX, H200], ids=["mps", "cuda"])
def test_the_released_model_fits_every_cap_from_16_gib_up(
    full_size_run: Run, device: Device, frames: int, cap_gib: int
) -> None:
    run = full_size_run(device, frames, cap_gib)
    for forecast in forecast_phases(run):
        assert run.used_bytes(forecast) <= 0.97 * cap_gib * GIB, forecast


def test_engines_choose_by_the_cap(full_size_run: Run) -> None:
    def modes(cap_gib: int) -> list[str]:
        return [forecast.mode for forecast in forecast_phases(full_size_run(M3_MAX, 961, cap_gib))]

    ample, tight = modes(96), modes(16)
    assert ample[4] == "resident"
    assert ample[6] == "resident, 48 of 48 blocks stay"
    assert tight[2] == "one prompt at a time, 42 of 121 latent frames at a time"
    assert tight[4] == "streamed, one of 48 layers at a time"
    assert tight[6].startswith("streamed, ")


def test_what_does_not_fit_names_the_largest_setting_that_would(full_size_run: Run) -> None:
    small = Device("mps", "Apple M2", 11 * GIB, "2.13.0")
    run = full_size_run(small, 961, 16, refiner__enabled=False)
    assert not fits(run)
    frames = largest_num_frames(run)
    assert frames is not None
    assert 321 < frames < 961
    assert fits(run.with_num_frames(frames))
    assert not fits(run.with_num_frames(frames + 8))
    # The device is what is too small, so no cap helps.
    assert smallest_cap_gib(run) is None


def test_the_smallest_cap_is_the_smallest(full_size_run: Run) -> None:
    run = full_size_run(M3_MAX, 321, 4)
    cap_gib = smallest_cap_gib(run)
    assert cap_gib is not None
    assert fits(run.with_cap_gib(cap_gib))
    assert not fits(run.with_cap_gib(cap_gib - 1))
    assert largest_num_frames(run) is None
    with pytest.raises(MemoryCapError):
        forecast_phases(run)


def test_buffers_in_main_memory_count_against_the_budget_where_memory_is_shared(full_size_run: Run) -> None:
    for device, shared in ((M3_MAX, True), (H100, False)):
        run = full_size_run(device, 321, 96)
        text = phase(run, "refiner", "text_encoder", run.budget_bytes)
        assert text.host_bytes > 0
        assert run.budgeted_bytes(text) == text.device_bytes + text.host_bytes * shared
        with pytest.raises(MemoryCapError):
            phase(run, "refiner", "connectors", run.budgeted_bytes(phase(run, "refiner", "connectors", 2**40)) - 1)


def test_packing_counts_where_it_is_the_peak(full_size_run: Run) -> None:
    run = full_size_run(M3_MAX, 321, 96)
    text = phase(run, "refiner", "text_encoder", run.budget_bytes)
    # Loading holds the embedding table twice, packing comes later: only what packing takes beyond that is added.
    packed_bytes = 1024 * 3840 * 49 * 13
    assert text.work_bytes + text.host_bytes == packed_bytes > text.work_bytes == 262208 * 3840 * 2


def test_a_budget_below_the_cap_is_kept(full_size_run: Run) -> None:
    tight = full_size_run(M3_MAX, 961, 96, memory__budget_gib=15.0)
    assert tight.budget_bytes == 15 * GIB
    assert max(one.device_bytes + one.host_bytes for one in forecast_phases(tight)) <= 15 * GIB


def test_the_numbers_of_the_memory_page_are_those_of_the_plan(full_size_run: Run) -> None:
    page = (REPORTS.parents[1] / "docs" / "memory.md").read_text()
    table = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    said = {cells[0]: [cell.split(",")[0] for cell in cells[1:]] for cells in table}

    def peaks(place: int, *lengths: int) -> list[str]:
        columns: list[str] = []
        for cap_gib in (96, 48, 24, 16):
            runs = [full_size_run(M3_MAX, frames, cap_gib) for frames in lengths]
            columns.append(" / ".join(f"{run.used_bytes(forecast_phases(run)[place]) / GIB:.1f}" for run in runs))
        assert columns[0] == columns[1]  # 96 and 48 GiB share a column
        return columns[1:]

    assert said["Stage 1 text encoder"] == peaks(0, 321)
    assert said["first frame"] == peaks(1, 321)
    assert said["Stage 1, 161 / 321 / 961 frames"] == peaks(2, 161, 321, 961)
    assert said["refiner text encoder"] == peaks(4, 321)
    assert said["connectors"] == peaks(5, 321)
    assert said["refiner transformer"] == peaks(6, 321)
    assert said["VAE decode, the preview's too"] == peaks(3, 321) == peaks(7, 321)  # the preview and the video


@pytest.mark.parametrize("cap_gib", [96, 16])
def test_guidance_that_ends_saves_passes_and_not_memory(full_size_run: Run, cap_gib: int) -> None:
    runs = [full_size_run(H100, 321, cap_gib, stage1__guidance_until=until) for until in (1.0, 0.5)]
    whole, half = (phase(run, "stage1", "transformer", run.budget_bytes) for run in runs)
    assert half.tflop == pytest.approx(0.75 * whole.tflop)
    assert half.work_bytes >= whole.work_bytes
    assert half.work_bytes + half.weights_bytes <= runs[1].budget_bytes
    assert half.mode.startswith(f"30 of 60 steps with guidance: {whole.mode}; then one prompt at a time, ")
    assert half.plan["plan_with_guidance"] == whole.plan


def test_without_guidance_there_is_one_pass_a_step(full_size_run: Run) -> None:
    never, off = (
        full_size_run(H100, 161, 96, **{f"stage1__{name}": value})
        for name, value in (("guidance_until", 0.0), ("guidance_scale", 1.0))
    )
    assert phase(never, "stage1", "transformer", 96 * GIB) == phase(off, "stage1", "transformer", 96 * GIB)
