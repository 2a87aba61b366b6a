"""GPU work that macOS aborted: torch on MPS goes on as if it had been done (pytorch #193571).

What is left of it is a line that Apple's framework writes to the process's standard error, which is the stage's log.
"""

from __future__ import annotations

from pathlib import Path

from sana_wm.errors import StageFailedError

SIGN = b"command buffer exited with error status"


class FaultWatch:
    """Looks for aborted GPU work in what a log gained.

    Args:
        log: Where the standard error of this process goes; what stands in it by now is of an earlier start.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._seen_bytes = log.stat().st_size if log.exists() else 0

    def check(self) -> None:
        """Called once the device is idle, before anything that it computed is kept.

        Raises:
            StageFailedError: Work was aborted since the last look: nothing after it can be trusted.
        """
        if not self._log.exists():
            return
        with self._log.open("rb") as file:
            # The sign itself may have been cut by the last look.
            file.seek(max(0, self._seen_bytes - len(SIGN) + 1))
            gained = file.read()
            self._seen_bytes = file.tell()
        if SIGN in gained:
            raise StageFailedError(
                "the GPU's work was aborted by the system, and its results are not what they should be",
                got=" ".join(gained[gained.index(SIGN) :].decode(errors="replace").split())[:300],
                expected="work that is done to its end",
                next_step="What was saved before is whole: resume. For want of memory: with a smaller --budget-gib; "
                f"otherwise with the display asleep, which such work keeps waiting (docs/mps.md). Log: {self._log}",
            )
