"""A stage as a process: started in its own session, watched, stopped with everything it started.

The one place that starts Python processes (ffmpeg is started by `sana_wm.video`).
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

from sana_wm.durable import open_to_append, remove_file
from sana_wm.errors import HandoffError, MemoryNotReleasedError
from sana_wm.launcher.probes.process import session_members
from sana_wm.modules import PYTHON, without_overrides
from sana_wm.names import Stage
from sana_wm.planning.shares import LOW_WATERMARK_SHARE
from sana_wm.planning.this_device import find_device
from sana_wm.runs.events import Event, parse_event
from sana_wm.runs.lines import LineReader
from sana_wm.runs.lock import Ownership
from sana_wm.runs.run_directory import RunDirectory

#: Sent through the liveness pipe: "take less memory" (`sana_wm.runtime.stopping`).
SHRINK = b"s"
GRACE_S = 60.0
KILL_S = 30.0


class StageProcess:
    """One running stage.

    The stage gets no standard input, writes its output to its log, and holds the read end of a pipe that ends when
    this process does, so that it cannot outlive its parent. It also holds the run directory's lock: until it is gone,
    the directory is in use, whatever became of the parent.
    """

    def __init__(
        self,
        command: list[str],
        run: RunDirectory,
        stage: Stage,
        environment: Mapping[str, str],
        lock: Ownership | None = None,
    ) -> None:
        remove_file(run.events_file(stage))
        inherited = () if lock is None else (lock.lock, lock.folder)
        handle = () if lock is None else ("--run-fd", str(lock.folder))
        with open_to_append(run.log_file(stage)) as log:
            read_end, self._write_end = os.pipe()
            self._process = subprocess.Popen(
                [*command, "--liveness-fd", str(read_end), *handle],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(read_end, *inherited),
                start_new_session=True,
                env=dict(environment),
            )
        os.close(read_end)
        self.pid = self._process.pid
        self._events = LineReader(run.events_file(stage), parse_event)
        self._run, self._lock = run, lock
        self.asked_to_stop = False

    def wait(self, timeout_s: float) -> int | None:
        """The exit code once the process has ended (negative: the signal), `None` after the timeout.

        Raises:
            HandoffError: The run directory is not the one that is owned any more.
        """
        if self._lock is not None and not self._lock.holds():
            raise HandoffError(
                f"{self._run.path} went away while a stage worked in it",
                got="another folder, or none, under this path",
                expected="the folder that the run began in",
                next_step=f"Bring its volume back, then go on with: {self._run.resume_command}",
            )
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def new_events(self) -> list[Event]:
        """Events since the last call."""
        return self._events.read()

    def members(self) -> list[int]:
        """The stage and everything it started that is still there."""
        return session_members(self.pid)

    def ask_to_stop(self) -> None:
        """Ask the stage to save and leave."""
        self.asked_to_stop = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def ask_to_shrink(self) -> None:
        """Ask the stage to take less memory and to save; a stage that is ending does not hear it any more."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._write_end, SHRINK)

    def suspend(self) -> None:
        """Stop the stage and everything it started where they are, until `go_on`."""
        self._signal_all(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let them go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> list[int]:
        """End the stage and everything it started, now; returns the pids that were there.

        Raises:
            MemoryNotReleasedError: One of them does not end, such as a process stuck in a driver.
        """
        killed = self.members()
        deadline = time.monotonic() + KILL_S
        while members := self.members():
            self._signal_all(signal.SIGKILL)
            if time.monotonic() > deadline:
                raise MemoryNotReleasedError(
                    "processes of a stage do not end",
                    got=f"pids {members}",
                    expected="none",
                    next_step="Restart the machine; what was done is saved.",
                )
            time.sleep(0.01)
        self._process.wait()
        return killed

    def close(self) -> None:
        """Let go of the pipe."""
        os.close(self._write_end)


def stage_command(stage: Stage, run: RunDirectory) -> list[str]:
    """How a stage is started."""
    return [*PYTHON, "sana_wm.stages", stage, str(run.path)]


def stage_environment(environment: Mapping[str, str], cap_bytes: int) -> dict[str, str]:
    """The environment of a stage: no network, nothing that changes the numbers, the memory limit of MPS."""
    changed = {
        **without_overrides(environment),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # deterministic matrix products on CUDA
    }
    device = find_device("auto") if sys.platform == "darwin" else None
    if device is not None and device.kind == "mps":
        changed |= mps_watermarks(cap_bytes, device.memory_bytes)
    return changed


def mps_watermarks(cap_bytes: int, recommended_bytes: int) -> dict[str, str]:
    """Both allocator limits for a cap, as ratios of the recommended working set.

    The default high mark, 1.7, lets a Mac swap instead of raising; a high mark below the low one is refused by torch
    (docs/mps.md), so both are always set.
    """
    # Cut off, not rounded: the limit must not come out above the cap.
    high = math.floor(min(1.0, cap_bytes / recommended_bytes) * 10_000) / 10_000
    return {
        "PYTORCH_MPS_HIGH_WATERMARK_RATIO": f"{high:.4f}",
        "PYTORCH_MPS_LOW_WATERMARK_RATIO": f"{LOW_WATERMARK_SHARE * high:.4f}",
    }
