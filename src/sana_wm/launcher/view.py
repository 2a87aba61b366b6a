"""Who is told of a run while it goes, and keeps its times."""

from __future__ import annotations

from typing import Protocol

from sana_wm.names import Stage
from sana_wm.progress.stage_progress import StageProgress


class View(Protocol):
    """Takes in how a stage goes; see `sana_wm.progress.run_progress`."""

    def stage_started(self, progress: StageProgress) -> None:
        """A stage begins."""
        ...

    def updated(self, progress: StageProgress) -> None:
        """Something changed."""
        ...

    def stage_asked_to_stop(self, progress: StageProgress, why: str | None) -> None:
        """A stage was asked to save and leave; `why` unless the user wants it so."""
        ...

    def stage_asked_to_shrink(self, progress: StageProgress, why: str) -> None:
        """A stage was asked to take less memory and to save."""
        ...

    def stage_ended(self, progress: StageProgress) -> None:
        """A stage is done, and its process gone."""
        ...

    def paused(self, why: str) -> None:
        """Nothing runs from here on, until `went_on`."""
        ...

    def went_on(self) -> None:
        """The pause is over."""
        ...

    def slept(self, seconds: float) -> None:
        """The machine has slept for so long, until now."""
        ...

    def times_s(self, stage: Stage) -> dict[str, float]:
        """Seconds of a stage by phase, over all processes that worked on it."""
        ...

    def stop_clock(self) -> float:
        """All is done: seconds of all starts of the run together."""
        ...
