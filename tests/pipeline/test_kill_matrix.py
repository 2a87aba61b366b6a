"""Kill anything at any point, run it again: the same latents and frames, a clean chain, nothing left running.

A trial is one kill. A chain is a run from an empty directory to its end, each attempt but the last killed: at a named
point of a durable write (tests/pipeline/faults), or after a random time. `make test-long` runs TRIALS of them and
writes reports/kill-matrix/; KILL_MATRIX_TRIALS and KILL_MATRIX_SEED change how many and which.
"""

from __future__ import annotations

import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image
from tests.pipeline.streaming_runs import tiny_student, write_streaming_manifest

from sana_wm.durable import is_part
from sana_wm.names import STAGES
from sana_wm.runs.receipts import current_versions, read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.verify import verify
from sana_wm.video.reader import probe, read_frames
from sana_wm.weights.headers import read_header

ROOT = Path(__file__).resolve().parents[2]
TRIALS = int(os.environ.get("KILL_MATRIX_TRIALS", "300"))
STREAMING_TRIALS = int(os.environ.get("KILL_MATRIX_TRIALS", "30"))
SEED = int(os.environ.get("KILL_MATRIX_SEED", "20261125"))
REPORTS = Path(os.environ.get("KILL_MATRIX_REPORTS", ROOT / "reports" / "kill-matrix"))
#: Whose points are each killed at once before the rest is random; KILL_MATRIX_ROLE names one of them.
ROLES = os.environ.get("KILL_MATRIX_ROLE", "parent stage").split()
TARGETS = ("parent", "stage", "ffmpeg", "all")
SIGNALS = ("SIGKILL", "SIGTERM")
#: What a killed or stopped command may end with; 1, a traceback, is a bug. 4 is a write that the kill cut off, 2 an
#: ffmpeg that was killed when it was asked for its codecs, before the run.
CODES = {0, 2, 4, 7, 130, -signal.SIGKILL, -signal.SIGTERM}

Point = tuple[str, str, str]


@dataclass
class Trial:
    """What happens to one attempt: a kill at a named point, or after `delay_s`."""

    target: str
    signal: str
    point: Point | None = None
    delay_s: float = 0.0
    delivered: bool = False
    exit_code: int | None = None


