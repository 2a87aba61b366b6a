"""Makes the events of a run of three hours: `python tests/progress/three_hours.py` writes them into `recorded_runs/`.

Nobody has run this on such a machine. The times are put together from what was measured:

- Stage 1: 60 steps of 321 frames in 2 h 44 min on an M3 Max, 164 s a step, as a public port says (planning/times.py).
- The refiner's transformer and the decode: their rows in reports/bench/ (H200, 41 latent frames) times what a step of
  Stage 1 takes longer there (164 s for 1.719 s). The text encoders and the rest are read from a disk: seconds.
- Every step has noise of 3 %, one in fifteen takes a quarter more (somebody uses the machine), and a machine under load
  grows hot: steps grow slower by `heat`, most of it within the first half hour. The seed is fixed.
- `hot` is slower than `cool` as a whole, and asleep for 40 minutes in the middle of Stage 1.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "recorded_runs"
START_S = 1_795_600_000.0
STAGE1_STEP_S, BENCHED_STEP_S = 164.0, 1.719
REFINER_S, REFINER_BLOCKS = 8.47 * STAGE1_STEP_S / BENCHED_STEP_S, 14
DECODE_S, DECODED_FRAMES, FRAMES_AT_ONCE = 1.0076 * STAGE1_STEP_S / BENCHED_STEP_S, 320, 16
#: What `sana-wm plan` says of it on an M3 Max where nothing has run yet, 96 GiB, all of it guessed.
GUESS_S = {
    "stage1": {"starting": 6.0, "text_encoder": 2.614, "vae_encoder": 1.519, "transformer": 10022.837},
    "refiner": {"starting": 6.0, "text_encoder": 11.766, "connectors": 1.077, "transformer": 1274.287},
    "vae_decode": {"starting": 6.0, "vae_decoder": 103.892},
}


@dataclass
class Maker:
    """A machine at work: adds events and lets time pass."""

    seed: int
    slowness: float
    heat: float
    now_s: float = START_S
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    begun_s: dict[str, float] = field(default_factory=dict)
    ended_s: dict[str, float] = field(default_factory=dict)
    idle: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.numbers = random.Random(self.seed)
        self.asleep_s = 0.0

    def stage(self, name: str, phases: list[tuple[str, float, int, int]], asleep_after: int = 0) -> None:
        """Phases of (name, seconds, steps, steps a report); one without steps reports none."""
        self.begun_s[name], self.events[name] = round(self.now_s, 3), []
        self.let_pass(7.0)
        self.tell(name, "stage_start")
        for phase, seconds, total, stride in phases:
            self.let_pass(0.5)
            self.tell(name, "phase_start", phase=phase)
            if total:
                self.let_pass(9.0)  # the weights
                self.tell(name, "steps_begin", step=0, total=total)
                for done in range(stride, total + 1, stride):
                    self.let_pass(seconds * stride / total)
                    self.tell(name, "step", step=done, total=total)
                    if asleep_after and done == asleep_after:
                        self.sleep(2400.0)
            else:
                self.let_pass(seconds)
            self.tell(name, "phase_end", name=phase)
        self.let_pass(3.0)
        self.tell(name, "done")
        self.let_pass(0.4)
        self.ended_s[name] = round(self.now_s, 3)
        self.let_pass(0.2)

    def let_pass(self, seconds: float) -> None:
        warm = 1 - math.exp(-(self.now_s - START_S - self.asleep_s) / 1200)
        interrupted = 1.25 if self.numbers.random() < 1 / 15 else 1.0
        noise = math.exp(self.numbers.gauss(0.0, 0.03))
        self.now_s += seconds * self.slowness * (1 + self.heat * warm) * interrupted * noise

    def sleep(self, seconds: float) -> None:
        begin_s = round(self.now_s + 20.0, 3)
        self.idle.append([begin_s, begin_s + seconds])
        self.now_s += seconds
        self.asleep_s += seconds

    def tell(self, stage: str, event: str, **fields: object) -> None:
        self.events[stage].append({"time_s": round(self.now_s, 3), "event": event, **fields})


def make(*, seed: int, slowness: float, heat: float, asleep_after: int) -> dict[str, Any]:
    """The events of a run, and when its processes lived."""
    maker = Maker(seed, slowness, heat)
    stage1 = [("text_encoder", 12.0, 0, 0), ("vae_encoder", 4.0, 0, 0), ("transformer", 60 * STAGE1_STEP_S, 60, 1)]
    refiner = [("text_encoder", 25.0, 0, 0), ("connectors", 4.0, 0, 0)]
    maker.stage("stage1", stage1, asleep_after)
    maker.stage("refiner", [*refiner, ("transformer", REFINER_S, REFINER_BLOCKS, 1)])
    maker.stage("vae_decode", [("vae_decoder", DECODE_S, DECODED_FRAMES, FRAMES_AT_ONCE)])
    seconds = maker.now_s - START_S - maker.asleep_s
    times = {"begun_s": maker.begun_s, "ended_s": maker.ended_s, "idle": maker.idle, "guess_s": GUESS_S}
    head = {"seconds": round(seconds, 3), "finished_at": "2026-11-30T12:00:00+00:00", "stages_run": list(maker.events)}
    return {**head, **times, **maker.events}


RUNS: dict[str, dict[str, Any]] = {
    "three_hours_cool": {"seed": 1, "slowness": 0.95, "heat": 0.04, "asleep_after": 0},
    "three_hours_hot": {"seed": 2, "slowness": 1.0, "heat": 0.15, "asleep_after": 21},
}


def as_text(run: dict[str, Any]) -> str:
    """A line an event."""
    lines = [f" {json.dumps(key)}: {_value(value)}" for key, value in run.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _value(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"  {json.dumps(one)}" for one in value) + "\n ]"
    return json.dumps(value)


if __name__ == "__main__":
    for name, settings in RUNS.items():
        (FOLDER / f"{name}.json").write_text(as_text(make(**settings)))
