"""Kill runners, jobs and stages of real runs at random times: no job lost, none run to its end twice, none passed over.

`make test-long` runs QUEUE_KILLS of them and writes reports/queue-kills.json; QUEUE_KILLS_SEED changes which.
"""

from __future__ import annotations

import json
import os
import platform
import random
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

from sana_wm.names import Stage
from sana_wm.queue.folder import Queue
from sana_wm.queue.job import FAILURES_TO_PARK
from sana_wm.queue.requests import retry
from sana_wm.runs.receipts import current_versions
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.verify import verify
from sana_wm.video.reader import read_frames

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("QUEUE_KILLS", "40"))
SEED = int(os.environ.get("QUEUE_KILLS_SEED", "20261130"))
REPORT = Path(os.environ.get("QUEUE_KILLS_REPORT", ROOT / "reports" / "queue-kills.json"))
TARGETS = ("runner", "job", "stage", "all")
LAST: Stage = "vae_decode"
#: A run of these takes half a minute on a quiet machine.
LATEST_KILL_S = 30.0


@dataclass
class Series:
    """A queue, and what was seen of it."""

    folder: Path
    manifest: dict[str, Any]
    dice: random.Random = field(default_factory=lambda: random.Random(SEED))
    kills: list[str] = field(default_factory=list[str])
    added: int = 0
    retried: int = 0
    ends: dict[int, tuple[bytes, int]] = field(default_factory=dict[int, tuple[bytes, int]])
    most_jobs_at_once: int = 0

    @property
    def queue(self) -> Queue:
        return Queue(self.folder / "runs" / "queue")

    def call(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "sana_wm", "queue", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def add(self) -> None:
        self.added += 1
        path = self.folder / f"{self.added}.json"
        path.write_text(json.dumps({**self.manifest, "output_dir": f"runs/{self.added}"}))
        self.call("add", str(path))

    def start(self) -> subprocess.Popen[str]:
        with (self.folder / "runner.log").open("a") as log:
            command = [sys.executable, "-m", "sana_wm", "queue", "run"]
            return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, text=True)

    def victims(self, runner: subprocess.Popen[str], target: str) -> list[psutil.Process]:
        try:
            root = psutil.Process(runner.pid)
            below = root.children(recursive=True)
            jobs = [one for one in below if "sana_wm.tether" in one.cmdline()]
            stages = [one for one in below if "sana_wm.stages" in one.cmdline()]
        except psutil.Error:
            return []
        return {"runner": [root], "job": jobs, "stage": stages, "all": [root, *below]}[target]

    def kill_once(self, runner: subprocess.Popen[str]) -> None:
        """After a random time: one of the runner's processes, or all of them."""
        target, until_s = self.dice.choice(TARGETS), time.monotonic() + self.dice.uniform(0.2, LATEST_KILL_S)
        while runner.poll() is None:
            self.look()
            if time.monotonic() >= until_s and (victims := self.victims(runner, target)):
                for victim in victims:
                    try:
                        victim.kill()
                    except psutil.NoSuchProcess:
                        continue
                self.kills.append(target)
                if target in ("runner", "all"):
                    runner.wait()
                return
            time.sleep(0.05)

    def look(self) -> None:
        """What must hold at every moment."""
        self.most_jobs_at_once = max(self.most_jobs_at_once, len(self.working()))
        for job in self.queue.jobs():
            run = RunDirectory(Path(job.run_dir))
            if run.receipt_file(LAST).exists():
                end = (run.receipt_file(LAST).read_bytes(), run.video_file.stat().st_mtime_ns)
                # The parent adds to a receipt what the system saw of the process; the video stays.
                before = self.ends.setdefault(job.number, end)
                assert before[1] == end[1], f"{job} ran to its end twice"

    def working(self) -> list[int]:
        """Pids of jobs; what one of them has just forked, and has its arguments until it is something else, is none."""
        found = psutil.process_iter(["pid", "ppid", "cmdline"])
        jobs = {one.info["pid"]: one.info["ppid"] for one in found if self.is_job(one.info["cmdline"] or [])}
        return [pid for pid, parent in jobs.items() if parent not in jobs]

    def is_job(self, arguments: list[str]) -> bool:
        return "run-pipeline" in arguments and any(str(self.queue.path) in one for one in arguments)

    def check_jobs(self) -> None:
        """None lost; what is parked has a reason, and is tried again."""
        jobs = self.queue.jobs()
        assert sorted(job.number for job in jobs) == list(range(1, self.added + 1))
        parked = [job for job in jobs if job.state == "failed"]
        assert all(job.reason and job.failures == FAILURES_TO_PARK for job in parked)
        if parked:
            self.retried += len(parked)
            retry(self.queue, [job.number for job in parked])


@pytest.mark.long
def test_forty_kills_of_runners_jobs_and_stages(
    tmp_path: Path, picture: Path, tiny_models: dict[str, Any], tiny: Any
) -> None:
    began_s = time.monotonic()
    series = Series(tmp_path, {**tiny(picture, tiny_models["diffusers"]), "preview": {"enabled": False}})
    runner = None
    while len(series.kills) < KILLS:
        while sum(job.state in ("waiting", "running") for job in series.queue.jobs()) < 4:
            series.add()
        if runner is None or runner.poll() is not None:
            runner = series.start()
        series.kill_once(runner)
        print(len(series.kills), series.kills[-1:], Counter(job.state for job in series.queue.jobs()), flush=True)
        series.check_jobs()
    while any(job.state != "done" for job in series.queue.jobs()):
        if runner is None or runner.poll() is not None:
            runner = series.start()
        while runner.poll() is None:
            series.look()
            time.sleep(0.1)
        series.check_jobs()
    jobs = series.queue.jobs()
    runs = [RunDirectory(Path(job.run_dir)) for job in jobs]
    assert [link for run in runs for link in verify(run) if link.state != "holds"] == []
    films = {b"".join(frame.tobytes() for frame in read_frames(run.video_file)) for run in runs}
    assert len(films) == 1  # killed here or there, the same frames
    assert series.most_jobs_at_once == 1
    assert series.working() == []
    report = {
        "what": "kills (SIGKILL) at random times of a queue of tiny runs (CPU): its runner, its job, a stage, or all",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"QUEUE_KILLS={KILLS} QUEUE_KILLS_SEED={SEED} pytest -m long tests/queue/{Path(__file__).name}",
        "machine": platform.platform(),
        "versions": current_versions(),
        "seed": SEED,
        "kills": len(series.kills),
        "by_target": dict(Counter(series.kills)),
        "jobs": len(jobs),
        "lost": series.added - len(jobs),
        "not_run_to_their_end": sum(job.state != "done" for job in jobs),
        "run_to_their_end_twice": 0,
        "most_jobs_at_once": series.most_jobs_at_once,
        "parked_and_retried": series.retried,
        "videos_that_differed": len(films) - 1,
        "links_that_verify_found_broken": 0,
        "seconds": round(time.monotonic() - began_s),
    }
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=1) + "\n")