@dataclass
class Matrix:
    """A manifest that runs in seconds, and the run directory that it is killed in again and again."""

    manifest: Path
    run: RunDirectory
    scratch: Path
    variant: str = "bidirectional"
    trials: list[Trial] = field(default_factory=list)
    slowest_end_s: float = 0.0

    def start(self, arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join([str(ROOT / "tests" / "pipeline" / "faults"), *filter(None, [os.getenv("PYTHONPATH")])])
        with (self.scratch / "stderr").open("wb") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "sana_wm", *arguments],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, **environment, "PYTHONPATH": paths},
            )

    def points(self) -> list[Point]:
        """Every point that an undisturbed run reaches, in order; leaves that run."""
        log = self.scratch / "points"
        process = self.start(["run-pipeline", str(self.manifest)], {"SANA_WM_TEST_POINTS": str(log)})
        assert process.wait() == 0, (self.scratch / "stderr").read_text()
        reached = [json.loads(line) for line in log.read_text().splitlines()]
        named = [(role, point, str(Path(path).relative_to(self.run.path))) for role, point, path in reached]
        return list(dict.fromkeys(named))

    def attempt(self, arguments: list[str], trial: Trial | None) -> int:
        """Run a command, disturbed as the trial says; nothing of it is left running afterwards."""
        environment = {}
        marker = self.scratch / "marker"
        marker.unlink(missing_ok=True)
        if trial is not None and trial.point is not None:
            role, point, file = trial.point
            fault = {"role": role, "point": point, "file": file, "marker": str(marker)}
            fault |= {"signal": trial.signal, "target": trial.target}
            environment = {"SANA_WM_TEST_FAULT": json.dumps(fault)}
        process = self.start(arguments, environment)
        if trial is not None and trial.point is None:
            trial.delivered = self.kill_after(process, trial)
        code = process.wait(300)
        ended_s = time.monotonic()
        while left := self.left_running():
            assert time.monotonic() - ended_s < 60, f"still running: {left}"
            time.sleep(0.05)
        self.slowest_end_s = max(self.slowest_end_s, time.monotonic() - ended_s)
        errors = (self.scratch / "stderr").read_text()
        assert code in CODES, f"{trial}: exit code {code}\n{errors}"
        assert "Traceback" not in errors, errors
        if trial is not None:
            trial.delivered |= marker.exists()
            trial.exit_code = code
            assert code == 0 or trial.delivered, f"{trial}: {errors}"
            assert code != 0 or not (trial.delivered and trial.signal == "SIGKILL" and trial.target == "all"), trial
            self.trials.append(trial)
            print(len(self.trials), trial, flush=True)
        assert_no_half_written_name(self.run)
        return code

    def kill_after(self, process: subprocess.Popen[bytes], trial: Trial) -> bool:
        """Wait, for ffmpeg until there is one, and kill; whether anything was there to be killed."""
        until_s = time.monotonic() + trial.delay_s
        while process.poll() is None:
            victims = self.victims(process, trial.target)
            if victims and (time.monotonic() >= until_s or trial.target == "ffmpeg"):
                for victim in victims:
                    try:
                        victim.send_signal(signal.Signals[trial.signal])
                    except psutil.NoSuchProcess:
                        return False
                return True
            time.sleep(0.005)
        return False

    @staticmethod
    def victims(process: subprocess.Popen[bytes], target: str) -> list[psutil.Process]:
        try:
            root = psutil.Process(process.pid)
            below = root.children(recursive=True)
            if target == "ffmpeg":
                return [one for one in below if "ffmpeg" in one.name()]
            stages = [one for one in below if "sana_wm.stages" in one.cmdline()]
        except psutil.Error:
            return []
        return {"parent": [root], "stage": stages, "all": [root, *below]}[target]

    def left_running(self) -> list[list[str]]:
        """Processes that have the run directory among their arguments."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            arguments = process.info["cmdline"] or []
            if process.info["status"] != psutil.STATUS_ZOMBIE and any(str(self.run.path) in one for one in arguments):
                found.append(arguments)
        return found

    def chain(self, choose: Any, limit: int) -> None:
        """From what the directory holds to a finished run: up to `limit` kills, then to the end."""
        for number in range(limit + 1):
            trial = choose() if number < limit else None
            again = self.run.manifest_file.exists() and number % 3  # both ways to go on
            arguments = ["resume", str(self.run.path)] if again else ["run-pipeline", str(self.manifest)]
            if self.attempt(arguments, trial) == 0:
                return
        pytest.fail(f"an undisturbed attempt did not end well: {(self.scratch / 'stderr').read_text()}")


def assert_no_half_written_name(run: RunDirectory) -> None:
    """Whatever has its final name is whole."""
    for path in run.path.rglob("*.safetensors"):
        if not is_part(path):
            read_header(path)
    for path in (*run.path.glob("*.mp4"), *run.path.glob("checkpoints/*/*.mp4")):
        if not is_part(path):
            assert probe(path).num_frames > 0
    if run.contact_sheet_file.exists():
        with Image.open(run.contact_sheet_file) as picture:
            picture.load()
    if run.manifest_file.exists():
        run.read_manifest()
    for stage in STAGES:
        read_receipt(run, stage)


def results(run: RunDirectory) -> dict[str, Any]:
    """What must be the same: the latents' files and every decoded frame."""
    found: dict[str, Any] = {"stage1": run.stage1_file.read_bytes(), "refined": run.refined_file.read_bytes()}
    for video in filter(Path.exists, (run.preview_file, run.video_file)):
        found[video.name] = [frame.tobytes() for frame in read_frames(video)]
    return found


def assert_same_and_clean(run: RunDirectory, expected: dict[str, Any]) -> None:
    found = results(run)
    assert {name for name, value in expected.items() if found.get(name) != value} == set()
    assert [link for link in verify(run) if link.state != "holds"] == []


@pytest.mark.long
def test_every_kill_at_every_point_and_at_random_times(
    tmp_path: Path, picture: Path, tiny_models: dict[str, Any], tiny: Any
) -> None:
    data = tiny(picture, tiny_models["diffusers"])
    data["camera"]["action"], data["video"]["num_frames"] = "w-40", 41
    data["refiner"] = {"block_size": 2}
    data["stage1"] = {"num_inference_steps": 3, "checkpoint_every": 1, "preview_every": 2}
    data["preview"] = {"enabled": True}
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(data))
    run_series(Matrix(manifest, RunDirectory(tmp_path / "run"), tmp_path), ROLES, TRIALS)


@pytest.mark.long
def test_thirty_kills_of_a_run_of_the_streaming_model(tmp_path: Path) -> None:
    """At random points and times only: the points themselves are those of every run."""
    model = tiny_student(tmp_path / "weights")
    manifest = write_streaming_manifest(
        tmp_path / "run", model, 73, stage1__keep_state=True, stage1__preview_every=2, refiner__kv_max_frames=5
    )
    run_series(Matrix(manifest, RunDirectory(tmp_path / "run"), tmp_path, "streaming"), [], STREAMING_TRIALS)


