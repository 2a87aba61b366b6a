"""The plan of a run: what fits, how long it takes, and what this machine remembers of earlier runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sana_wm.errors import MemoryCapError
from sana_wm.manifest.loading import load_manifest
from sana_wm.manifest.model import Manifest
from sana_wm.names import STARTING, Stage
from sana_wm.planning.device import Device
from sana_wm.planning.forecast import RunForecaster
from sana_wm.planning.history import History, PhaseTime
from sana_wm.planning.plan import plan_run, require_fit
from sana_wm.planning.suggestions import Overrun, suggest_change
from sana_wm.planning.this_device import find_device
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.weights.empty_checkpoint import write_empty_checkpoint
from sana_wm.weights.manifest_layout import locate_weights

GIB = 1024**3
REFINER = ["text_encoder", "connectors", "transformer"]
#: Of the tiny manifest, which has no preview.
STAGES: tuple[Stage, ...] = ("stage1", "refiner", "vae_decode")
MAC = Device("mps", "Apple M3 Max", 48 * GIB, "2.13.0")


@pytest.fixture
def manifest(write_manifest: Callable[..., Path]) -> Manifest:
    return load_manifest(write_manifest(), {})


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "cache" / "history.jsonl")


def command_line(*arguments: object, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "HOME": str(cache)}
    command = [sys.executable, "-m", "sana_wm", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_times_are_guesses_until_something_like_it_ran(manifest: Manifest, history: History) -> None:
    guessed = plan_run(manifest, STAGES, MAC, history)
    assert not any(phase.measured for phase in guessed.phases)
    phases = [(phase.stage, phase.phase) for phase in guessed.phases]
    assert phases[:4] == [
        ("stage1", STARTING),
        ("stage1", "text_encoder"),
        ("stage1", "vae_encoder"),
        ("stage1", "transformer"),
    ]
    history.add(
        [PhaseTime(MAC.name, "bfloat16", stage, phase, 1e-3 * (phase != STARTING), 7.0) for stage, phase in phases]
    )
    measured = plan_run(manifest, STAGES, MAC, history)
    assert measured.is_measured
    assert measured.phases[0].seconds == 7.0
    # Another machine has learned nothing from it.
    assert not plan_run(manifest, STAGES, Device("mps", "Apple M1", 48 * GIB, "2.13.0"), history).is_measured


def test_a_damaged_line_of_the_history_costs_that_line_alone(history: History, tmp_path: Path) -> None:
    history.add([PhaseTime("M", "bfloat16", "stage1", "transformer", 1.0, 7.0)] * 2)
    file = tmp_path / "cache" / "history.jsonl"
    file.write_bytes(b"\xff\xfe no text\n" + file.read_bytes() + b'{"device": "M')
    assert len(History(file).read()) == 2


@pytest.mark.parametrize("refines", [True, False])
def test_a_plan_before_the_download_goes_by_the_released_sizes(
    write_manifest: Callable[..., Path], tmp_path: Path, refines: bool
) -> None:
    model = {"layout": "original", "root": "${SANA_WM_MODEL_ROOT}", "gemma_root": "${SANA_GEMMA_2_2B_IT_ROOT}"}
    path = write_manifest(model=model, refiner={"enabled": refines}, device="cpu")
    refused = command_line("plan", path, cache=tmp_path)
    assert refused.returncode == 2
    assert "--without-weights" in refused.stderr
    planned = command_line("plan", path, "--without-weights", "--json", cache=tmp_path)
    plan = json.loads(planned.stdout)
    assert planned.returncode == (0 if plan["fits"] else 5)
    phases = [phase["phase"] for phase in plan["phases"] if phase["phase"] != STARTING]
    assert phases == ["text_encoder", "vae_encoder", "transformer", *REFINER * refines, "vae_decoder"]
    peaks = {phase["phase"]: phase["used_bytes"] for phase in plan["phases"] if phase["stage"] == "stage1"}
    # In float32 the first frame's encoder of 0.69 B parameters is 2.6 GiB, on any machine.
    assert 2.6 * GIB < peaks["vae_encoder"] < 5 * GIB
    assert (plan["by_released_sizes"], plan["dtype"]) == (True, "float32")
    # What will be downloaded, not what is read of it.
    assert plan["weights_bytes"] > (90e9 if refines else 15e9)


def test_a_plan_before_the_download_for_the_other_backend(write_manifest: Callable[..., Path], tmp_path: Path) -> None:
    changes = {"model__backend": "pr379", "model__pr_root": "Sana", "model__layout": "original"}
    path = write_manifest(**changes, model__gemma_root="gemma", refiner={"mode": "single_shot"}, device="cpu")
    planned = command_line("plan", path, "--without-weights", "--json", cache=tmp_path)
    assert planned.returncode in (0, 5), planned.stderr
    assert [phase["phase"] for phase in json.loads(planned.stdout)["phases"]].count("transformer") == 2


def test_runs_of_empty_weights_count_as_benchmarks(tmp_path: Path, finished_run: Path) -> None:
    from sana_wm.planning.plan import phase_times
    from sana_wm.runs.receipts import read_receipt
    from sana_wm.weights.layout import EMPTY_MARKER

    run = RunDirectory(finished_run)
    manifest, receipt = run.read_manifest(), read_receipt(run, "stage1")
    assert receipt is not None
    assert {time.source for time in phase_times(manifest, find_device("cpu"), receipt)} == {"run"}
    root = tmp_path / "model"
    shutil.copytree(manifest.model.root, root)
    (root / EMPTY_MARKER).touch()
    empty = manifest.model_copy(update={"model": manifest.model.model_copy(update={"root": str(root)})})
    assert {time.source for time in phase_times(empty, find_device("cpu"), receipt)} == {"bench"}


def test_the_nearest_time_is_scaled_by_the_arithmetic(history: History) -> None:
    def add(tflop: float, seconds: float, source: str = "run") -> None:
        history.add([PhaseTime("M3", "bfloat16", "stage1", "transformer", tflop, seconds, source)])

    def seconds(tflop: float) -> float | None:
        return history.seconds("M3", "bfloat16", "stage1", "transformer", tflop)

    assert seconds(10.0) is None
    add(10.0, 1.0)
    add(1000.0, 500.0)
    assert seconds(20.0) == pytest.approx(2.0)
    assert seconds(2000.0) == pytest.approx(1000.0)
    add(1000.0, 400.0)
    assert seconds(1000.0) == pytest.approx(400.0)  # the newest of equals
    add(1000.0, 300.0, "bench")
    assert seconds(1000.0) == pytest.approx(400.0)  # a run counts before a benchmark of the same size
    add(5000.0, 1500.0, "bench")
    assert seconds(5000.0) == pytest.approx(1500.0)
    assert seconds(0.009) is None  # the demo says nothing of a real run, nor the other way round
    assert seconds(6_000_000.0) is None


def test_another_network_says_nothing(history: History) -> None:
    def seconds(parameters: int) -> float | None:
        return history.seconds("M3", "float32", "vae_decode", "vae_decoder", 1.0, parameters)

    history.add([PhaseTime("M3", "float32", "vae_decode", "vae_decoder", 1.0, 9.0, parameters=500)])
    assert seconds(500) == 9.0
    assert seconds(500_000_000) is None
    history.add([PhaseTime("M3", "float32", "vae_decode", "vae_decoder", 1.0, 8.0, "bench")])  # does not say which
    assert seconds(500_000_000) == 8.0


def test_a_plan_refuses_a_length_that_the_path_does_not_have(
    write_manifest: Callable[..., Path], sana_wm: Callable[..., tuple[int, str, str]]
) -> None:
    code, _, err = sana_wm("plan", write_manifest(video__num_frames=12))
    assert code == 2
    assert "num_frames" in err


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history = History(path)
    time = PhaseTime("M3", "bfloat16", "stage1", "transformer", 1.0, 2.0)
    history.add([time])
    path.write_text(path.read_text() + '{"device": "M3", "dty')
    assert history.read() == [time]


def test_a_benchmark_is_remembered(history: History) -> None:
    report = json.loads((Path(__file__).parents[2] / "reports" / "bench" / "stage1-h200.json").read_text())
    history.add_bench({**report, "device_name": report["hardware"]})
    assert history.seconds("NVIDIA H200", "bfloat16", "stage1", "transformer", 584.665489408) == pytest.approx(
        1.7187, abs=1e-3
    )


def test_what_does_not_fit_is_refused_and_named(write_manifest: Callable[..., Path], history: History) -> None:
    manifest = load_manifest(write_manifest(memory__cap_gib=1.0), {})
    plan = plan_run(manifest, STAGES, MAC, history)
    assert not plan.fits
    assert plan.smallest_cap_gib == 2
    with pytest.raises(MemoryCapError, match=r"stage1, text_encoder.*raise memory\.cap_gib to 2") as caught:
        require_fit(plan)
    assert caught.value.exit_code == 5


def test_a_cpu_is_described_without_torch() -> None:
    device = find_device("cpu")
    assert device.kind == "cpu"
    assert device.memory_bytes > GIB


def test_torch_is_asked_for_what_only_it_knows() -> None:
    done = subprocess.run([sys.executable, "-m", "sana_wm.runtime", "cpu"], capture_output=True, text=True, check=True)
    asked, described = Device(**json.loads(done.stdout)), find_device("cpu")
    assert (asked.kind, asked.name, asked.memory_bytes) == (described.kind, described.name, described.memory_bytes)
    missing = subprocess.run(
        [sys.executable, "-m", "sana_wm.runtime", "mps"], capture_output=True, text=True, check=False
    )
    assert missing.returncode == 2
    assert "device mps is not available" in missing.stderr


def test_a_stage_over_its_cap_is_told_what_would_fit(write_manifest: Callable[..., Path]) -> None:
    manifest = load_manifest(write_manifest(memory__cap_gib=3.0), {})
    run = RunDirectory(Path("/runs/road"))
    device = Device("cuda", "card", 8 * GIB, "2.13.0")
    # A tiny network cannot be planned 0.1 GiB leaner than the next to nothing that it takes.
    said = suggest_change(manifest, run, Overrun("stage1", "transformer", int(3.1 * GIB), device))
    assert "Nothing in this phase can be made smaller" in said
    assert "sana-wm resume /runs/road --cap-gib 3.3" in said
    assert suggest_change(manifest, run, Overrun("stage1", "starting", 4 * GIB, None)).startswith(
        "Go on with: sana-wm resume /runs/road --cap-gib 4.2"
    )


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released model without its numbers."""
    folder = tmp_path_factory.mktemp("released")
    write_empty_checkpoint(folder)
    return folder


