"""Where a run is: events in, a state that a view can draw. Knows nothing of terminals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sana_wm.handoff.run_directory import Stage
from sana_wm.launcher.governor import MemorySample


@dataclass
class StageProgress:
    """The state of the running stage.

    Attributes:
        step: Steps done of the phase that reports steps.
        total: Steps of that phase; 0 before the first report.
        seconds_per_step: Mean over the steps seen so far, `None` before the second.
    """

    stage: Stage
    started_s: float
    phase: str = "starting"
    step: int = 0
    total: int = 0
    seconds_per_step: float | None = None
    sample: MemorySample = field(default_factory=lambda: MemorySample(None, None))
    preview: str | None = None
    _first_step: tuple[int, float] | None = None

    def apply(self, event: dict[str, Any]) -> None:
        """Take in one event of the stage."""
        match event["event"]:
            case "phase_start":
                self.phase, self.step, self.total, self._first_step = event["phase"], 0, 0, None
                self.seconds_per_step = None
            case "step":
                self.step, self.total = event["step"], event["total"]
                self.preview = event.get("preview") or self.preview
                if self._first_step is None:
                    self._first_step = (self.step, event["time_s"])
                elif self.step > self._first_step[0]:
                    self.seconds_per_step = (event["time_s"] - self._first_step[1]) / (self.step - self._first_step[0])
            case _:
                pass

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the running phase's last step, from its own pace; `None` while that is unknown."""
        return None if self.seconds_per_step is None else self.seconds_per_step * (self.total - self.step)