def run_series(matrix: Matrix, roles: list[str], trials: int) -> None:
    """Kill runs until every point of the roles, and so many in all, were killed at; writes the report each time."""
    started_s = time.monotonic()
    points = matrix.points()
    expected = results(matrix.run)
    dice = random.Random(SEED)
    chains, position = 0, -1

    def uncovered() -> list[Point]:
        killed_at = {trial.point for trial in matrix.trials if trial.delivered}
        return [point for point in points if point not in killed_at and point[0] in roles]

    def at_next_point() -> Trial | None:
        """The next point that this chain can still reach; a point after a rename ends that file's points."""
        nonlocal position
        ahead = [point for point in uncovered() if points.index(point) > position]
        if not ahead:
            return None
        point = ahead[0]
        renamed = point[1] == "after rename" or "folder" in point[1]
        of_file = [index for index, other in enumerate(points) if other[::2] == point[::2]]
        position = of_file[-1] if renamed else points.index(point)
        return Trial(point[0], "SIGKILL", point)

    def at_random() -> Trial:
        target, number = dice.choice(TARGETS), dice.choice(SIGNALS)
        if dice.random() < 0.4 and target != "ffmpeg":  # which works at few of them, and is waited for below
            return Trial(target, number, dice.choice(points))
        return Trial(target, number, delay_s=dice.uniform(0.1, 9.0))

    def delivered() -> int:
        return sum(trial.delivered for trial in matrix.trials)

    while uncovered() or delivered() < trials:
        shutil.rmtree(matrix.run.path)
        position = -1
        matrix.chain(at_next_point if uncovered() else at_random, len(points) if uncovered() else 12)
        assert_same_and_clean(matrix.run, expected)
        chains += 1
        write_report(matrix, roles, trials, points, chains, time.monotonic() - started_s)


def write_report(
    matrix: Matrix, roles: list[str], trials: int, points: list[Point], chains: int, seconds: float
) -> None:
    kills = [trial for trial in matrix.trials if trial.delivered]
    at_points = [trial.point for trial in kills if trial.point is not None]
    report = {
        "what": f"kills of a tiny run of the {matrix.variant} model (CPU), each followed by going on with it",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"KILL_MATRIX_TRIALS={trials} KILL_MATRIX_SEED={SEED} KILL_MATRIX_ROLE='{' '.join(roles)}' "
        f"pytest -m long tests/pipeline/{Path(__file__).name}",
        "machine": platform.platform(),
        "versions": current_versions(),
        "seed": SEED,
        "points_of": roles,
        "kills": len(kills),
        "chains_run_to_their_end": chains,
        "latents_or_frames_that_differed": 0,
        "chains_that_verify_found_broken": 0,
        "processes_left_running": 0,
        "tracebacks": 0,
        "slowest_end_of_the_last_process_s": round(matrix.slowest_end_s, 2),
        "points": {"named": len(points), "killed_at": len(set(at_points) & set(points))},
        "by_point": dict(Counter(f"{role}: {point}" for role, point, _ in at_points)),
        "at_random_times": sum(trial.point is None for trial in kills),
        "by_target": dict(Counter(trial.target for trial in kills)),
        "by_signal": dict(Counter(trial.signal for trial in kills)),
        "by_exit_code": dict(Counter(str(trial.exit_code) for trial in kills)),
        "not_reached": sum(not trial.delivered for trial in matrix.trials),
        "seconds": round(seconds),
    }
    REPORTS.mkdir(parents=True, exist_ok=True)
    (REPORTS / f"{'-'.join(roles) or matrix.variant}-seed-{SEED}.json").write_text(json.dumps(report, indent=1) + "\n")


def test_a_handful_of_kills(finished_run: Path, tmp_path: Path) -> None:
    """The last stage, killed after a segment is on the disk; then its parent is asked to stop when all is done."""
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(finished_run, run.path)
    expected = results(run)
    run.clear_stage("vae_decode")
    matrix = Matrix(finished_run.parent / "manifest.json", run, tmp_path)
    kills = [
        Trial("stage", "SIGKILL", ("stage", "after fsync", "00001.mp4")),
        Trial("parent", "SIGTERM", ("parent", "after rename", "receipts/vae_decode.json")),
    ]
    for trial, code in zip(kills, (7, 0), strict=True):
        assert matrix.attempt(["resume", str(run.path)], trial) == code
        assert trial.delivered
    assert_same_and_clean(run, expected)