def budget_said(said: str) -> float:
    found = re.search(r"--budget-gib ([\d.]+)", said)
    assert found is not None, said
    return float(found.group(1))


def test_what_would_fit_is_of_the_stage_that_took_too_much(write_manifest: Callable[..., Path], released: Path) -> None:
    model = {"layout": "diffusers", "root": str(released)}
    manifest = load_manifest(
        write_manifest(model=model, video={"num_frames": 961}, camera__action="w-960", memory__cap_gib=40.0), {}
    )
    card = Device("cuda", "card", 80 * GIB, "2.13.0")
    run = RunDirectory(Path("/runs/road"))
    refiner = RunForecaster(manifest, locate_weights(manifest), card).planners()["refiner", "transformer"]
    budget_gib = budget_said(suggest_change(manifest, run, Overrun("refiner", "transformer", 41 * GIB, card)))
    assert 25 < budget_gib < 30  # what Stage 1 would need is below 13
    assert refiner(int(budget_gib * GIB)).device_bytes <= budget_gib * GIB
    # Stage 1 itself could be planned with less than 10 GiB; the refiner, which comes next under the same budget, not.
    said = suggest_change(manifest, run, Overrun("stage1", "transformer", 46 * GIB, card))
    assert "Nothing in this phase can be made smaller" in said


