"""How far the job is that is worked now."""

from __future__ import annotations

from collections.abc import Callable

from sana_wm.errors import HandoffError
from sana_wm.progress.run_record import RunStart
from sana_wm.progress.snapshot import RunSnapshot
from sana_wm.progress.status import StatusReader
from sana_wm.queue.job import Expectation
from sana_wm.runs.run_directory import RunDirectory


class JobWatch:
    """Looks at a job's run again and again.

    Args:
        run: Its run directory, which need not be there yet.
        begun_at_s: When the job began: what an earlier start left is not shown.
        show: Shown the run.

    Attributes:
        left: What was to do at the last look; `None` while that is not known.
    """

    def __init__(self, run: RunDirectory, begun_at_s: float, show: Callable[[RunSnapshot], None]) -> None:
        self._run, self._begun_at_s, self._show = run, begun_at_s, show
        self._reader: StatusReader | None = None
        self.left: Expectation | None = None

    def look(self) -> None:
        """Look once."""
        start = RunStart.read(self._run)
        if start is None or start.started_at_s < self._begun_at_s:
            return
        try:
            self._reader = self._reader or StatusReader(self._run)
        except HandoffError:  # it says that itself, in its log
            return
        snapshot = self._reader.look()
        self.left = None if snapshot.remaining_s is None else Expectation.of_snapshot(snapshot)
        self._show(snapshot)