def test_a_stage_is_planned_without_the_weights_of_the_others(
    manifest: Manifest, history: History, tmp_path: Path
) -> None:
    root = tmp_path / "only the vae"
    shutil.copytree(Path(manifest.model.root) / "vae", root / "vae")
    model = manifest.model.model_copy(update={"root": str(root), "gemma_root": str(root)})
    plan = plan_run(manifest.model_copy(update={"model": model}), ["vae_decode"], MAC, history)
    assert [phase.phase for phase in plan.phases] == [STARTING, "vae_decoder"]
    assert plan.fits


def test_the_command_line_plans_refuses_and_on_demand_tries(
    write_manifest: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_manifest()
    plain = command_line("plan", path, cache=tmp_path)
    assert plain.returncode == 0, plain.stderr
    assert "both prompts at once" in plain.stdout
    assert "is a guess" in plain.stdout
    data = json.loads(command_line("plan", path, "--json", cache=tmp_path).stdout)
    assert data["fits"] is True
    assert data["peak_bytes"] == max(phase["used_bytes"] for phase in data["phases"])
    tight = command_line("plan", path, "--cap-gib", "0.9", cache=tmp_path)
    assert tight.returncode == 5
    assert "DOES NOT FIT. To make it fit, raise memory.cap_gib to 2" in tight.stdout

    path = write_manifest(memory__cap_gib=0.9)
    refused = command_line("run-pipeline", path, cache=tmp_path)
    assert refused.returncode == 5
    assert "--accept-over-cap" in refused.stderr
    run = RunDirectory(Path(load_manifest(path, {}).output_dir))
    assert not run.path.exists()
    tried = command_line("run-pipeline", path, "--accept-over-cap", "--to", "stage1", cache=tmp_path)
    assert tried.returncode == 0, tried.stderr  # half a GiB more was kept back than a stage of this size takes
    assert "warning: the run will not fit" in tried.stderr
    assert run.receipt_file("stage1").exists()
    again = json.loads(command_line("plan", path, "--cap-gib", "96", "--json", cache=tmp_path).stdout)
    assert {phase["stage"] for phase in again["phases"] if phase["measured"]} == {"stage1"}
    resumed = command_line("resume", run.path, "--cap-gib", "5", "--budget-gib", "2", "--to", "stage1", cache=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    memory = run.read_manifest().memory
    assert (memory.cap_gib, memory.budget_gib) == (5.0, 2.0)
